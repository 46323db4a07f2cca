#!/usr/bin/env python3
"""Azure Image Analysis 4.0, for tests: checks what it gets, misbehaves on command.

Usage: azure.py [CERTIFICATE KEY]

Settings: "key"; "model_version"; "threshold", "empty", "decode" (pictures.py). Commands and
misbehaviours are those of misbehave.py.

SPDX-License-Identifier: LGPL-2.1-or-later
"""

from misbehave import Failure, demand, reply, serve, split_target
from pictures import check_sides, labels, look

PATH = "/computervision/imageanalysis:analyze"
VERSION = "2023-10-01"
MAX_BYTES = 20971520
MIN_SIDE, MAX_SIDE = 51, 15999
FAILURES = {"bad": (400, "InvalidRequest"), "denied": (401, "401"), "expired": (401, "401"),
            "throttled": (429, "429"), "quota": (403, "403"),
            "internal": (500, "InternalServerError"), "picture": (400, "InvalidRequest")}
INNER = {"bad": "BadArgument", "picture": "InvalidImageSize"}
SETTINGS = {"key": "azure+key/0123456789=abcdef", "model_version": "2023-10-01"}


def failure(kind, text):
    status, code = FAILURES[kind]
    error = {"code": code, "message": text}
    if kind in INNER:
        error["innererror"] = {"code": INNER[kind], "message": text}
    return reply({"error": error}, status)


def answer(server, request):
    path, query = split_target(request)
    demand((request.method, path) == ("POST", PATH), "not POST " + PATH)
    demand(query.get("api-version") == VERSION, "api-version is not " + VERSION)
    demand(query.get("features") == "tags", "features is not tags")
    key = request.headers.get("ocp-apim-subscription-key")
    demand(key is not None, "no Ocp-Apim-Subscription-Key", "denied")
    if key != server.settings["key"]:
        raise Failure("denied", "Access denied due to invalid subscription key or wrong API "
                      "endpoint.")
    demand(request.headers.get("content-type") == "application/octet-stream",
           "Content-Type is not application/octet-stream")
    demand(0 < len(request.body) <= MAX_BYTES, "a picture of more than 20 MB, or none", "picture")
    picture = look(server, request.body)
    if server.settings.get("decode") is not False:
        check_sides(picture, MIN_SIDE, MAX_SIDE)
    values = [{"name": label.name.lower(), "confidence": label.score}
              for label in labels(server, picture)]
    return reply({"modelVersion": server.settings["model_version"],
                  "metadata": {"width": picture.width, "height": picture.height},
                  "tagsResult": {"values": values}})


if __name__ == "__main__":
    serve(answer, failure, SETTINGS)
