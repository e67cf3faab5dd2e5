"""The page's server: for this machine alone, and for who knows its address; a slow or rude client disturbs nobody.

It listens on 127.0.0.1. The address has a token in it, which a request has to have; requests that another page sends
(``Origin``), or that come by a name that somebody else resolves to this machine (``Host``), are refused. A connection
is one request, has a few seconds to send it, and little memory to fill.
"""

from __future__ import annotations

import hmac
import io
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from importlib import resources
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from urllib.parse import parse_qs, urlsplit

from xpnet.drawing.answers import SIDES, NoAnswerError
from xpnet.drawing.preparation import Preparation
from xpnet.drawing.samples import Samples

HOST = "127.0.0.1"

#: The names by which this machine may be called; a port may be another one, which leads here through a tunnel.
NAMES = (HOST, "localhost")

#: So many ports are tried, one after the other.
PORTS = 20

#: A request has to be here, and its answer to be taken, within so many seconds.
SECONDS = 10.0

#: So many connections are served at the same time; what comes on top of them is told to come later.
CONNECTIONS = 64

#: A body that is too large is read up to this, so that its sender gets to read why it is refused.
MOST_READ = 2**20

#: The files of the page, and their kinds.
FILES = {
    "": ("page.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
    **{name: (name, "text/javascript") for name in ("main.js", "paper.js", "pictures.js", "words.js")},
}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
BUSY = b"HTTP/1.0 503 Service Unavailable\r\nContent-Type: application/json\r\n\r\n" + json.dumps(
    {"error": f"{CONNECTIONS} requests are being served already; try again"}
).encode("ascii")


class PageServer(ThreadingMixIn, TCPServer):
    """Serves the page at :attr:`address`.

    Args:
        preparation: where the network comes from.
        samples: digits to try.
        port: where to listen; if it is taken, at one of the 20 behind it. 0 is any that is free.

    Raises:
        OSError: none of these ports can be had.
    """

    daemon_threads = True  # a slow client does not keep the program from ending
    allow_reuse_address = os.name == "posix"  # elsewhere it would share a port with another program
    request_queue_size = 128
    timeout = 0.2  # seconds after which serve_until asks again

    def __init__(self, preparation: Preparation, samples: Samples, port: int = 0) -> None:
        self.preparation, self.samples = preparation, samples
        self.token = secrets.token_urlsafe(24)
        folder = resources.files("xpnet.drawing") / "page"
        self.files = {path: (folder.joinpath(name).read_bytes(), kind) for path, (name, kind) in FILES.items()}
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        ports = range(port, min(port + PORTS, 65535) + 1) if port else (0,)
        for each in ports:
            try:
                super().__init__((HOST, each), Handler)
                break
            except OSError:
                if each == ports[-1]:
                    raise
        self.port: int = self.server_address[1]

    @property
    def address(self) -> str:
        """Where the page is; whoever knows it can use the page."""
        return f"http://{HOST}:{self.port}/{self.token}/"

    def serve_until(self, ended: Callable[[], Any]) -> None:
        """Serve until ``ended()`` says that it is over; it is asked some times a second."""
        while not ended():
            self.handle_request()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            request.send(BUSY)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # there is no thread left
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a tab that was closed is no error, and what an answer raises is told in the answer."""


class Refused(Exception):  # noqa: N818  (not an error of ours)
    """A request that gets no answer, and why."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class Handler(BaseHTTPRequestHandler):
    """One request: looked at, answered, closed."""

    server: PageServer
    timeout = SECONDS
    default_request_version = "HTTP/1.0"  # also what is no request gets an answer with a head

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(Arriving(self.connection, SECONDS))

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    def _respond(self) -> None:
        status = HTTPStatus.OK
        try:
            content, kind = self._content()
        except ConnectionError:
            raise
        except Exception as error:
            status, why = _told(error)
            content, kind = _json({"error": why})
        self._send(status, content, kind)

    def _content(self) -> tuple[bytes, str]:
        """What the request asks for, and of which kind it is."""
        path, query = self._looked_at()
        if path == "answer":
            self._of_kind("POST")
            return _json(self._answer_to(self._body(), query))
        self._of_kind("GET")
        if path in self.server.files:
            content, kind = self.server.files[path]
            return content, f"{kind}; charset=utf-8"
        if path == "state":
            return _json(self.server.preparation.state())
        if path == "sample":
            return _json(self._sample(query))
        raise Refused(HTTPStatus.NOT_FOUND, "there is nothing of this name")

    def _looked_at(self) -> tuple[str, Mapping[str, str]]:
        """The path behind the token and the query of a request that may have an answer."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if host.rpartition(":")[0] not in NAMES and host not in NAMES:
            raise Refused(HTTPStatus.FORBIDDEN, f"this server is called {' or '.join(NAMES)} and by no other name")
        if origin is not None and origin != f"http://{host}":
            raise Refused(HTTPStatus.FORBIDDEN, "another page may not ask here")
        try:
            parts = urlsplit(self.path)
            token, _, path = parts.path.removeprefix("/").partition("/")
            query = {name: values[-1] for name, values in parse_qs(parts.query, max_num_fields=8).items()}
            known = hmac.compare_digest(token.encode("latin-1"), self.server.token.encode("ascii"))
        except ValueError:
            raise Refused(HTTPStatus.BAD_REQUEST, "the path of the request is none") from None
        if not known:
            raise Refused(HTTPStatus.FORBIDDEN, "open the page by the whole address that xpnet draw has printed")
        return path, query

    def _of_kind(self, method: str) -> None:
        if self.command != method:
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"a {self.command} is no {method}, which is expected here")

    def _body(self) -> bytes:
        """The drawing, if it may be one."""
        length, most = self.headers.get("Content-Length", ""), max(SIDES)
        if not (length.isascii() and length.isdecimal() and len(length) < 16):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "Content-Length is missing, or no number")
        if int(length) > most:
            left = min(int(length), MOST_READ)
            while left > 0 and (part := self.rfile.read(min(left, most))):
                left -= len(part)
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{length} bytes are too many; at most {most}")
        body = self.rfile.read(int(length))
        if self.headers.get_content_type() != "application/octet-stream":  # which a form of another page cannot send
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected Content-Type: application/octet-stream")
        if len(body) < int(length):
            raise Refused(HTTPStatus.BAD_REQUEST, f"{length} bytes were announced, and {len(body)} came")
        return body

    def _answer_to(self, drawing: bytes, query: Mapping[str, str]) -> dict[str, Any]:
        answers = self.server.preparation.answers
        if answers is None:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "the network is not ready")
        reasons = _whole(query["reasons"], "reasons") if "reasons" in query else None
        try:
            return answers.answer(drawing, query.get("layer"), reasons)
        except NoAnswerError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from None

    def _sample(self, query: Mapping[str, str]) -> dict[str, Any]:
        label, after = _whole(query.get("label", ""), "label"), _whole(query.get("after", "-1"), "after")
        try:
            return self.server.samples.sample(label, after)
        except LookupError as error:
            raise Refused(HTTPStatus.NOT_FOUND, str(error)) from None

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library refuses, a request that is none for example, is told as all else is."""
        self._send(HTTPStatus(code), *_json({"error": message or HTTPStatus(code).phrase}))

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.connection.settimeout(SECONDS)
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def version_string(self) -> str:
        return "xpnet"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (as the standard library calls it)
        """Write nothing: a log would hold the token."""


class Arriving(io.RawIOBase):
    """What a connection sends, within so many seconds in all: a byte now and then does not prolong them."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self.connection, self.until = connection, time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.connection.settimeout(left)
        return self.connection.recv_into(buffer)


def _told(error: Exception) -> tuple[HTTPStatus, str]:
    """The status for an error, and what is said of it."""
    if isinstance(error, Refused):
        return error.status, str(error)
    if isinstance(error, TimeoutError):
        return HTTPStatus.REQUEST_TIMEOUT, f"the request was not here within {SECONDS:g} seconds"
    # of a library, perhaps: the page shows it, and the next request may do better
    return HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {error}"


def _json(content: dict[str, Any]) -> tuple[bytes, str]:
    return json.dumps(content, allow_nan=False).encode("ascii"), "application/json"


def _whole(text: str, name: str) -> int:
    """A whole number of a query."""
    try:
        if len(text) > 9:
            raise ValueError
        return int(text)
    except ValueError:
        raise Refused(HTTPStatus.BAD_REQUEST, f"{name} is {text!r:.40}, expected a whole number") from None
