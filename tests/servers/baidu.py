#!/usr/bin/env python3
"""Baidu's advanced_general, for tests: gives tokens and lets them expire, misbehaves on command.

Usage: baidu.py [CERTIFICATE KEY]

Settings: "api_key", "secret_key"; "expires_in" (what it says of a token), "lifetime" (seconds that
the token is good for, by default what was said); "threshold", "empty", "decode" (pictures.py).
Errors come with HTTP status 200. Commands and misbehaviours are those of misbehave.py.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import base64
import json
import secrets
import time
import urllib.parse

from misbehave import Failure, demand, reply, serve, split_target
from pictures import check_sides, labels, look

TOKEN_PATH = "/oauth/2.0/token"
PATH = "/rest/2.0/image-classify/v2/advanced_general"
FORM = "application/x-www-form-urlencoded"
MAX_BASE64 = 4 << 20
MIN_SIDE, MAX_SIDE = 15, 4096
FAILURES = {"bad": (216100, "invalid param"),
            "denied": (110, "Access token invalid or no longer valid"),
            "expired": (111, "Access token expired"),
            "throttled": (18, "Open api qps request limit reached"),
            "quota": (17, "Open api daily request limit reached"),
            "internal": (282000, "internal error"), "picture": (216201, "image format error"),
            "large": (216202, "image size error")}
SETTINGS = {"api_key": "baiduApiKey0123456789+/=", "secret_key": "baidu&Secret=9876543210%41",
            "expires_in": 2592000}


def failure(kind, text):
    code, name = FAILURES[kind]
    said = f"{name}: {text}" if kind in ("bad", "denied", "picture") else name
    return reply({"log_id": 18446744073709551615, "error_code": code, "error_msg": said})


def read_form(request):
    demand(request.headers.get("content-type") == FORM, "Content-Type is not " + FORM)
    pairs = urllib.parse.parse_qsl(request.body.decode("ascii"), keep_blank_values=True,
                                   strict_parsing=True)
    demand(len(dict(pairs)) == len(pairs), "a field stands twice")
    return dict(pairs)


def give_token(server, request, query):
    """Key and secret come in the query, as documented, or in a form, where nothing logs them."""
    settings = server.settings
    fields = {**query, **(read_form(request) if request.body else {})}
    demand(request.method == "POST", "the token is not asked for by POST")
    demand(fields.get("grant_type") == "client_credentials", "grant_type is not client_credentials")
    if fields.get("client_id") != settings["api_key"]:
        return reply({"error": "invalid_client", "error_description": "unknown client id"}, 401)
    if fields.get("client_secret") != settings["secret_key"]:
        return reply({"error": "invalid_client",
                      "error_description": "Client authentication failed"}, 401)
    token = "24." + secrets.token_hex(16) + ".2592000"
    with server.lock:
        server.secrets.append(token)
        server.tokens[token] = time.time() + settings.get("lifetime", settings["expires_in"])
        server.counts["tokens"] += 1
    return reply({"access_token": token, "expires_in": settings["expires_in"],
                  "refresh_token": "25." + token[3:], "scope": "public brain_all_scope",
                  "session_key": "9mzdX", "session_secret": "f9b1"})


def check_token(server, query):
    demand("access_token" in query, "no access_token", "denied")
    until = server.tokens.get(query["access_token"])
    if until is None:
        raise Failure("denied", "unknown")
    if time.time() >= until:
        raise Failure("expired", "over")


def read_picture(request):
    form = read_form(request)
    demand(set(form) <= {"image", "baike_num"} and "image" in form, "the form is not image=")
    demand(len(form["image"]) <= MAX_BASE64, "more than 4 MB of base64", "large")
    # A plus that was not escaped has become a space, which is no base64.
    return base64.b64decode(form["image"], validate=True)


def answer(server, request):
    path, query = split_target(request)
    if path == TOKEN_PATH:
        return give_token(server, request, query)
    demand((request.method, path) == ("POST", PATH), "neither the token's path nor the service's")
    check_token(server, query)
    picture = look(server, read_picture(request))
    if server.settings.get("decode") is not False:
        check_sides(picture, MIN_SIDE, MAX_SIDE)
    # The best is not the first.
    seen = [{"score": label.score, "root": "商品", "keyword": label.chinese}
            for label in labels(server, picture)][::-1]
    status, headers, body = reply({"log_id": 18446744073709551557, "result_num": len(seen)})
    inner = json.dumps(seen, ensure_ascii=False).encode()
    return status, headers, body[:-1] + b', "result": ' + inner + b"}"


if __name__ == "__main__":
    serve(answer, failure, SETTINGS)
