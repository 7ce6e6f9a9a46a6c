"""A server of one page for the browsers of this machine, and nobody else.

It listens on 127.0.0.1 alone. A request whose Host is not this very address is refused, so that no
page from elsewhere can have the browser ask it under another name (DNS rebinding); and all but the
page itself is given to those alone that show the token that is in it. It knows its page and its
parts by name, and serves no file.
"""

from __future__ import annotations

import hmac
import json
import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from datainf.errors import DatainfError, OptionError
from datainf.report.contents import NoSuchPartError
from datainf.report.page import served_page
from datainf.viewer.live import LiveContents

ADDRESS = "127.0.0.1"
MOST_BODY = 2_000_000
"""Bytes of a new query."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Server(ThreadingHTTPServer):
    """Serves the parts of one run. `port` 0 takes one that is free; `url` says which.

    Raises `OptionError` for a port that is taken.
    """

    daemon_threads = True

    def __init__(self, contents: LiveContents, port: int = 0) -> None:
        self.contents, self.token = contents, secrets.token_urlsafe(24)
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            raise OptionError(
                f"cannot listen on {ADDRESS}:{port}: {error.strerror}", remedy="another --port"
            ) from None

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.server_port}/"

    @property
    def hosts(self) -> set[str]:
        """What a request may say that it is for."""
        return {f"{ADDRESS}:{self.server_port}", f"localhost:{self.server_port}"}


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "datainf", ""
    timeout = 60

    def do_GET(self) -> None:
        if not self._is_for_us():
            return
        if self.path == "/":
            page = served_page(f"{self.server.contents.subject.name} · datainf", self.server.token)
            self._send(HTTPStatus.OK, page.encode(), "text/html; charset=utf-8")
        elif self.path.startswith("/data/"):
            if self._is_our_page():
                self._answer(lambda: self.server.contents.part(self.path.removeprefix("/data/")))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")

    def do_POST(self) -> None:
        if not self._is_for_us():
            return
        if self.path != "/data/ask":
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")
            return
        if self._is_our_page() and (typed := self._body()) is not None:
            self._answer(lambda: self.server.contents.ask(typed))

    def _is_for_us(self) -> bool:
        if self.headers.get("Host") in self.server.hosts:
            return True
        self._refuse(HTTPStatus.MISDIRECTED_REQUEST, "this server is for 127.0.0.1 alone")
        return False

    def _is_our_page(self) -> bool:
        shown = self.headers.get("X-Datainf-Token", "")
        if hmac.compare_digest(shown.encode(), self.server.token.encode()):
            return True
        self._refuse(HTTPStatus.FORBIDDEN, "the page is of another server: load it again")
        return False

    def _body(self) -> dict[str, Any] | None:
        """What was sent, an object; None for anything else, which is refused."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MOST_BODY:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MOST_BODY:,} bytes")
            return None
        try:
            typed = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            typed = None
        if not isinstance(typed, dict):
            self._refuse(HTTPStatus.BAD_REQUEST, "no JSON object")
            return None
        return typed

    def _answer(self, found: Any) -> None:
        try:
            value = found()
        except NoSuchPartError:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such part")
        except DatainfError as error:
            what = error.message + (f"; try: {error.remedy}" if error.remedy else "")
            self._refuse(HTTPStatus.BAD_REQUEST, what)
        else:
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
            body = text.encode("utf-8", "replace")
            self._send(HTTPStatus.OK, body, "application/json; charset=utf-8")

    def _refuse(self, status: HTTPStatus, what: str) -> None:
        self.close_connection = True  # what else was sent is not read
        body = json.dumps({"error": what}).encode()
        self._send(status, body, "application/json; charset=utf-8")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": len(body), **HEADERS}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a person looks at the page, not at the terminal."""


def serve(contents: LiveContents, port: int = 0) -> None:
    """Serve until the process is stopped."""
    with Server(contents, port) as server:
        server.serve_forever()
