"""A loopback HTTP/1.1 server that counts every byte and misbehaves on command.

A service has a function answer(server, request) -> (status, headers, body) and, in the service's
own form, failure(kind, text) -> (status, headers, body); its main program calls serve(). The first
line it prints is "port N". Commands come on stdin, one a line, each answered by one line; the end
of stdin ends the server.

  mode NAME [ARGUMENT ...]     how every request is answered from now on (see MODES); "ok" heals
  once N NAME [ARGUMENT ...]   the same for the next N requests only
  set KEY VALUE                a setting of the service (VALUE is JSON)
  certificate FILE KEY         shows another certificate from now on; breaks all connections
  drop                         breaks all connections
  expire                       makes all tokens that were issued expire
  secrets                      what was issued and nobody else may know, as JSON
  stats                        what was counted, as JSON
  reset                        counts from zero

Standard library only.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import collections
import http.client
import json
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.parse

JSON = {"Content-Type": "application/json"}
MAX_COMPLAINTS = 20

# fields: (name, value) as they came, each name in lower case; headers: the same as a mapping.
Request = collections.namedtuple("Request", "method path headers body fields")


class Gone(Exception):
    """The other side closed the connection, or we did."""


class Failure(Exception):
    """An error that the service answers with: kind is one of those its failure() knows."""

    def __init__(self, kind, text):
        super().__init__(text)
        self.kind = kind


class Complaint(Failure):
    """The same, for what no right client does: it is remembered."""

    def __init__(self, text, kind="bad"):
        super().__init__(kind, text)


def demand(condition, text, kind="bad"):
    if not condition:
        raise Complaint(text, kind)


def reply(value, status=200, headers=JSON):
    return status, headers, json.dumps(value).encode()


def plain_failure(kind, text):
    return reply({"error": text}, 500 if kind == "internal" else 400)


def split_target(request):
    """The path, and the query as a mapping of decoded values."""
    path, _, query = request.path.partition("?")
    pairs = urllib.parse.parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    demand(len(dict(pairs)) == len(pairs), "a query parameter stands twice")
    return path, dict(pairs)


def response(status, headers, body):
    lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def whole(status, headers, body):
    return response(status, {**headers, "Content-Length": len(body)}, body)


class Connection:
    def __init__(self, server, sock):
        self.server, self.sock, self.pending, self.request = server, sock, b"", None

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
        fields = [(name.strip().lower(), value.strip())
                  for name, value in (line.split(":", 1) for line in lines)]
        headers = dict(fields)
        length = int(headers.get("content-length", 0))
        while len(self.pending) < length:
            self.receive()
        body, self.pending = self.pending[:length], self.pending[length:]
        self.request = Request(method, path, headers, body, fields)
        return self.request

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


def mistyped(value):
    """Each value as one of another type: what a careless reader would trip over."""
    if isinstance(value, dict):
        return {name: mistyped(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return {"first": mistyped(value[0]) if value else None}
    if isinstance(value, str):
        return len(value)
    return str(value) if value is not None else []


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


def error(connection, answer, kind, retry_after=None):
    """In the service's own form."""
    code, headers, body = connection.server.failure(kind, "as commanded")
    extra = {"Retry-After": retry_after.replace("_", " ")} if retry_after else {}
    connection.send(whole(code, {**headers, **extra}, body))


def echo(connection, answer):
    """An error that repeats all it was told, but for the picture."""
    request = connection.request
    said = [f"{request.method} {request.path}"] + [": ".join(field) for field in request.fields]
    said.append(request.body[:400].decode("latin-1"))
    connection.send(whole(*connection.server.failure("denied", ", ".join(said))))


def html(connection, answer):
    connection.send(whole(200, {"Content-Type": "text/html"},
                          b"<!DOCTYPE html><html><body>Please log in</body></html>"))


def types(connection, answer):
    code, headers, body = answer()
    connection.send(whole(code, headers, json.dumps(mistyped(json.loads(body))).encode()))


def big(connection, answer, megabytes):
    size = int(megabytes) << 20
    connection.send(response(200, {**JSON, "Content-Length": size}, b'{"outputs": ['))
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
    connection.send(whole(200, JSON, " ".join(text).encode()))


MODES = {"ok": good, "slow": slow, "hang": hang, "stall": stall, "half": half, "drip": drip,
         "reset": reset, "chunked": chunked, "until-close": until_close, "status": status,
         "error": error, "echo": echo, "html": html, "types": types, "big": big,
         "headers": headers, "garbage": garbage, "body": body}
COUNTS = ("requests", "connections", "received", "sent", "pictures")


def tls_context(certificate, key, authority=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if authority:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority)
    return context


class Server:
    """tls: FILE KEY [CA], the latter for certificates that clients must show."""

    def __init__(self, answer, tls=None, failure=plain_failure, settings=None):
        self.answer, self.failure, self.lock = answer, failure, threading.Lock()
        self.mode, self.once = (good, []), []
        self.settings, self.complaints, self.last = dict(settings or {}), [], {}
        self.secrets, self.tokens = [], {}
        self.counts, self.sockets = collections.Counter(), set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.names = None  # that Host must be one of
        self.tls = tls_context(*tls) if tls else None

    def count(self, name, n=1):
        with self.lock:
            self.counts[name] += n

    def complain(self, text):
        with self.lock:
            if len(self.complaints) < MAX_COMPLAINTS:
                self.complaints.append(text)

    def respond(self, request):
        """The good answer, or the error that the service would answer with."""
        try:
            demand(self.names is None or request.headers.get("host") in self.names,
                   "Host is not this one")
            return self.answer(self, request)
        except Complaint as found:
            self.complain(str(found))
            return self.failure(found.kind, str(found))
        except Failure as found:
            return self.failure(found.kind, str(found))
        except (ValueError, LookupError, TypeError, AttributeError) as found:
            text = f"malformed: {type(found).__name__} {found}"
            self.complain(text)
            return self.failure("bad", text)

    def next_mode(self):
        with self.lock:
            self.counts["requests"] += 1
            return self.once.pop(0) if self.once else self.mode

    def serve(self, sock):
        try:
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            with self.lock:
                self.sockets.add(sock)
            connection = Connection(self, sock)
            while True:
                request = connection.read_request()
                mode, arguments = self.next_mode()
                mode(connection, lambda: self.respond(request), *arguments)
        except (Gone, OSError):
            pass
        finally:
            with self.lock:
                self.sockets.discard(sock)
            sock.close()

    def accept(self):
        while True:
            sock, _ = self.listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.count("connections")
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def drop(self):
        for sock in self.sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def stats(self):
        return json.dumps({**{key: self.counts[key] for key in COUNTS},
                           "complaints": self.complaints, "last": self.last})

    def command(self, words):
        name, *arguments = words
        with self.lock:
            if name == "mode":
                self.mode, self.once = (MODES[arguments[0]], arguments[1:]), []
            elif name == "once":
                self.once = [(MODES[arguments[1]], arguments[2:])] * int(arguments[0])
            elif name == "set":
                self.settings[arguments[0]] = json.loads(" ".join(arguments[1:]))
            elif name == "certificate":
                # Not the same context with another certificate: it would resume sessions.
                self.tls = tls_context(*arguments)
                self.drop()
            elif name == "drop":
                self.drop()
            elif name == "expire":
                self.tokens = dict.fromkeys(self.tokens, 0)
            elif name == "reset":
                self.counts.clear()
                self.complaints.clear()
            elif name == "secrets":
                return json.dumps(self.secrets)
            elif name == "stats":
                return self.stats()
            else:
                return f"unknown command {name}"
        return "ok"

    def run(self):
        threading.Thread(target=self.accept, daemon=True).start()
        print(f"port {self.port}", flush=True)
        for line in sys.stdin:
            print(self.command(line.split()), flush=True)


def serve(answer, failure, settings):
    """The main program of a service."""
    server = Server(answer, sys.argv[1:4] or None, failure, settings)
    server.names = [f"{name}:{server.port}" for name in ("127.0.0.1", "localhost")]
    server.run()
