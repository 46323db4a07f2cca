#!/usr/bin/env python3
"""TorchServe's image_classifier, for tests: checks what it gets, misbehaves on command.

Usage: torchserve.py [CERTIFICATE KEY]

Settings: "token" (demanded when set), "model" (null: any), "versions" (of it); "form" ("object" =
class: probability, "list" = DJL's, "single"); "threshold", "empty", "decode" (pictures.py).
Commands and misbehaviours are those of misbehave.py.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import re

from misbehave import Failure, demand, reply, serve
from pictures import labels, look

PATH = re.compile(r"/predictions/([^/]+)(?:/([^/]+))?")
FAILURES = {"bad": (400, "BadRequestException"), "denied": (400, "InvalidKeyException"),
            "expired": (400, "InvalidKeyException"), "missing": (404, "ModelNotFoundException"),
            "throttled": (503, "ServiceUnavailableException"),
            "quota": (503, "ServiceUnavailableException"),
            "internal": (500, "InternalServerException"), "picture": (400, "BadRequestException")}
SETTINGS = {"model": "M", "versions": ["1.0"]}


def failure(kind, text):
    status, name = FAILURES[kind]
    return reply({"code": status, "type": name, "message": text}, status)


def write_labels(form, seen):
    if form == "list":
        return [{"className": label.name, "probability": label.score} for label in seen]
    if form == "single":
        return {"class": seen[0].name, "probability": seen[0].score}
    return {label.name.replace(" ", "_").lower(): label.score for label in seen}


def answer(server, request):
    settings = server.settings
    token = settings.get("token")
    if token and request.headers.get("authorization") != "Bearer " + token:
        raise Failure("denied", "Token Authorization failed. Token either incorrect, expired, or "
                      "not provided correctly")
    if (request.method, request.path) == ("GET", "/ping"):
        return reply({"status": "Healthy"})
    found = PATH.fullmatch(request.path)
    if not found or settings["model"] not in (None, found[1]) \
            or found[2] not in [None] + settings["versions"]:
        raise Failure("missing", "Model not found: " + request.path)
    demand(request.method == "POST", "a prediction is not asked for by POST")
    # What is called a form would be parsed as one.
    demand(request.headers.get("content-type") in ("image/jpeg", "application/octet-stream"),
           "Content-Type is neither image/jpeg nor application/octet-stream")
    picture = look(server, request.body)
    return reply(write_labels(settings.get("form", "object"), labels(server, picture)))


if __name__ == "__main__":
    serve(answer, failure, SETTINGS)
