#!/usr/bin/env python3
"""A small web app to put behind the CDN. Python 3.8 or later, nothing to install.

    python3 server.py [--host 127.0.0.1] [--port 3000]

GET  /            a page that may be cached for a minute (ETag, 304)
GET  /style.css   may be cached for a day
GET  /api/now     never cached
GET  /login       sets a cookie; /me, which is private, shows it
GET  /big         100 MB, or ?bytes=N
ANY  /echo        the request as JSON, with the length and SHA-256 of its body
POST /upload      counts what arrives; GET shows the count
GET  /ws          a WebSocket that says everything back
"""

import argparse
import base64
import hashlib
import json
import os
import signal
import struct
import threading
import time
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

BIG_BYTES = 100_000_000
BIG_BYTES_MAX = 10_000_000_000
MESSAGE_BYTES_MAX = 1 << 20
LINE_BYTES_MAX = 8192
PIECE_BYTES = 1 << 16
PIECE = (b"The quick brown fox jumps over the lazy dog. 0123456789 abcdefgh\n" * 1009)[:PIECE_BYTES]
WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3

PAGE = b"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>My app</title>
<link rel="stylesheet" href="/style.css">
<h1>My app</h1>
<p>It runs on localhost, and the world sees it through a CDN.</p>
<ul><li><a href="/api/now">/api/now</a><li><a href="/login">/login</a><li><a href="/me">/me</a>
<li><a href="/big">/big</a><li><a href="/echo">/echo</a><li><a href="/upload">/upload</a></ul>
</html>
"""
STYLE = b"body { font: 1rem/1.6 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; }\n"


class Uploads:
    """How much has been uploaded since the start."""

    def __init__(self):
        self.lock, self.uploads, self.upload_bytes = threading.Lock(), 0, 0

    def add(self, length):
        with self.lock:
            self.uploads += 1
            self.upload_bytes += length

    def document(self):
        with self.lock:
            return {"uploads": self.uploads, "upload_bytes": self.upload_bytes}


UPLOADS = Uploads()


class BadRequest(Exception):
    """The request cannot be understood; the text says why."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "my-app"
    timeout = 60  # seconds that a client may be silent

    def handle_any(self):
        """Answers a request of any method."""
        url = urlsplit(self.path)
        try:
            if url.path == "/echo":
                self.echo()
            elif url.path == "/upload" and self.command in ("POST", "PUT"):
                length, _ = self.read_body()
                UPLOADS.add(length)
                self.send_json({"received_bytes": length, **UPLOADS.document()})
            elif self.command not in ("GET", "HEAD"):
                self.read_body()
                self.send_body(405, "text/plain", b"GET or HEAD, please\n", {"Allow": "GET, HEAD"})
            else:
                self.read_body()
                self.page(url)
        except BadRequest as error:
            self.close_connection = True
            self.send_body(400, "text/plain", f"{error}\n".encode(), {"Connection": "close"})

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_any

    def page(self, url):
        if url.path == "/":
            self.send_cacheable("text/html; charset=utf-8", PAGE, "max-age=60")
        elif url.path == "/style.css":
            self.send_cacheable("text/css", STYLE, "public, max-age=86400")
        elif url.path == "/api/now":
            self.send_json({"now": time.time()})
        elif url.path == "/upload":
            self.send_json(UPLOADS.document())
        elif url.path == "/login":
            cookie = {"Set-Cookie": "visitor=ada; Path=/; HttpOnly; SameSite=Lax"}
            self.send_json({"welcome": "ada"}, cookie)
        elif url.path == "/me":
            try:
                visitor = SimpleCookie(self.headers.get("Cookie", "")).get("visitor")
            except CookieError:
                visitor = None
            self.send_json({"visitor": visitor.value if visitor else None}, {"Cache-Control": "private, no-store"})
        elif url.path == "/big":
            self.big(url.query)
        elif url.path == "/ws":
            self.websocket()
        else:
            self.send_body(404, "text/plain", b"no such page\n")

    def echo(self):
        length, digest = self.read_body()
        self.send_json({
            "method": self.command,
            "target": self.path,
            "headers": [[name.lower(), value] for name, value in self.headers.items()],
            "peer": self.client_address[0],
            "body_bytes": length,
            "body_sha256": digest,
        })

    def big(self, query):
        text = parse_qs(query).get("bytes", [str(BIG_BYTES)])[0]
        if not text.isascii() or not text.isdigit() or len(text) > 12 or int(text) > BIG_BYTES_MAX:
            raise BadRequest(f"bytes is a number up to {BIG_BYTES_MAX}")
        left = int(text)
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Cache-Control", "max-age=3600")
        self.send_header("Content-Length", str(left))
        self.end_headers()
        while left and self.command != "HEAD":
            piece = PIECE[:left]
            self.wfile.write(piece)
            left -= len(piece)

    # Answers

    def send_cacheable(self, content_type, body, cache_control):
        etag = '"' + hashlib.sha256(body).hexdigest()[:16] + '"'
        headers = {"Cache-Control": cache_control, "ETag": etag}
        wanted = [tag.strip() for tag in self.headers.get("If-None-Match", "").split(",")]
        if "*" in wanted or etag in wanted or f"W/{etag}" in wanted:
            self.send_response(304)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
        else:
            self.send_body(200, content_type, body, headers)

    def send_json(self, document, headers=None):
        body = json.dumps(document, indent=2).encode() + b"\n"
        self.send_body(200, "application/json", body, {"Cache-Control": "no-store", **(headers or {})})

    def send_body(self, status, content_type, body, headers=None):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    # Bodies of requests: http.server leaves them to us.

    def read_body(self):
        """Reads the request's body without keeping it: its length and SHA-256."""
        length, digest = 0, hashlib.sha256()
        for piece in self.body_pieces():
            length += len(piece)
            digest.update(piece)
        return length, digest.hexdigest()

    def body_pieces(self):
        codings = self.headers.get_all("Transfer-Encoding")
        lengths = self.headers.get_all("Content-Length")
        if codings:
            if lengths or [coding.strip().lower() for coding in codings] != ["chunked"]:
                raise BadRequest("a body is either chunked or has a length")
            yield from self.chunks()
        elif lengths:
            text = lengths[0].strip()
            if len(set(lengths)) > 1 or not text.isascii() or not text.isdigit() or len(text) > 18:
                raise BadRequest("Content-Length is not a length")
            yield from self.exactly(int(text))

    def chunks(self):
        while True:
            size = self.line().split(b";")[0].strip()
            if not size or len(size) > 15 or size.strip(b"0123456789abcdefABCDEF"):
                raise BadRequest("a chunk without a size")
            if int(size, 16) == 0:
                break
            yield from self.exactly(int(size, 16))
            if self.line():
                raise BadRequest("a chunk that is longer than its size")
        while self.line():
            pass  # trailers

    def line(self):
        line = self.rfile.readline(LINE_BYTES_MAX)
        if not line.endswith(b"\n"):
            raise BadRequest("a body that breaks off")
        return line.rstrip(b"\r\n")

    def exactly(self, left):
        while left:
            piece = self.rfile.read(min(left, PIECE_BYTES))
            if not piece:
                raise BadRequest("a body that breaks off")
            left -= len(piece)
            yield piece

    # WebSocket (RFC 6455)

    def websocket(self):
        key = self.headers.get("Sec-WebSocket-Key", "")
        if self.command != "GET" or self.headers.get("Upgrade", "").lower() != "websocket" or not key:
            self.send_body(426, "text/plain", b"this is a WebSocket\n", {"Upgrade": "websocket"})
            return
        accept = base64.b64encode(hashlib.sha1(key.strip().encode() + WEBSOCKET_GUID).digest()).decode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        self.close_connection = True
        try:
            self.say_everything_back()
        except BadRequest:
            pass  # the stream ended, or was no WebSocket; there is nobody left to tell

    def say_everything_back(self):
        message, message_opcode = b"", 0
        while True:
            last, opcode, payload = self.frame()
            if opcode == 0x8:  # close: the same code back
                self.send_frame(0x8, payload[:125])
                return
            if opcode == 0x9:  # ping
                self.send_frame(0xA, payload)
            elif opcode in (0x0, 0x1, 0x2):
                if (opcode == 0) != bool(message_opcode) or len(message) + len(payload) > MESSAGE_BYTES_MAX:
                    self.send_frame(0x8, struct.pack("!H", 1009 if opcode == 0 and message_opcode else 1002))
                    return
                message, message_opcode = message + payload, message_opcode or opcode
                if last:
                    self.send_frame(message_opcode, message)
                    message, message_opcode = b"", 0

    def frame(self):
        first, second = b"".join(self.exactly(2))
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", b"".join(self.exactly(2)))
        elif length == 127:
            (length,) = struct.unpack("!Q", b"".join(self.exactly(8)))
        if not second & 0x80 or length > MESSAGE_BYTES_MAX:
            raise BadRequest("a frame that is not masked, or too long")
        mask = b"".join(self.exactly(4))
        masked = b"".join(self.exactly(length))
        # XOR with the mask, repeated, as one big number: a loop over bytes would be slow in Python.
        mask = (mask * (length // 4 + 1))[:length]
        payload = (int.from_bytes(masked, "big") ^ int.from_bytes(mask, "big")).to_bytes(length, "big")
        return bool(first & 0x80), first & 0x0F, payload

    def send_frame(self, opcode, payload):
        length = len(payload)
        if length < 126:
            head = struct.pack("!BB", 0x80 | opcode, length)
        elif length < 1 << 16:
            head = struct.pack("!BBH", 0x80 | opcode, 126, length)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, 127, length)
        self.wfile.write(head + payload)

    def handle(self):
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            self.close_connection = True  # the client left


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    parser = argparse.ArgumentParser(description="A small web app to put behind the CDN.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000, help="0 takes any free port")
    options = parser.parse_args()
    try:
        server = Server((options.host, options.port), Handler)
    except OSError as error:
        raise SystemExit(f"cannot listen on {options.host}:{options.port}: {error.strerror}; try another --port")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    print(f"listening on http://{options.host}:{server.server_address[1]}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
