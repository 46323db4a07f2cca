#!/usr/bin/env python3
"""A model behind the Open Inference Protocol, for tests: checks what it gets, misbehaves on command.

Usage: oip.py [CERTIFICATE KEY]

Settings (set KEY VALUE): "metadata" (what GET v2/models/M says), "classification" (false: numbers
instead of strings), "scores" (the numbers), "labels" (of the strings, in order), "threshold"
(below this JPEG quality other labels come), "token" (the bearer token that is
demanded). Commands and misbehaviours are those of misbehave.py.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import json
import struct
import sys

from misbehave import Server

JSON = {"Content-Type": "application/json"}
METADATA = {"name": "M", "versions": ["3"], "platform": "test",
            "inputs": [{"name": "LAYOUT", "datatype": "INT32", "shape": [1]},
                       {"name": "IMAGE", "datatype": "BYTES", "shape": [-1, 1]}],
            "outputs": [{"name": "PROBS", "datatype": "FP32", "shape": [-1, 6]}]}
SCORES = [0.01, 0.05, 0.5, 0.2, 0.14, 0.1]
LABELS = ["0.5:2:golden retriever", "0.2:3:tub: bath", "0.14:4", "0.1:5:a", "0.05:1:b"]
# The sum of Annex K's table for luminance, which quality 50 is.
ANNEX_K_SUM = 3688


def jpeg_quality(picture):
    """By the first quantisation table; 0 when there is none."""
    at = picture.find(b"\xff\xdb")
    table = picture[at + 5:at + 69]
    if at < 0 or len(table) < 64:
        return 0
    scale = 100 * sum(table) / ANNEX_K_SUM
    return round(5000 / scale if scale > 100 else (200 - scale) / 2)


def read_picture(request):
    """(head, picture) of an inference request; ValueError says what is wrong with it."""
    length = request.headers.get("inference-header-content-length")
    if length is None:
        raise ValueError("no Inference-Header-Content-Length")
    if request.headers.get("content-type") != "application/octet-stream":
        raise ValueError("Content-Type is not application/octet-stream")
    head, rest = json.loads(request.body[:int(length)]), request.body[int(length):]
    (tensor,) = head["inputs"]
    if tensor["datatype"] != "BYTES" or any(n != 1 for n in tensor["shape"]):
        raise ValueError("the input is not one BYTES element")
    if tensor["parameters"]["binary_data_size"] != len(rest):
        raise ValueError("binary_data_size is not that of the data")
    if len(rest) < 4 or struct.unpack("<I", rest[:4])[0] != len(rest) - 4:
        raise ValueError("the element's length is wrong")
    picture = rest[4:]
    if not (picture.startswith(b"\xff\xd8") and picture.endswith(b"\xff\xd9")):
        raise ValueError("the picture is no JPEG")
    return head, picture


def infer(server, request):
    try:
        head, picture = read_picture(request)
    except (ValueError, KeyError, TypeError) as error:
        return server.complain(f"infer: {error}")
    metadata = server.settings.get("metadata", METADATA)
    (tensor,), (output,) = head["inputs"], head["outputs"]
    expected = [t for t in metadata["inputs"] if t["name"] == tensor["name"]]
    if not expected or len(expected[0]["shape"]) != len(tensor["shape"]):
        return server.complain("infer: no such input, or another number of dimensions")
    if output["parameters"] != {"classification": 5, "binary_data": False}:
        return server.complain("infer: classification of 5 was not asked for")
    server.last.update(id=head["id"], size=len(picture), quality=jpeg_quality(picture),
                       shape=tensor["shape"], output=output["name"])
    if server.settings.get("classification", True):
        data, kind = list(server.settings.get("labels", LABELS)), "BYTES"
        if jpeg_quality(picture) < server.settings.get("threshold", 0):
            data = [f"{1 / (i + 1)}:{100 + i}" for i in range(5)]
    else:
        data, kind = server.settings.get("scores", SCORES), "FP32"
    outputs = [{"name": output["name"], "datatype": kind, "shape": [1, len(data)], "data": data}]
    return 200, JSON, json.dumps({"model_name": "M", "model_version": "3", "id": head["id"],
                                  "outputs": outputs}).encode()


def answer(server, request):
    server.last["authorization"] = request.headers.get("authorization")
    server.last["path"] = request.path
    token = server.settings.get("token")
    if token and request.headers.get("authorization") != f"Bearer {token}":
        said = f"not allowed with {request.headers.get('authorization')}"
        return 401, JSON, json.dumps({"error": said}).encode()
    if request.method == "GET" and request.path == "/v2/models/M":
        return 200, JSON, json.dumps(server.settings.get("metadata", METADATA)).encode()
    if request.method == "POST" and request.path == "/v2/models/M/infer":
        return infer(server, request)
    return 404, JSON, b'{"error": "Request for unknown model or path"}'


if __name__ == "__main__":
    Server(answer, sys.argv[1:3] or None).run()
