#!/usr/bin/env python3
"""Face++'s detectsceneandobject, for tests: parses its form, misbehaves on command.

Usage: facepp.py [CERTIFICATE KEY]

Settings: "api_key", "api_secret"; "threshold", "empty", "decode" (pictures.py). Commands and
misbehaviours are those of misbehave.py.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import base64
import re

from misbehave import Failure, demand, reply, serve
from pictures import check_sides, labels, look

PATH = "/imagepp/beta/detectsceneandobject"
MAX_BYTES = 2 << 20
MIN_SIDE, MAX_SIDE = 48, 4096
# This place of the vocabulary and below are sceneries.
SCENES = 2
FAILURES = {"bad": (400, "BAD_ARGUMENTS"), "denied": (401, "AUTHENTICATION_ERROR"),
            "expired": (401, "AUTHENTICATION_ERROR"),
            "throttled": (403, "CONCURRENCY_LIMIT_EXCEEDED"),
            "quota": (403, "AUTHORIZATION_ERROR:insufficient balance"),
            "internal": (500, "INTERNAL_ERROR"), "picture": (400, "INVALID_IMAGE_SIZE"),
            "large": (400, "IMAGE_FILE_TOO_LARGE")}
SETTINGS = {"api_key": "facepp+key/with=signs", "api_secret": "facepp&secret with?spaces"}


def failure(kind, text):
    """This service says a name, and nothing of the text but where a parameter is wrong."""
    status, name = FAILURES[kind]
    said = f"{name}: {text}" if kind in ("bad", "denied", "picture") else name
    return reply({"time_used": 3, "error_message": said}, status)


def parse_part(part):
    """(name, file name or None, content) of what stands between two boundaries."""
    demand(part.startswith(b"\r\n"), "no line end behind a boundary")
    head, content = part[2:].split(b"\r\n\r\n", 1)
    lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
    lines = {name.lower(): value for name, value in lines.items()}
    found = re.fullmatch(r'form-data; name="([^"]+)"(?:; filename="([^"]+)")?',
                         lines["content-disposition"])
    demand(found, "Content-Disposition is not form-data with a name")
    return found[1], found[2], content


def parse_multipart(request):
    kind = re.fullmatch(r'multipart/form-data; ?boundary="?([0-9A-Za-z\'()+_,./:=?-]{1,70})"?',
                        request.headers.get("content-type", ""))
    demand(kind, "Content-Type is not multipart/form-data with a boundary")
    mark = b"\r\n--" + kind[1].encode()
    pieces = (b"\r\n" + request.body).split(mark)
    demand(len(pieces) > 2 and pieces[0] == b"" and pieces[-1] in (b"--", b"--\r\n"),
           "the form does not begin and end with its boundary")
    parts = [parse_part(piece) for piece in pieces[1:-1]]
    demand(len({name for name, _, _ in parts}) == len(parts), "a field stands twice")
    return {name: (file_name, content) for name, file_name, content in parts}


def read_picture(fields):
    given = [name for name in ("image_file", "image_base64") if name in fields]
    demand(len(given) == 1, "not one of image_file and image_base64")
    file_name, content = fields[given[0]]
    if given[0] == "image_base64":
        content = base64.b64decode(content, validate=True)
    else:
        demand(file_name, "image_file has no filename")
    demand(0 < len(content) <= MAX_BYTES, "a picture of more than 2 MB, or none", "large")
    return content


def answer(server, request):
    demand((request.method, request.path) == ("POST", PATH), "not POST " + PATH)
    fields = parse_multipart(request)
    demand({"api_key", "api_secret"} <= set(fields), "api_key or api_secret is missing", "denied")
    for name in ("api_key", "api_secret"):
        if fields[name][1].decode() != server.settings[name]:
            raise Failure("denied", "wrong " + name)
    picture = look(server, read_picture(fields))
    if server.settings.get("decode") is not False:
        check_sides(picture, MIN_SIDE, MAX_SIDE)
    seen = labels(server, picture)
    found = [[{"confidence": 100 * label.score, "value": label.name} for label in seen
              if (label.place < SCENES) == scene] for scene in (True, False)]
    return reply({"request_id": "1470481019,0b9a", "time_used": 230, "image_id": "aGVsbG8=",
                  "scenes": found[0], "objects": found[1]})


if __name__ == "__main__":
    serve(answer, failure, SETTINGS)
