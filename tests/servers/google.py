#!/usr/bin/env python3
"""Google Cloud Vision's label detection, for tests: checks what it gets, misbehaves on command.

Usage: google.py [CERTIFICATE KEY]

Settings: "api_key", "token" (either is enough), "project" (demanded with the token when set);
"image_error" (an error inside the answer); "threshold", "empty", "decode" (pictures.py). Commands
and misbehaviours are those of misbehave.py.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import base64
import json

from misbehave import Failure, demand, reply, serve, split_target
from pictures import labels, look

PATH = "/v1/images:annotate"
MAX_REQUEST = 10 << 20
DEFAULT_RESULTS = 10
FAILURES = {"bad": (400, "INVALID_ARGUMENT"), "denied": (403, "PERMISSION_DENIED"),
            "expired": (401, "UNAUTHENTICATED"), "throttled": (429, "RESOURCE_EXHAUSTED"),
            "quota": (429, "RESOURCE_EXHAUSTED"), "internal": (500, "INTERNAL"),
            "picture": (400, "INVALID_ARGUMENT")}
SETTINGS = {"api_key": "AIzaSyTest-Key_0123456789+/=abcdefghijk",
            "token": "ya29.test-token_0123456789~ABCDEF"}


def failure(kind, text):
    status, name = FAILURES[kind]
    return reply({"error": {"code": status, "message": text, "status": name}}, status)


def check_credentials(settings, request, query):
    """A key in the URL would be good enough for the service, but others log URLs."""
    demand("key" not in query, "the key is in the URL")
    key, bearer = request.headers.get("x-goog-api-key"), request.headers.get("authorization")
    demand((key is None) != (bearer is None), "not one of X-Goog-Api-Key and Authorization",
           "denied")
    if key is not None and key != settings["api_key"]:
        raise Failure("bad", "API key not valid. Please pass a valid API key.")
    if bearer is None:
        return
    if bearer != "Bearer " + settings["token"]:
        raise Failure("expired", "Request had invalid authentication credentials.")
    if request.headers.get("x-goog-user-project") != settings.get("project"):
        raise Failure("denied", "The project of the quota is another")


def read_request(request):
    """(JPEG, maxResults)."""
    demand(request.headers.get("content-type", "").split(";")[0] == "application/json",
           "Content-Type is not application/json")
    demand(len(request.body) <= MAX_REQUEST, "a request of more than 10 MB")
    value = json.loads(request.body)
    demand(set(value) <= {"requests", "parent"}, "a field that is not documented")
    (one,) = value["requests"]
    demand(set(one) <= {"image", "features", "imageContext"}, "a field that is not documented")
    (feature,) = one["features"]
    demand(feature["type"] == "LABEL_DETECTION", "another feature")
    most = feature.get("maxResults", DEFAULT_RESULTS)
    demand(isinstance(most, int) and most > 0, "maxResults is not a number from 1")
    demand(set(one["image"]) == {"content"}, "the image is not its content")
    return base64.b64decode(one["image"]["content"], validate=True), most


def answer(server, request):
    path, query = split_target(request)
    demand((request.method, path) == ("POST", PATH), "not POST " + PATH)
    check_credentials(server.settings, request, query)
    data, most = read_request(request)
    picture = look(server, data)
    if server.settings.get("image_error"):
        return reply({"responses": [{"error": {"code": 3, "message": "Bad image data."}}]})
    seen = [{"mid": label.mid, "description": label.name, "score": label.score,
             "topicality": label.score} for label in labels(server, picture)][:most]
    return reply({"responses": [{"labelAnnotations": seen} if seen else {}]})


if __name__ == "__main__":
    serve(answer, failure, SETTINGS)
