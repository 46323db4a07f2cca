"""A loopback HTTP/1.1 server that counts every byte and misbehaves on command.

A service's server makes a Server with a function answer(request) -> (status, headers, body) and
calls run(). The first line it prints is "port N". Commands come on stdin, one a line, each answered
by one line; the end of stdin ends the server.

  mode NAME [ARGUMENT ...]     how every request is answered from now on (see MODES)
  once N NAME [ARGUMENT ...]   the same for the next N requests only
  set KEY VALUE                a setting of the service (VALUE is JSON)
  stats                        what was counted, as JSON
  reset                        counts from zero

Standard library only.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import collections
import json
import socket
import ssl
import struct
import sys
import threading
import time

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found",
           429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable"}

Request = collections.namedtuple("Request", "method path headers body")


class Gone(Exception):
    """The other side closed the connection, or we did."""


def response(status, headers, body):
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def whole(status, headers, body):
    return response(status, {**headers, "Content-Length": len(body)}, body)


class Connection:
    def __init__(self, server, sock):
        self.server, self.sock, self.pending = server, sock, b""

    def receive(self):
        try:
            data = self.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            raise Gone
        self.server.count("received", len(data))
        self.pending += data

    def send(self, data):
        view = memoryview(data)
        while view:
            piece, n = view[:65536], 0
            # Counted before it leaves: who has read it finds it counted.
            self.server.count("sent", len(piece))
            try:
                n = self.sock.send(piece)
            except OSError:
                raise Gone from None
            finally:
                self.server.count("sent", n - len(piece))
            view = view[n:]

    def read_request(self):
        while b"\r\n\r\n" not in self.pending:
            self.receive()
        head, self.pending = self.pending.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {name.strip().lower(): value.strip()
                   for name, value in (line.split(":", 1) for line in lines)}
        length = int(headers.get("content-length", 0))
        while len(self.pending) < length:
            self.receive()
        body, self.pending = self.pending[:length], self.pending[length:]
        return Request(method, path, headers, body)

    def wait_for_end(self):
        while True:
            self.receive()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Gone


def chunks(body):
    half = len(body) // 2 or 1
    pieces = [piece for piece in (body[:half], body[half:]) if piece]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


# How a request is answered: each takes the connection, a function that makes the good answer, and
# the command's arguments.
def good(connection, answer):
    connection.send(whole(*answer()))


def slow(connection, answer, seconds):
    time.sleep(float(seconds))
    good(connection, answer)


def hang(connection, answer):
    connection.wait_for_end()


def stall(connection, answer):
    data = whole(*answer())
    connection.send(data[:len(data) - len(data) // 4])
    connection.wait_for_end()


def half(connection, answer):
    data = whole(*answer())
    connection.send(data[:len(data) - len(data) // 4])
    raise Gone


def drip(connection, answer, seconds):
    for byte in whole(*answer()):
        connection.send(bytes([byte]))
        time.sleep(float(seconds))


def reset(connection, answer):
    connection.reset()


def chunked(connection, answer):
    status, headers, body = answer()
    connection.send(response(status, {**headers, "Transfer-Encoding": "chunked"}, chunks(body)))


def until_close(connection, answer):
    status, headers, body = answer()
    connection.send(response(status, {**headers, "Connection": "close"}, body))
    raise Gone


def status(connection, answer, code, retry_after=None, body='{"error": "as commanded"}'):
    headers = {"Retry-After": retry_after.replace("_", " ")} if retry_after else {}
    connection.send(whole(int(code), headers, body.encode()))


def html(connection, answer):
    connection.send(whole(200, {"Content-Type": "text/html"},
                          b"<!DOCTYPE html><html><body>Please log in</body></html>"))


def big(connection, answer, megabytes):
    size = int(megabytes) << 20
    connection.send(response(200, {"Content-Length": size}, b'{"outputs": ['))
    for _ in range(size >> 16):
        connection.send(b"[0,1]," * 10922)


def headers(connection, answer):
    connection.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.send(b"X-More: of the same\r\n" * 100)


def garbage(connection, answer):
    connection.send(bytes(range(255, 0, -1)) * 4)
    raise Gone


def body(connection, answer, *text):
    connection.send(whole(200, {"Content-Type": "application/json"}, " ".join(text).encode()))


MODES = {"ok": good, "slow": slow, "hang": hang, "stall": stall, "half": half, "drip": drip,
         "reset": reset, "chunked": chunked, "until-close": until_close, "status": status,
         "html": html, "big": big, "headers": headers, "garbage": garbage, "body": body}


class Server:
    def __init__(self, answer, tls=None):
        self.answer, self.lock = answer, threading.Lock()
        self.mode, self.once = (good, []), []
        self.settings, self.complaints, self.last = {}, [], {}
        self.counts = collections.Counter()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.tls = None
        if tls:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*tls)

    def count(self, name, n=1):
        with self.lock:
            self.counts[name] += n

    def complain(self, text):
        """What a client did wrong; the answer that says so."""
        with self.lock:
            self.complaints.append(text)
        return 400, {"Content-Type": "application/json"}, json.dumps({"error": text}).encode()

    def next_mode(self):
        with self.lock:
            self.counts["requests"] += 1
            return self.once.pop(0) if self.once else self.mode

    def serve(self, sock):
        try:
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            connection = Connection(self, sock)
            while True:
                request = connection.read_request()
                mode, arguments = self.next_mode()
                mode(connection, lambda: self.answer(self, request), *arguments)
        except (Gone, OSError):
            pass
        finally:
            sock.close()

    def accept(self):
        while True:
            sock, _ = self.listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.count("connections")
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def command(self, words):
        name, *arguments = words
        with self.lock:
            if name == "mode":
                self.mode, self.once = (MODES[arguments[0]], arguments[1:]), []
            elif name == "once":
                self.once = [(MODES[arguments[1]], arguments[2:])] * int(arguments[0])
            elif name == "set":
                self.settings[arguments[0]] = json.loads(" ".join(arguments[1:]))
            elif name == "reset":
                self.counts.clear()
                self.complaints.clear()
            elif name == "stats":
                return json.dumps({**{key: self.counts[key] for key in
                                      ("requests", "connections", "received", "sent")},
                                   "complaints": self.complaints, "last": self.last})
            else:
                return f"unknown command {name}"
        return "ok"

    def run(self):
        threading.Thread(target=self.accept, daemon=True).start()
        print(f"port {self.listener.getsockname()[1]}", flush=True)
        for line in sys.stdin:
            print(self.command(line.split()), flush=True)
