#!/usr/bin/env python3
"""AWS Rekognition's DetectLabels, for tests: verifies the signature, misbehaves on command.

Usage: rekognition.py [CERTIFICATE KEY]

Settings: "key_id", "secret_key", "region" (null: any); "session_token" (demanded when set);
"expired" (the session is over); "skew" (seconds that its clock is ahead of ours); "model_version";
"threshold", "empty", "decode" (pictures.py). Commands and misbehaviours are those of misbehave.py.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import base64
import json
import time

import sigv4
from misbehave import Failure, demand, reply, serve
from pictures import check_sides, labels, look

TYPE = {"Content-Type": "application/x-amz-json-1.1"}
MAX_BYTES = 5 << 20
MIN_SIDE, MAX_SIDE = 80, 65535
DEFAULT_MIN_CONFIDENCE = 55
FAILURES = {"bad": (400, "InvalidParameterException"),
            "denied": (400, "UnrecognizedClientException"),
            "signature": (400, "InvalidSignatureException"),
            "expired": (400, "ExpiredTokenException"),
            "throttled": (400, "ThrottlingException"), "internal": (500, "InternalServerError"),
            "quota": (400, "ProvisionedThroughputExceededException"),
            "picture": (400, "InvalidImageFormatException"),
            "large": (400, "ImageTooLargeException")}
SETTINGS = {"key_id": "AKIDEXAMPLE", "secret_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            "region": "us-west-2", "model_version": "3.0"}


def failure(kind, text):
    status, name = FAILURES[kind]
    return reply({"__type": name, "message": text}, status, TYPE)


def check_session(settings, request):
    if settings.get("expired"):
        raise Failure("expired", "The security token included in the request is expired")
    if request.headers.get("x-amz-security-token") != settings.get("session_token"):
        raise Failure("denied", "The security token included in the request is invalid.")


def read_request(request):
    """(JPEG, MaxLabels, MinConfidence)."""
    value = json.loads(request.body)
    demand(set(value) <= {"Image", "MaxLabels", "MinConfidence", "Features"},
           "a parameter that is not documented")
    demand(set(value["Image"]) == {"Bytes"}, "Image is not {Bytes}")
    demand(value.get("Features", ["GENERAL_LABELS"]) == ["GENERAL_LABELS"], "other Features")
    most, least = value.get("MaxLabels", 1000), value.get("MinConfidence", DEFAULT_MIN_CONFIDENCE)
    demand(isinstance(most, int) and most > 0, "MaxLabels is not a number from 1")
    demand(isinstance(least, (int, float)) and 0 <= least <= 100, "MinConfidence is not 0 to 100")
    data = base64.b64decode(value["Image"]["Bytes"], validate=True)
    demand(0 < len(data) <= MAX_BYTES, "Bytes are none, or more than 5 MB", "large")
    return data, most, least


def write_label(label):
    return {"Name": label.name, "Confidence": 100 * label.score, "Instances": [],
            "Parents": [{"Name": "Thing"}], "Aliases": [{"Name": label.name.upper()}],
            "Categories": [{"Name": "Everyday"}]}


def answer(server, request):
    settings = server.settings
    demand((request.method, request.path) == ("POST", "/"), "not POST /")
    demand(request.headers.get("x-amz-target") == "RekognitionService.DetectLabels",
           "X-Amz-Target is not DetectLabels")
    demand(request.headers.get("content-type") == TYPE["Content-Type"], "another Content-Type")
    sigv4.verify(request, {settings["key_id"]: settings["secret_key"]}, settings["region"],
                 "rekognition", time.time() + settings.get("skew", 0))
    check_session(settings, request)
    data, most, least = read_request(request)
    picture = look(server, data)
    if settings.get("decode") is not False:
        check_sides(picture, MIN_SIDE, MAX_SIDE)
    seen = [write_label(label) for label in labels(server, picture) if 100 * label.score >= least]
    return reply({"Labels": seen[:most], "LabelModelVersion": settings["model_version"],
                  "OrientationCorrection": None}, headers=TYPE)


if __name__ == "__main__":
    serve(answer, failure, SETTINGS)
