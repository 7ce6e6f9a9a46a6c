"""A server of one page for the browsers of this machine, and nobody else.

It listens on 127.0.0.1 alone. A request whose Host is not this very address is refused, so that no
page from elsewhere can have the browser ask it under another name (DNS rebinding); and nothing is
given to those that do not show the token, which only who started it has got: other users of the
machine can reach the port too. It knows its page and its parts by name, and serves no file.
"""

from __future__ import annotations

import hmac
import json
import secrets
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from datainf.errors import DatainfError, OptionError, in_a_line
from datainf.report.contents import NoSuchPartError
from datainf.report.page import served_page
from datainf.viewer.live import LiveContents

ADDRESS = "127.0.0.1"
HTTP = 80
"""The port that a browser names to no server."""
MOST_BODY = 2_000_000
"""Bytes of a new query, or of what else is asked."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Server(ThreadingHTTPServer):
    """Serves the parts of one run. `port` 0 takes one that is free; `url` says which, and has the
    token in it.

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
        """Where the page is, with the token that it asks for."""
        return f"http://{ADDRESS}:{self.server_port}/?token={self.token}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that has gone is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def hosts(self) -> set[str]:
        """What a request may say that it is for."""
        names = {ADDRESS, "localhost"}
        with_port = {f"{name}:{self.server_port}" for name in names}
        return with_port | names if self.server_port == HTTP else with_port


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "datainf", ""
    timeout = 60

    def do_GET(self) -> None:
        if not self._is_for_us():
            return
        if self.path.partition("?")[0] == "/":
            self._page(parse_qs(urlsplit(self.path).query))
        elif self.path.startswith("/data/"):
            if self._is_our_page():
                self._answer(lambda: self.server.contents.part(self.path.removeprefix("/data/")))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")

    def _page(self, query: dict[str, list[str]]) -> None:
        if self._is_token(query.get("token", [""])[0]):
            page = served_page(f"{self.server.contents.subject.name} · datainf", self.server.token)
            self._send(HTTPStatus.OK, page.encode(), "text/html; charset=utf-8")
        else:
            text = b"Open the address that datainf view has printed; it ends in ?token=..."
            self._send(HTTPStatus.FORBIDDEN, text, "text/plain; charset=utf-8")

    def do_POST(self) -> None:
        if not self._is_for_us():
            return
        contents = self.server.contents
        known = {
            "/data/ask": contents.ask, "/data/list": contents.listed, "/data/why": contents.why_of,
            "/data/queries": contents.queries.found, "/data/answer": contents.answer,
        }  # fmt: skip
        if (found := known.get(self.path)) is None:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")
        elif self._is_our_page() and (sent := self._body()) is not None:
            self._answer(lambda: found(sent))

    def _is_for_us(self) -> bool:
        if self.headers.get("Host") in self.server.hosts:
            return True
        self._refuse(HTTPStatus.MISDIRECTED_REQUEST, "this server is for 127.0.0.1 alone")
        return False

    def _is_our_page(self) -> bool:
        if self._is_token(self.headers.get("X-Datainf-Token", "")):
            return True
        what = "the page is of another datainf view: open the address that this one has printed"
        self._refuse(HTTPStatus.FORBIDDEN, what)
        return False

    def _is_token(self, shown: str) -> bool:
        return hmac.compare_digest(shown.encode(), self.server.token.encode())

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
            text = json.dumps(found(), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            value = text.encode("utf-8", "replace")
        except NoSuchPartError:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such part")
        except DatainfError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, error.message)  # its remedy is of the command line
        except Exception as error:  # what is wrong with one query must not take the page down
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, in_a_line(error))
        else:
            self._send(HTTPStatus.OK, value, "application/json; charset=utf-8")

    def _refuse(self, status: HTTPStatus, what: str) -> None:
        self.close_connection = True  # what else was sent is not read
        body = json.dumps({"error": what}).encode()
        self._send(status, body, "application/json; charset=utf-8")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        own = {"Content-Type": kind, "Content-Length": str(len(body))}
        for name, value in (own | HEADERS).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a person looks at the page, not at the terminal."""
