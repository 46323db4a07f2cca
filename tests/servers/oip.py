#!/usr/bin/env python3
"""A model behind the Open Inference Protocol, for tests: checks what it gets, misbehaves on demand.

Usage: oip.py [CERTIFICATE KEY [CA]]     CA: clients must show a certificate that it has signed

Settings: "model" (its name; null: any), "metadata" (what GET v2/models/M says), "classification"
(false: numbers instead of strings), "scores" (the numbers), "labels" (of the strings, in order),
"model_version", "threshold" (below this JPEG quality other labels come), "token" (the bearer token
that is demanded), "decode" (pictures.py; here false until it is set: then brightness gives the
labels). Commands and misbehaviours are those of misbehave.py.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import json
import re
import struct

from misbehave import Failure, demand, reply, serve
from pictures import labels, look

METADATA = {"name": "M", "versions": ["3"], "platform": "test",
            "inputs": [{"name": "LAYOUT", "datatype": "INT32", "shape": [1]},
                       {"name": "IMAGE", "datatype": "BYTES", "shape": [-1, 1]}],
            "outputs": [{"name": "PROBS", "datatype": "FP32", "shape": [-1, 6]}]}
SCORES = [0.01, 0.05, 0.5, 0.2, 0.14, 0.1]
LABELS = ["0.5:2:golden retriever", "0.2:3:tub: bath", "0.14:4", "0.1:5:a", "0.05:1:b"]
STATUS = {"bad": 400, "picture": 400, "denied": 401, "expired": 401, "missing": 404,
          "throttled": 429, "quota": 429, "internal": 500}
PATH = re.compile(r"/v2/models/([^/]+)(/infer)?")
SETTINGS = {"decode": False, "model": "M", "metadata": METADATA, "model_version": "3"}


def failure(kind, text):
    return reply({"error": text}, STATUS[kind])


def read_request(request):
    """(head, picture) of an inference request."""
    length = request.headers.get("inference-header-content-length")
    demand(length, "no Inference-Header-Content-Length")
    demand(request.headers.get("content-type") == "application/octet-stream",
           "Content-Type is not application/octet-stream")
    head, rest = json.loads(request.body[:int(length)]), request.body[int(length):]
    (tensor,) = head["inputs"]
    demand(tensor["datatype"] == "BYTES" and all(n == 1 for n in tensor["shape"]),
           "the input is not one BYTES element")
    demand(tensor["parameters"]["binary_data_size"] == len(rest),
           "binary_data_size is not that of the data")
    demand(len(rest) >= 4 and struct.unpack("<I", rest[:4])[0] == len(rest) - 4,
           "the element's length is wrong")
    return head, rest[4:]


def check_names(metadata, head):
    (tensor,), (output,) = head["inputs"], head["outputs"]
    expected = [t for t in metadata["inputs"] if t["name"] == tensor["name"]]
    demand(expected and len(expected[0]["shape"]) == len(tensor["shape"]),
           "no such input, or another number of dimensions")
    demand(output["parameters"] == {"classification": 5, "binary_data": False},
           "classification of 5 was not asked for")


def write_strings(server, picture):
    settings = server.settings
    if settings["decode"] is not False:
        return [f"{label.score}:{label.place}:{label.name}" for label in labels(server, picture)]
    if picture.quality < settings.get("threshold", 0):
        return [f"{1 / (i + 1)}:{100 + i}" for i in range(5)]
    return settings.get("labels", LABELS)


def infer(server, request):
    head, data = read_request(request)
    settings = server.settings
    check_names(settings["metadata"], head)
    picture = look(server, data)
    output = head["outputs"][0]["name"]
    server.last.update(id=head["id"], shape=head["inputs"][0]["shape"], output=output)
    if settings.get("classification", True):
        values, kind = write_strings(server, picture), "BYTES"
    else:
        values, kind = settings.get("scores", SCORES), "FP32"
    outputs = [{"name": output, "datatype": kind, "shape": [1, len(values)], "data": values}]
    return reply({"model_name": "M", "model_version": settings["model_version"], "id": head["id"],
                  "outputs": outputs})


def answer(server, request):
    token = server.settings.get("token")
    if token and request.headers.get("authorization") != f"Bearer {token}":
        raise Failure("denied", f"not allowed with {request.headers.get('authorization')}")
    found = PATH.fullmatch(request.path)
    if found and server.settings["model"] in (None, found[1]):
        if (request.method, found[2]) == ("GET", None):
            return reply(server.settings["metadata"])
        if (request.method, found[2]) == ("POST", "/infer"):
            return infer(server, request)
    raise Failure("missing", "Request for unknown model or path")


if __name__ == "__main__":
    serve(answer, failure, SETTINGS)
