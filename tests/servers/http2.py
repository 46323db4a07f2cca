#!/usr/bin/env python3
"""An HTTP/2 service, for tests of what libcurl does where it is offered: answers every stream alike.

Usage: http2.py CERTIFICATE KEY

As much of RFC 9113 as that takes; the headers of requests are not looked at. Settings: "answer",
the JSON of a good answer. Modes (of misbehave.py, whose commands these are): ok; hang, from which a
connection does not recover; big MEGABYTES; reset, of the stream; goaway, behind the answer. Bytes
are counted inside TLS; "requests" are streams.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import json
import struct
import sys

import misbehave
from misbehave import Gone

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INTERNAL_ERROR = 2
MAX_FRAME = 16384
STATUS_200 = b"\x88"  # in HPACK's static table


class Connection(misbehave.Connection):
    def __init__(self, server, sock):
        super().__init__(server, sock)
        self.window, self.windows, self.first_window = 65535, {}, 65535

    def take(self, size):
        while len(self.pending) < size:
            self.receive()
        data, self.pending = self.pending[:size], self.pending[size:]
        return data

    def frame(self, kind, flags, stream, payload=b""):
        self.send(struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream)
                  + payload)

    def read_frame(self):
        """(kind, flags, stream, payload); what is about the connection has been seen to."""
        head = self.take(9)
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        payload = self.take(int.from_bytes(head[:3]))
        if kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                name, value = struct.unpack(">HI", payload[at:at + 6])
                if name == 4:
                    self.first_window = value
            self.frame(SETTINGS, ACK, 0)
        elif kind == PING and not flags & ACK:
            self.frame(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE:
            self.widen(stream, struct.unpack(">I", payload)[0])
        elif kind == DATA and payload:
            for number in (0, stream):
                self.frame(WINDOW_UPDATE, 0, number, struct.pack(">I", len(payload)))
        return kind, flags, stream, payload

    def widen(self, stream, size):
        if stream == 0:
            self.window += size
        else:
            self.windows[stream] = self.windows.get(stream, self.first_window) + size

    def send_body(self, stream, body):
        """As far as the other side lets it; what it has reset is over."""
        at = 0
        while at < len(body):
            size = min(self.window, self.windows.setdefault(stream, self.first_window), MAX_FRAME)
            if size > 0:
                self.frame(DATA, 0, stream, body[at:at + size])
                at += size
                self.widen(0, -size)
                self.widen(stream, -size)
            elif self.read_frame()[0] in (RST_STREAM, GOAWAY):
                return
        self.frame(DATA, END_STREAM, stream)

    def answer(self, stream, body):
        self.frame(HEADERS, END_HEADERS, stream, STATUS_200)
        self.send_body(stream, body)


def good(connection, stream):
    connection.answer(stream, json.dumps(connection.server.settings["answer"]).encode())


def hang(connection, stream):
    connection.wait_for_end()


def big(connection, stream, megabytes):
    connection.answer(stream, b"[0,1]," * (int(megabytes) * (1 << 20) // 6))


def reset(connection, stream):
    connection.frame(RST_STREAM, 0, stream, struct.pack(">I", INTERNAL_ERROR))


def goaway(connection, stream):
    good(connection, stream)
    connection.frame(GOAWAY, 0, 0, struct.pack(">II", stream, 0))


class Server(misbehave.Server):
    def __init__(self):
        super().__init__(None, sys.argv[1:3], settings={"answer": {}})
        self.mode = good, []
        self.tls.set_alpn_protocols(["h2"])

    def serve_streams(self, connection):
        if connection.take(len(PREFACE)) != PREFACE:
            raise Gone
        connection.frame(SETTINGS, 0, 0)
        while True:
            kind, flags, stream, _ = connection.read_frame()
            if kind in (DATA, HEADERS) and flags & END_STREAM:
                mode, arguments = self.next_mode()
                mode(connection, stream, *arguments)

    def serve(self, sock):
        try:
            sock = self.tls.wrap_socket(sock, server_side=True)
            with self.lock:
                self.sockets.add(sock)
            self.serve_streams(Connection(self, sock))
        except (Gone, OSError):
            pass
        finally:
            with self.lock:
                self.sockets.discard(sock)
            sock.close()


if __name__ == "__main__":
    misbehave.MODES.update(ok=good, hang=hang, big=big, reset=reset, goaway=goaway)
    Server().run()
