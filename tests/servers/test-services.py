#!/usr/bin/env python3
"""The test servers themselves: what a right client sends is answered, each wrong thing is noticed.

The signer here is the verifier's own counterpart, so the verifier is first held against the
signatures that AWS published (aws-sig-v4-test-suite, and the example of its documentation).

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import base64
import http.client
import json
import os
import subprocess
import sys
import time
import unittest
import urllib.parse

import baidu
import facepp
import google
import pictures
import rekognition
import sigv4
from misbehave import Complaint, Failure, Request

HERE = os.path.dirname(os.path.abspath(__file__))

# ---- pictures that are all of one grey ----------------------------------------------------------

# Annex K's codes of DC coefficients of luminance.
DC_COUNTS = bytes([0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
# Of AC coefficients only "end of block" and "sixteen zeros".
AC_COUNTS, AC_SYMBOLS = bytes([0, 2] + [0] * 14), bytes([0x00, 0xf0])


def segment(marker, content):
    return bytes([0xff, marker]) + (len(content) + 2).to_bytes(2) + content


def dc_bits(value):
    """The difference of a DC coefficient, as Annex K's codes have it."""
    size = abs(value).bit_length()
    code = format(0, "02b") if size == 0 else (
        format(size + 1, "03b") if size < 6 else "1" * (size - 3) + "0")
    value += (1 << size) - 1 if value < 0 else 0
    return code + (format(value, f"0{size}b") if size else "")


def jpeg(width=128, height=96, quality=75, grey=128, coefficients=0, restart=0, sof=0xc0):
    """coefficients: runs of sixteen zeros in each block, which are too many from four on."""
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    table = bytes(min(max(int((k * scale + 50) // 100), 1), 255) for k in pictures.ANNEX_K)
    level = round((grey - 128) * 8 / table[0])
    mcus, data, bits = -(-width // 8) * -(-height // 8), b"", ""
    block = "01" * coefficients + "00"

    def flush(bits):
        bits += "1" * (-len(bits) % 8)
        packed = bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))
        return packed.replace(b"\xff", b"\xff\0")
    for i in range(mcus):
        fresh = i == 0 or (restart and i % restart == 0)
        if i and fresh:
            data += flush(bits) + bytes([0xff, 0xd0 + (i // restart - 1) % 8])
            bits = ""
        bits += dc_bits(level if fresh else 0) + block
    frame = bytes([8]) + height.to_bytes(2) + width.to_bytes(2) + bytes([1, 1, 0x11, 0])
    return (b"\xff\xd8" + segment(0xdb, b"\0" + table) + segment(sof, frame)
            + segment(0xc4, b"\0" + DC_COUNTS + bytes(range(12)))
            + segment(0xc4, b"\x10" + AC_COUNTS + AC_SYMBOLS)
            + (segment(0xdd, restart.to_bytes(2)) if restart else b"")
            + segment(0xda, bytes([1, 1, 0, 0, 63, 0])) + data + flush(bits) + b"\xff\xd9")


# Its base64 has a plus.
PICTURE = next(data for data in (jpeg(128, 96, quality) for quality in range(5, 95))
               if b"+" in base64.b64encode(data))


class Pictures(unittest.TestCase):
    def test_decodes_size_quality_and_brightness(self):
        for width, height, quality, grey in [(128, 96, 75, 128), (1, 1, 5, 0), (17, 9, 50, 255),
                                             (640, 480, 25, 40)]:
            found = pictures.decode(jpeg(width, height, quality, grey))
            self.assertEqual(found[:3], (width, height, quality))
            self.assertLess(abs(found.brightness - grey), 10 if quality > 20 else 20)

    def test_restarts_and_partial_decoding(self):
        for restart in (1, 5, 100):
            whole = pictures.decode(jpeg(restart=restart, grey=200))
            self.assertEqual(whole.blocks, 16 * 12)
        self.assertEqual(pictures.decode(jpeg(), 10).blocks, 10)
        self.assertEqual(pictures.decode(jpeg(), 0).blocks, 0)

    def test_what_is_no_baseline_jpeg(self):
        good = jpeg()
        wrong = {"empty": b"", "text": b"hello", "no end": good[:-2],
                 "cut": good[:-10] + b"\xff\xd9",
                 "more": good[:-2] + b"\x12\x34\x56\xff\xd9", "progressive": jpeg(sof=0xc2),
                 "too many coefficients": jpeg(coefficients=4),
                 "no table": good.replace(segment(0xc4, b"\x10" + AC_COUNTS + AC_SYMBOLS), b""),
                 "other size": good.replace(bytes([8, 0, 96, 0, 128]), bytes([8, 0, 96, 1, 0]))}
        for name, data in wrong.items():
            with self.subTest(name), self.assertRaises((Complaint, LookupError)):
                pictures.decode(data)


# ---- signatures ---------------------------------------------------------------------------------

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
DATE, NOW = "20150830T123600Z", 1440938160
TOKEN = ("AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmx"
         "fpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0K"
         "PkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZb"
         "qBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==")
URLENCODED = "application/x-www-form-urlencoded"
# (name, method, target, headers beside Host and X-Amz-Date, body, signature)
VECTORS = [
    ("get-vanilla", "GET", "/", [], b"",
     "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("get-vanilla-query-order-key-case", "GET", "/?Param2=value2&Param1=value1", [], b"",
     "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
    ("post-vanilla", "POST", "/", [], b"",
     "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    ("post-vanilla-query", "POST", "/?Param1=value1", [], b"",
     "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"),
    ("post-vanilla-query-nonunreserved", "POST",
     "/?%40%23%24%25%5E=&%2B=%2F%2C%3F%3E%3C%60%22%3B%3A%5C%7C%5D%5B%7B%7D", [], b"",
     "66c82657c86e26fb25238d0e69f011edc4c6df5ae71119d7cb98ed9b87393c1e"),
    ("post-header-key-sort", "POST", "/", [("my-header1", "value1")], b"",
     "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"),
    ("post-header-value-case", "POST", "/", [("my-header1", "VALUE1")], b"",
     "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"),
    ("post-sts-header-before", "POST", "/", [("x-amz-security-token", TOKEN)], b"",
     "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"),
    ("post-x-www-form-urlencoded", "POST", "/", [("content-type", URLENCODED)], b"Param1=value1",
     "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"),
    ("post-x-www-form-urlencoded-parameters", "POST", "/",
     [("content-type", URLENCODED + "; charset=utf8")], b"Param1=value1",
     "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe"),
]


def signed_request(method, target, extra, body, given, host="example.amazonaws.com", date=DATE):
    fields = [("host", host), ("x-amz-date", date)] + extra
    names = ";".join(sorted(name for name, _ in fields))
    fields.append(("authorization", f"{sigv4.ALGORITHM} Credential=AKIDEXAMPLE/{date[:8]}/"
                   f"us-east-1/service/aws4_request, SignedHeaders={names}, Signature={given}"))
    return Request(method, target, dict(fields), body, fields)


class Signatures(unittest.TestCase):
    def verify(self, request, **other):
        settings = {"keys": {"AKIDEXAMPLE": SECRET}, "region": "us-east-1", "service": "service",
                    "now": NOW, **other}
        sigv4.verify(request, **settings)

    def test_published_vectors(self):
        for name, *request, right in VECTORS:
            with self.subTest(name):
                self.verify(signed_request(*request, right))
                wrong = right[:-1] + format(int(right[-1], 16) ^ 1, "x")
                with self.assertRaises(Complaint):
                    self.verify(signed_request(*request, wrong))

    def test_example_of_the_documentation(self):
        fields = [("content-type", URLENCODED + "; charset=utf-8"), ("host", "iam.amazonaws.com"),
                  ("x-amz-date", DATE)]
        request = Request("GET", "/?Action=ListUsers&Version=2010-05-08", dict(fields), b"", fields)
        names = ["content-type", "host", "x-amz-date"]
        self.assertEqual(sigv4.signature(request, names, SECRET, DATE,
                                         ("20150830", "us-east-1", "iam")),
                         "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7")

    def test_what_is_wrong_is_named(self):
        vanilla = VECTORS[2][-1]
        good = signed_request("POST", "/", [], b"", vanilla)
        twice = signed_request("POST", "/", [("x-amz-date", DATE)], b"", vanilla)
        token = good._replace(fields=good.fields + [("x-amz-security-token", "t")])
        for words, request, other in [
                ("not yet current", good, {"now": NOW - 301}),
                ("expired", good, {"now": NOW + 301}),
                ("another region", good, {"region": "us-west-2"}),
                ("is invalid", good, {"keys": {}}),
                ("does not match", good, {"keys": {"AKIDEXAMPLE": "x"}}),
                ("does not match", good._replace(body=b"x"), {}), ("2 headers", twice, {}),
                ("not signed: x-amz-security-token", token, {})]:
            with self.subTest(words), self.assertRaisesRegex(Failure, words):
                self.verify(request, **other)
        self.verify(good, now=NOW + 299, region=None)


# ---- a server in a process of its own --------------------------------------------------------

class Service:
    def __init__(self, name):
        self.process = subprocess.Popen([sys.executable, "-B", os.path.join(HERE, name + ".py")],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        self.name = name

    def command(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def do(self, line):
        said = self.command(line)
        assert said == "ok", said

    def stats(self):
        return json.loads(self.command("stats"))

    def ask(self, target, headers, body=b"", method="POST"):
        """(status, JSON, headers)."""
        self.connection.request(method, target, body, headers)
        got = self.connection.getresponse()
        return got.status, json.loads(got.read()), got.headers

    def close(self):
        self.connection.close()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(20)


def rekognition_request(service, picture, **change):
    date = change.pop("date", time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
    body = json.dumps({"Image": {"Bytes": base64.b64encode(picture).decode()}, "MaxLabels": 5,
                       "MinConfidence": 0, **change.pop("parameters", {})}).encode()
    fields = [("content-type", "application/x-amz-json-1.1"), ("host", f"127.0.0.1:{service.port}"),
              ("x-amz-date", date), ("x-amz-target", "RekognitionService.DetectLabels")]
    fields += change.pop("extra", [])
    scope = (date[:8], "us-west-2", "rekognition")
    signed = sorted(name for name, _ in fields)
    given = sigv4.signature(Request("POST", "/", dict(fields), body, fields), signed,
                            change.pop("secret", SECRET), date, scope)
    headers = dict(fields)
    credential = "/".join(["AKIDEXAMPLE", *scope, "aws4_request"])
    headers["authorization"] = (f"{sigv4.ALGORITHM} Credential={credential}, "
                                f"SignedHeaders={';'.join(signed)}, Signature={given}")
    return "/", headers, body


def facepp_request(service, picture, **change):
    mark = "----gst-pirl-0123"
    fields = [("api_key", None, facepp.SETTINGS["api_key"].encode()),
              ("api_secret", None, change.get("secret", facepp.SETTINGS["api_secret"]).encode()),
              ("image_file", "picture.jpg", picture)]
    body = b""
    for name, file_name, content in fields:
        body += f'--{mark}\r\nContent-Disposition: form-data; name="{name}"'.encode()
        if file_name:
            body += f'; filename="{file_name}"\r\nContent-Type: image/jpeg'.encode()
        body += b"\r\n\r\n" + content + b"\r\n"
    body += f"--{mark}--\r\n".encode()
    kind = change.get("kind", "multipart/form-data; boundary=" + mark)
    return facepp.PATH, {"Content-Type": kind}, body


def baidu_token(service, secret=baidu.SETTINGS["secret_key"]):
    query = urllib.parse.urlencode({"grant_type": "client_credentials", "client_secret": secret,
                                    "client_id": baidu.SETTINGS["api_key"]})
    return service.ask(f"{baidu.TOKEN_PATH}?{query}", {})


def baidu_request(service, picture, **change):
    token = change.get("token") or baidu_token(service)[1]["access_token"]
    image = base64.b64encode(picture).decode()
    image = urllib.parse.quote(image, "" if change.get("escape", True) else "+/=")
    query = urllib.parse.urlencode({"access_token": token})
    return f"{baidu.PATH}?{query}", {"Content-Type": baidu.FORM}, f"image={image}".encode()


def google_request(service, picture, **change):
    body = {"requests": [{"image": {"content": base64.b64encode(picture).decode()},
                          "features": [{"type": "LABEL_DETECTION", "maxResults": 5}]}]}
    credentials = change.get("credentials", {"X-Goog-Api-Key": google.SETTINGS["api_key"]})
    headers = {"Content-Type": "application/json", **credentials}
    return google.PATH + change.get("query", ""), headers, json.dumps(body).encode()


def azure_request(service, picture, **change):
    query = change.get("query", "api-version=2023-10-01&features=tags")
    headers = {"Ocp-Apim-Subscription-Key": change.get("key", "azure+key/0123456789=abcdef"),
               "Content-Type": change.get("kind", "application/octet-stream")}
    return f"/computervision/imageanalysis:analyze?{query}", headers, picture


def oip_request(service, picture, **change):
    head = json.dumps({"id": "1", "inputs": [
        {"name": "IMAGE", "shape": [1, 1], "datatype": "BYTES",
         "parameters": {"binary_data_size": len(picture) + 4}}], "outputs": [
        {"name": "PROBS", "parameters": {"classification": 5, "binary_data": False}}]}).encode()
    headers = {"Content-Type": "application/octet-stream",
               "Inference-Header-Content-Length": str(len(head) + change.get("off", 0))}
    return "/v2/models/M/infer", headers, head + len(picture).to_bytes(4, "little") + picture


def torchserve_request(service, picture, **change):
    headers = {"Content-Type": change.get("kind", "image/jpeg")}
    if "token" in change:
        headers["Authorization"] = "Bearer " + change["token"]
    return change.get("path", "/predictions/M"), headers, picture


def facepp_best(answer):
    return max(answer["scenes"] + answer["objects"], key=lambda one: one["confidence"])["value"]


# (how a request is written, the best label's name in an answer, what is wrong: (change, words in
# the answer, whether the server complains))
SERVICES = {
    "rekognition": (rekognition_request, lambda a: a["Labels"][0]["Name"], [
        ({"secret": "another"}, "InvalidSignatureException", True),
        ({"date": "20150830T123600Z"}, "Signature expired", False),
        ({"extra": [("x-amz-security-token", "t")]}, "UnrecognizedClientException", False),
        ({"parameters": {"MinConfidence": 101}}, "MinConfidence", True),
        ({"parameters": {"Image": {"Bytes": "not base64"}}}, "malformed", True)]),
    "facepp": (facepp_request, facepp_best, [
        ({"secret": "another"}, "AUTHENTICATION_ERROR", False),
        ({"kind": "multipart/form-data"}, "boundary", True),
        ({"kind": "multipart/form-data; boundary=other"}, "boundary", True)]),
    "baidu": (baidu_request, lambda a: max(a["result"], key=lambda r: r["score"])["keyword"], [
        ({"token": "24.another"}, "110", False), ({"escape": False}, "216100", True)]),
    "google": (google_request, lambda a: a["responses"][0]["labelAnnotations"][0]["description"], [
        ({"query": "?key=AIza"}, "in the URL", True),
        ({"credentials": {"X-Goog-Api-Key": "x"}}, "API key not valid", False),
        ({"credentials": {}}, "PERMISSION_DENIED", True),
        ({"credentials": {"Authorization": "Bearer x"}}, "UNAUTHENTICATED", False)]),
    "azure": (azure_request, lambda a: a["tagsResult"]["values"][0]["name"], [
        ({"key": "another"}, "invalid subscription key", False),
        ({"kind": "image/jpeg"}, "Content-Type", True),
        ({"query": "api-version=2024-02-01&features=tags"}, "api-version", True)]),
    "oip": (oip_request, lambda a: a["outputs"][0]["data"][0].split(":")[2], [
        ({"off": 1}, "malformed", True)]),
    "torchserve": (torchserve_request, lambda a: max(a, key=a.get), [
        ({"path": "/predictions/N"}, "ModelNotFound", False),
        ({"kind": "application/x-www-form-urlencoded"}, "Content-Type", True)]),
}


def each_service(test):
    """Runs it with each service's running server and its row of SERVICES."""
    def run(self):
        for name, row in SERVICES.items():
            with self.subTest(name):
                test(self, self.start(name), *row)
    return run


class Services(unittest.TestCase):
    def start(self, name):
        service = Service(name)
        self.addCleanup(service.close)
        service.do("set decode true")
        return service

    @each_service
    def test_low_quality_loses_the_label(self, service, write, best, _):
        service.do("set threshold 20")
        named = {}
        for quality in (75, 25, 15):
            for grey in (20, 128, 240):
                status, value, _ = service.ask(*write(service, jpeg(quality=quality, grey=grey)))
                self.assertEqual(status, 200, value)
                named[quality, grey] = best(value)
        for grey in (20, 128, 240):
            self.assertEqual(named[75, grey], named[25, grey])
            self.assertNotEqual(named[75, grey], named[15, grey])
        self.assertEqual(len({named[75, grey] for grey in (20, 128, 240)}), 3)
        self.assertEqual(service.stats()["complaints"], [])
        self.assertEqual(service.stats()["pictures"], 9)
        self.assertEqual(service.stats()["last"]["width"], 128)

    @each_service
    def test_what_is_wrong_is_noticed(self, service, write, _, wrong):
        for change, words, complained in wrong:
            service.do("reset")
            _, value, _ = service.ask(*write(service, PICTURE, **change))
            self.assertIn(words, json.dumps(value), change)
            self.assertEqual(bool(service.stats()["complaints"]), complained, change)
            self.assertEqual(service.stats()["pictures"], 0)
        service.do("reset")
        broken = jpeg()[:-10] + b"\xff\xd9"
        service.ask(*write(service, broken))
        self.assertEqual(len(service.stats()["complaints"]), 1)

    def test_sides(self):
        for name, least in (("rekognition", 80), ("facepp", 48), ("baidu", 15), ("azure", 51)):
            service, write = self.start(name), SERVICES[name][0]
            service.ask(*write(service, jpeg(least, least)))
            self.assertEqual(service.stats()["complaints"], [])
            service.ask(*write(service, jpeg(least, least - 1)))
            self.assertEqual(len(service.stats()["complaints"]), 1)

    @each_service
    def test_misbehaviour_and_healing(self, service, write, best, _):
        _, good, _ = service.ask(*write(service, jpeg()))
        target, headers, body = write(service, jpeg())
        service.do("once 1 error throttled 7")
        status, value, got = service.ask(target, headers, body)
        self.assertEqual(got["Retry-After"], "7")
        self.assertNotEqual(value, good)
        service.do("once 1 types")
        self.assertNotEqual(service.ask(target, headers, body)[1], good)
        service.do("once 1 echo")
        self.assertIn("accept-encoding: identity",
                      json.dumps(service.ask(target, headers, body)[1]))
        service.do("once 1 half")
        with self.assertRaises(http.client.IncompleteRead):
            service.ask(target, headers, body)
        service.connection.close()
        service.do("once 1 html")
        with self.assertRaises(json.JSONDecodeError):
            service.ask(target, headers, body)
        self.assertEqual(best(service.ask(target, headers, body)[1]), best(good))

    @each_service
    def test_bytes_are_counted_as_sent(self, service, write, *_):
        target, headers, body = write(service, jpeg())
        service.do("reset")
        head = f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n" + "".join(
            f"{name}: {value}\r\n" for name, value in headers.items() if name.lower() != "host")
        raw = (head + f"Content-Length: {len(body)}\r\n\r\n").encode() + body
        service.connection.connect()
        service.connection.sock.sendall(raw)
        service.connection.sock.settimeout(20)
        got = service.connection.sock.recv(1 << 20)
        self.assertTrue(got.startswith(b"HTTP/1.1 200 "), got)
        stats = service.stats()
        self.assertEqual((stats["received"], stats["sent"]), (len(raw), len(got)))

    def test_tokens_expire(self):
        service = self.start("baidu")
        self.assertEqual(baidu_token(service, "another")[:2],
                         (401, {"error": "invalid_client",
                                "error_description": "Client authentication failed"}))
        token = baidu_token(service)[1]["access_token"]
        self.assertEqual(json.loads(service.command("secrets")), [token])
        request = baidu_request(service, jpeg(), token=token)
        self.assertIn("result", service.ask(*request)[1])
        service.do("expire")
        self.assertEqual(service.ask(*request)[1]["error_code"], 111)
        service.do("set lifetime 0")
        lying = baidu_token(service)[1]
        self.assertEqual(lying["expires_in"], 2592000)
        request = baidu_request(service, jpeg(), token=lying["access_token"])
        self.assertEqual(service.ask(*request)[1]["error_code"], 111)

    def test_clock_session_and_version(self):
        service = self.start("rekognition")
        service.do("set skew 7200")
        self.assertIn("expired", service.ask(*rekognition_request(service, jpeg()))[1]["message"])
        service.do("set skew 0")
        service.do('set session_token "t"')
        extra = [("x-amz-security-token", "t")]
        service.do('set model_version "4.0"')
        status, value, _ = service.ask(*rekognition_request(service, jpeg(), extra=extra))
        self.assertEqual((status, value["LabelModelVersion"]), (200, "4.0"))
        service.do("set expired true")
        _, value, _ = service.ask(*rekognition_request(service, jpeg(), extra=extra))
        self.assertEqual(value["__type"], "ExpiredTokenException")

    def test_nothing_seen(self):
        for name in ("rekognition", "facepp", "google", "azure"):
            service, write = self.start(name), SERVICES[name][0]
            service.do("set empty 2")
            answers = [json.dumps(service.ask(*write(service, jpeg()))[1]) for _ in range(4)]
            self.assertEqual(answers[0], answers[2])
            self.assertLess(len(answers[1]), len(answers[0]))


if __name__ == "__main__":
    unittest.main()
