#!/usr/bin/env python3
"""A service that keeps what it is sent and answers what it is told, for tests of requests and TLS.

Usage: capture.py [CERTIFICATE KEY]

With a file clients.pem beside CERTIFICATE, only clients with a certificate that it vouches for are
served. Settings (set KEY VALUE): "answer", the JSON of a good answer; a path ("/v1"), what is
answered there instead. What came last, as "stats" tells it: "method", "path", "headers" (an object,
names in lower case), "body" (base64). Commands and misbehaviours are those of misbehave.py.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import base64
import json
import os
import ssl
import sys

from misbehave import Server

JSON = {"Content-Type": "application/json"}


def answer(server, request):
    server.last.update(method=request.method, path=request.path, headers=request.headers,
                       body=base64.b64encode(request.body).decode())
    good = server.settings.get("answer", {})
    return 200, JSON, json.dumps(server.settings.get(request.path.partition("?")[0], good)).encode()


def demand_certificates(server, authorities):
    server.tls.verify_mode = ssl.CERT_REQUIRED
    server.tls.load_verify_locations(authorities)


if __name__ == "__main__":
    files = sys.argv[1:3]
    capture = Server(answer, files or None)
    clients = files and os.path.join(os.path.dirname(files[0]), "clients.pem")
    if clients and os.path.exists(clients):
        demand_certificates(capture, clients)
    capture.run()
