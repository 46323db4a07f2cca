#!/usr/bin/env python3
"""Writes the corpora that fuzzing starts from: tiny files, each with something of its own.

Needs numpy and Pillow. The pictures are procedural.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import io
import json
import pathlib
import struct

import numpy as np
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent / "corpus"


def safetensors(header, size):
    text = header if isinstance(header, str) else json.dumps(header, separators=(",", ":"))
    return struct.pack("<Q", len(text.encode())) + text.encode() + bytes(range(256))[:size]


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def tensor_files():
    yield "empty-object", safetensors("{}", 0)
    yield "metadata", safetensors({"__metadata__": {"format": "pt", "a": "b\n\u00e9"}}, 0)
    yield "all-dtypes", safetensors(
        {name: tensor(name, [1], begin, begin + size) for name, begin, size in [
            ("F64", 0, 8), ("I64", 8, 8), ("U64", 16, 8), ("F32", 24, 4), ("I32", 28, 4),
            ("U32", 32, 4), ("F16", 36, 2), ("BF16", 38, 2), ("I16", 40, 2), ("U16", 42, 2),
            ("I8", 44, 1), ("U8", 45, 1), ("BOOL", 46, 1)]}, 47)
    yield "empty-tensors", safetensors(
        {"a": tensor("F32", [0, 3], 0, 0), "b": tensor("F32", [], 0, 4),
         "c": tensor("F32", [0], 4, 4)}, 4)
    yield "rank-8", safetensors({"a": tensor("U8", [1, 1, 2, 1, 1, 1, 1, 1], 0, 2)}, 2)
    yield "odd-address", safetensors('{"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}} ', 8)
    yield "escapes", safetensors(
        '{"\\u00e9\\ud83d\\ude00\\n\\"\\\\":{"shape":[1],"dtype":"U8","data_offsets":[0,1]}}', 1)
    yield "overlap", safetensors({"a": tensor("U8", [2], 0, 2), "b": tensor("U8", [2], 1, 3)}, 3)
    yield "overflow", safetensors({"a": tensor("F64", [2**32, 2**32], 0, 0)}, 0)
    yield "truncated", safetensors({"a": tensor("F32", [8], 0, 32)}, 16)
    yield "long-length", struct.pack("<Q", 2**63) + b"{}"


def encoded(image, *args, **options):
    memory = io.BytesIO()
    image.save(memory, *args, **options)
    return memory.getvalue()


def image_files():
    y, x = np.mgrid[0:13, 0:17]
    rgb = Image.fromarray(np.stack([x * 15, y * 19, x * y], axis=-1).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "rgb.jpg", encoded(rgb, "JPEG", quality=50)
    yield "444.jpg", encoded(rgb, "JPEG", quality=50, subsampling=0)
    yield "progressive.jpg", encoded(rgb, "JPEG", quality=50, progressive=True)
    yield "restart.jpg", encoded(rgb, "JPEG", quality=50, restart_marker_blocks=1)
    yield "grey.jpg", encoded(rgb.convert("L"), "JPEG", quality=50)
    yield "cmyk.jpg", encoded(rgb.convert("CMYK"), "JPEG", quality=50)
    yield "orientation-6.jpg", encoded(rgb, "JPEG", quality=50, exif=exif)
    yield "truncated.jpg", encoded(rgb, "JPEG", quality=90)[:-60]
    yield "rgb.png", encoded(rgb, "PNG")
    yield "rgba.png", encoded(rgb.convert("RGBA"), "PNG")
    yield "palette.png", encoded(rgb.quantize(16), "PNG", transparency=3)
    yield "bilevel.png", encoded(rgb.convert("1"), "PNG")
    yield "grey-16.png", encoded(Image.fromarray((x * y * 300).astype(np.uint16)), "PNG")
    yield "truncated.png", encoded(rgb, "PNG")[:-40]
    yield "nothing", b""


def oip_files():
    def answer(data, **more):
        return json.dumps({"outputs": [{"name": "P", "data": data}], **more}).encode()

    yield "classes", answer(["0.84:207:golden retriever", "0.1:208", "1e-2:5:cock: fowl", "0.1:7:"])
    yield "logits", answer([[1, -3.5, 2e1], [0, 7, 6.25]])
    yield "version", answer([0.25, 0.75], model_version=3, model_name="m")
    yield "two-outputs", json.dumps({"outputs": [{"name": "x"}, {"name": "P", "data": []}]}).encode()
    yield "error", json.dumps({"error": "r\u00e9fus\u00e9\n"}).encode()
    yield "model", json.dumps({
        "name": "m", "inputs": [{"name": "a", "datatype": "FP32", "shape": [1]},
                                {"name": "i\"", "datatype": "BYTES", "shape": [-1, 1]}],
        "outputs": [{"name": "P", "datatype": "FP32", "shape": [-1, 1000]}]}).encode()
    yield "escapes", b'{"outputs":[{"name":"\\u0050","data":["\\u0030:1:\\ud83d\\ude00"]}]}'
    yield "nested", b"[" * 40 + b"]" * 40
    yield "half", answer([0.5])[:-5]
    yield "html", b"<html></html>"


def replay_files():
    def cell(*labels):
        return {"size": 9, "labels": list(labels)}

    def label(keyword, score, **more):
        return {"keyword": keyword, "score": score, **more}

    one = {"75": cell(label("b", 0.2), label("a", 0.7, root="r")), "0": cell(label("", 1e-6)),
           "25": cell("internal error"), "50": cell(label("a", 0.1), label("a", 9))}
    yield "one-service", json.dumps({"a": {"s": one}}).encode()
    yield "two-services", json.dumps({"x/a": {"s": one, "t": {}}, "z/a": {"s": {}}}).encode()
    yield "chinese", json.dumps({"a": {"s": {"75": cell(label("\u5c45\u6c11\u697c", 0.3))}}},
                                ensure_ascii=False).encode()
    yield "wrong-quality", json.dumps({"a": {"s": {"101": cell()}}}).encode()
    yield "wrong-label", json.dumps({"a": {"s": {"75": cell(7)}}}).encode()
    yield "wrong-shape", json.dumps({"a": [], "b": {"s": 1}}).encode()
    yield "repeated", b'{"a":{"s":{"75":{"labels":[]},"75":{"labels":["x"]}}},"a":{"s":{}}}'
    yield "empty", b"{}"


def service_files():
    """The first character picks the service: fuzz-services.c has the table."""
    services = ["azure", "baidu", "facepp", "google", "rekognition", "torchserve"]

    def said(service, name, value):
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return f"{service}-{name}", f"{services.index(service)}{text}".encode()

    yield said("azure", "tags", {"modelVersion": "2023-10-01", "tagsResult": {"values": [
        {"name": "grass", "confidence": 0.5}, {"name": "sky", "confidence": 0.9}]}})
    yield said("azure", "error", {"error": {"code": "InvalidRequest", "message": "m", "innererror": {
        "code": "InvalidImageSize", "message": "n"}}})
    yield said("baidu", "labels", {"log_id": 2**64 - 1, "result_num": 2, "result": [
        {"score": 0.2, "root": "\u5546\u54c1", "keyword": "\u8336\u676f"}, {"score": 1, "keyword": "a"}]})
    yield said("baidu", "expired", {"error_code": 110, "error_msg": "Access token invalid"})
    yield said("baidu", "token", {"access_token": "24.a.1", "expires_in": 2592000, "scope": "s"})
    yield said("baidu", "refused", {"error": "invalid_client", "error_description": "unknown"})
    yield said("facepp", "labels", {"request_id": "1", "time_used": 2, "scenes": [
        {"confidence": 41.1, "value": "Night"}], "objects": [{"confidence": 84, "value": "Dog"}]})
    yield said("facepp", "nothing", {"scenes": [], "objects": []})
    yield said("facepp", "busy", {"time_used": 3, "error_message": "CONCURRENCY_LIMIT_EXCEEDED"})
    yield said("google", "labels", {"responses": [{"labelAnnotations": [
        {"mid": "/m/01", "description": "Beignet", "score": 0.9, "topicality": 0.9},
        {"mid": "/m/02", "description": "\u591c"}]}]})
    yield said("google", "picture", {"responses": [{"error": {"code": 3, "message": "Bad image"}}]})
    yield said("google", "error", {"error": {"code": 403, "message": "m", "status": "PERMISSION_DENIED"}})
    yield said("rekognition", "labels", {"Labels": [
        {"Name": "Car", "Confidence": 98.9, "Instances": [], "Parents": [{"Name": "Vehicle"}]},
        {"Name": "Road", "Confidence": 5}], "LabelModelVersion": "3.0"})
    yield said("rekognition", "error", {"__type": "ThrottlingException", "message": "slow"})
    yield said("torchserve", "map", {"tiger_cat": 0.58, "tabby": 0.37, "": 0})
    yield said("torchserve", "list", [{"className": "n02 cat", "probability": 0.7}])
    yield said("torchserve", "one", {"class": "cat", "probability": 0.5})
    yield said("torchserve", "error", {"code": 503, "type": "T", "message": "no worker"})
    yield said("facepp", "escapes",
               r'{"scenes":[{"value":"\u591c\ud83c\udf03","confidence":1}],"objects":[]}')
    yield said("google", "html", "<html></html>")
    yield "nothing", b""


for folder, files in [("safetensors", tensor_files()), ("image", image_files()),
                      ("oip", oip_files()), ("replay-json", replay_files()),
                      ("services", service_files())]:
    (HERE / folder).mkdir(parents=True, exist_ok=True)
    for name, data in files:
        (HERE / folder / name).write_bytes(data)
