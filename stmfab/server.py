"""A page for one person at this machine: served on the loopback only, to who holds the token of its address.

A page of another site cannot read or change anything here: the Host and Origin must be this server's own (no DNS
rebinding), every request for data carries the token in a header of its own (no forged forms), and nothing is loaded
from elsewhere (Content-Security-Policy).
"""

from __future__ import annotations

import hmac
import importlib.resources
import json
import secrets
import select
import socket
import sys
import threading
import time
import traceback
import urllib.parse
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from .errors import StmfabError

LOOPBACK, JSON = "127.0.0.1", "application/json"
NO_MORE: Mapping[str, str] = {}
TOKEN_HEADER = "X-Stmfab-Token"
MAX_BODY = 256 * 1024  # bytes of a request
TIMEOUT_s = 60.0  # of an idle connection
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Left = Callable[[], bool]  # whether whoever asked has hung up meanwhile
Answer = Callable[[Mapping[str, Any], Left], Mapping[str, Any] | None]  # None: to nobody
Answers = Mapping[str, Answer]


class PageServer(ThreadingHTTPServer):
    """A page, its files, and the answers to its requests, one at a time."""

    daemon_threads = True

    def __init__(self, port: int, *, page: str, files: Mapping[str, str], answers: Answers) -> None:
        super().__init__((LOOPBACK, port), _Handler)
        self.page, self.files, self.answers = page, files, answers
        self.token = secrets.token_urlsafe(24)
        self.one_at_a_time = threading.Lock()

    @property
    def address(self) -> str:
        """Return the address to open in a browser."""
        return f"http://{LOOPBACK}:{self.server_address[1]}/?token={self.token}"

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return the names by which this machine may ask."""
        port = self.server_address[1]
        return (f"{LOOPBACK}:{port}", f"localhost:{port}")

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong, but of a browser that hung up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def server_bind(self) -> None:
        """Take the port, without asking the network for this machine's name."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = LOOPBACK, self.server_address[1]


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT_s
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave together
    server: PageServer
    types: ClassVar[Mapping[str, str]] = {"html": "text/html", "css": "text/css", "js": "text/javascript"}

    def do_GET(self) -> None:
        address = urllib.parse.urlsplit(self.path)
        name = address.path.removeprefix("/") or self.server.page
        given = urllib.parse.parse_qs(address.query).get("token", [""])[0]
        if not self._own():
            self._say(HTTPStatus.FORBIDDEN, "this page is for this machine only")
        elif name not in self.server.files:
            self._say(HTTPStatus.NOT_FOUND, "no such page")
        elif name == self.server.page and not self._knows(given):
            self._say(HTTPStatus.FORBIDDEN, "open the address that stmfab explore printed: it ends in a token")
        else:
            kind = self.types[name.rpartition(".")[2]]
            self._send(HTTPStatus.OK, self.server.files[name].encode(), f"{kind}; charset=utf-8")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        body = self.rfile.read(int(length)) if length.isdecimal() and int(length) <= MAX_BODY else None
        if body is None:
            self.close_connection = True
            self._say(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too long a request")
        elif not self._own() or not self._knows(self.headers.get(TOKEN_HEADER, "")):
            self._say(HTTPStatus.FORBIDDEN, "not a request of this page")
        elif self.headers.get_content_type() != "application/json":
            self._say(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "legal: application/json")
        elif self.path.removeprefix("/") not in self.server.answers:
            self._say(HTTPStatus.NOT_FOUND, "no such question")
        else:
            self._answer(self.server.answers[self.path.removeprefix("/")], body)

    def _answer(self, answer: Answer, body: bytes) -> None:
        """Send what an answer gives; the user's mistakes as their lines, ours with a traceback on the terminal."""
        try:
            asked = json.loads(body)
            if not isinstance(asked, dict):
                raise StmfabError("legal: a mapping")
            with self.server.one_at_a_time:
                began = time.perf_counter()
                found = None if self._left() else answer(asked, self._left)
                body = json.dumps(found).encode() if found is not None else b""
                spent_ms = 1e3 * (time.perf_counter() - began)
        except (StmfabError, json.JSONDecodeError) as error:
            self._json(HTTPStatus.UNPROCESSABLE_ENTITY, {"error": str(error)})
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            self._json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": f"{error} (a fault of stmfab; see the terminal)"})
        else:
            if found is None:
                self.close_connection = True
                return
            self._send(HTTPStatus.OK, body, JSON, {"Server-Timing": f"answer;dur={spent_ms:.1f}"})

    def _left(self) -> bool:
        """Return whether the browser has given up this request: the hand has moved on."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        try:
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def _own(self) -> bool:
        """Return whether a request is for this server by name, and not from a page of another one."""
        origin = self.headers.get("Origin")
        from_here = origin is None or origin in [f"http://{host}" for host in self.server.hosts]
        site = self.headers.get("Sec-Fetch-Site", "none")
        return self.headers.get("Host") in self.server.hosts and from_here and site in ("none", "same-origin")

    def _knows(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self.server.token.encode())

    def _json(self, status: HTTPStatus, found: Mapping[str, Any]) -> None:
        self._send(status, json.dumps(found).encode(), JSON)

    def _say(self, status: HTTPStatus, words: str) -> None:
        self._send(status, f"{words}\n".encode(), "text/plain; charset=utf-8")

    def _send(self, status: HTTPStatus, body: bytes, kind: str, more: Mapping[str, str] = NO_MORE) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **HEADERS, **more}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def version_string(self) -> str:
        """Return how the server calls itself."""
        return "stmfab"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name is http.server's
        """Keep the terminal for what matters."""


def packaged(*names: str) -> dict[str, str]:
    """Return files of the package's pages by name."""
    folder = importlib.resources.files("stmfab").joinpath("pages")
    return {name: folder.joinpath(name).read_text("utf-8") for name in names}
