#!/usr/bin/env python3
"""An HTTP proxy, for tests: asks for credentials, passes requests on, tunnels what is CONNECTed.

Settings: "credentials" ("user:password" that must come as Basic; null: anyone may). What came last,
as "stats" tells it: "method" and "target" of the request to the proxy itself. Bytes are those of
its clients. Commands and misbehaviours are those of misbehave.py; the latter are the proxy's own.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import base64
import socket
import threading
import urllib.parse

import misbehave
from misbehave import Gone, response, whole


def is_allowed(server, request):
    wanted = server.settings["credentials"]
    given = request.headers.get("proxy-authorization", "")
    return wanted is None or given == "Basic " + base64.b64encode(wanted.encode()).decode()


def receive_all(sock):
    while data := sock.recv(65536):
        yield data


def pass_on(connection, upstream):
    """From the client, until either side has had enough."""
    try:
        while True:
            connection.receive()
            upstream.sendall(connection.pending)
            connection.pending = b""
    except (Gone, OSError):
        upstream.close()


def tunnel(connection, target):
    host, port = target.rsplit(":", 1)
    with socket.create_connection((host, int(port))) as upstream:
        connection.send(response(200, {}, b""))
        threading.Thread(target=pass_on, args=(connection, upstream), daemon=True).start()
        for data in receive_all(upstream):
            connection.send(data)
    raise Gone


def forward(connection, request):
    """One request, over a connection of its own, whose end is that of the answer."""
    url = urllib.parse.urlsplit(request.path)
    target = urllib.parse.urlunsplit(("", "", url.path or "/", url.query, ""))
    fields = [(name, value) for name, value in request.fields if not name.startswith("proxy-")]
    lines = [f"{request.method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in fields]
    with socket.create_connection((url.hostname, url.port)) as upstream:
        upstream.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + request.body)
        upstream.shutdown(socket.SHUT_WR)
        for data in receive_all(upstream):
            connection.send(data)


def proxied(connection, answer):
    server, request = connection.server, connection.request
    server.last.update(method=request.method, target=request.path)
    if not is_allowed(server, request):
        connection.send(whole(407, {"Proxy-Authenticate": 'Basic realm="test"'}, b""))
    elif request.method == "CONNECT":
        tunnel(connection, request.path)
    else:
        forward(connection, request)


if __name__ == "__main__":
    misbehave.MODES["ok"] = proxied
    proxy = misbehave.Server(None, settings={"credentials": None})
    proxy.mode = (proxied, [])
    proxy.run()
