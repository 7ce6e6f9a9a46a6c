"""Servers of S3 and of Google's storage on this machine, and proxies before them that fail as
networks and storages do.

Fixtures; a module that uses them says `pytest_plugins = ["object_storage"]`.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import logging
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote

import pytest

from datainf.remote import lock, tries

Fault = int | str | None
"""An HTTP status; "drop", which ends the connection without an answer; "lose", which does so after
the server has done what it was asked to; None for none."""


Answer = tuple[int, list[tuple[str, str]], bytes]
"""A status, headers and a body."""


class Proxy:
    """Hands requests on. `fault` is asked of each, by its method and path as `named` has them, and
    may keep one from arriving; `seen` are those that came."""

    def __init__(self, to: tuple[str, int]) -> None:
        self.to, self.seen = to, list[tuple[str, str]]()
        self.fault: Callable[[str, str], Fault] = lambda *_: None
        handler = type("Handler", (_Handler,), {"proxy": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def failing(self, method: str, part: str, how: Fault, times: int = 10**9) -> None:
        """The next so many requests of a method whose path holds a part."""
        left = iter(range(times))

        def fault(asked: str, path: str) -> Fault:
            hit = asked == method and part in path and next(left, None) is not None
            return how if hit else None

        self.fault = fault

    def named(self, request: _Handler, body: bytes) -> tuple[str, str]:  # noqa: ARG002
        """A request's method and path."""
        return request.command, request.path

    def answered(self, request: _Handler, body: bytes) -> Answer:
        """What the server says to a request."""
        return request.handed_on(body)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class GoogleProxy(Proxy):
    """Before an emulator that does not know `ifGenerationMatch=0`, which asks that there be no such
    object yet. Uploads, whose objects are named in their bodies, are named as S3's are."""

    def __init__(self, to: tuple[str, int]) -> None:
        super().__init__(to)
        self._one_at_a_time = threading.Lock()

    def named(self, request: _Handler, body: bytes) -> tuple[str, str]:
        if "uploadType=multipart" not in request.path:
            return request.command, unquote(request.path)
        return "PUT", f"/{'/'.join(_uploaded(request, body))}"

    def answered(self, request: _Handler, body: bytes) -> Answer:
        if "ifGenerationMatch=0" not in request.path:
            return request.handed_on(body)
        with self._one_at_a_time:
            bucket, name = _uploaded(request, body)
            server = http.client.HTTPConnection(*self.to)
            server.request("GET", f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}")
            is_there = server.getresponse().status == 200
            server.close()
            return (412, [("Content-Length", "0")], b"") if is_there else request.handed_on(body)


def _uploaded(request: _Handler, body: bytes) -> tuple[str, str]:
    """The bucket and the name of an object that is sent to Google's storage whole."""
    name, bucket = re.search(rb'"name": "(.+?)"', body), re.search("/b/(.+?)/", request.path)
    assert name is not None
    assert bucket is not None
    return bucket[1], name[1].decode()


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        body = self._body()
        method, path = self.proxy.named(self, body)
        self.proxy.seen.append((method, path))
        fault = self.proxy.fault(method, path)
        if fault == "drop":
            self._hang_up()
        elif isinstance(fault, int):
            self.send_response(fault)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            status, headers, answer = self.proxy.answered(self, body)
            if fault == "lose":
                self._hang_up()
                return
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def handed_on(self, body: bytes) -> Answer:
        server = http.client.HTTPConnection(*self.proxy.to)
        headers = {k: v for k, v in self.headers.items() if k.lower() != "transfer-encoding"}
        headers["Content-Length"] = str(len(body))
        server.request(self.command, self.path, body, headers)
        found = server.getresponse()
        answer = found.read()
        told = found.getheaders()
        if self.command != "HEAD" and not any(name.lower() == "content-length" for name, _ in told):
            told.append(("Content-Length", str(len(answer))))
        server.close()
        return found.status, told, answer

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _answer

    def log_message(self, *_: object) -> None:
        """Nothing: the tests say what went wrong."""


@contextlib.contextmanager
def storage() -> Iterator[Proxy]:
    """An S3 server with a proxy before it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    proxy = Proxy(server.get_host_and_port())
    try:
        yield proxy
    finally:
        proxy.close()
        server.stop()


@contextlib.contextmanager
def google_storage() -> Iterator[GoogleProxy]:
    """An emulator of Google's storage with a proxy before it."""
    from gcp_storage_emulator.server import create_server

    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    logging.getLogger("api").setLevel(logging.CRITICAL)  # its handlers'
    server = create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    proxy = GoogleProxy(server._api._httpd.server_address)
    try:
        yield proxy
    finally:
        proxy.close()
        server.stop()


NUMBERS = itertools.count()
SECRET = "do-not-tell-4711"


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    """A cache that is the test's own."""
    monkeypatch.setenv("DATAINF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def impatient(monkeypatch):
    """As the real thing, in less time."""
    monkeypatch.setattr(tries, "WAITS", (0.01,) * 4)
    monkeypatch.setattr(lock, "LOOK", 0.05)
    monkeypatch.setattr(lock, "BEAT", 0.2)
    monkeypatch.setattr(lock, "LEASE", 3.0)


@pytest.fixture(scope="session")
def s3():
    """A proxy before an S3 server; libraries find it by the environment, as people's do."""
    pytest.importorskip("upath")
    pytest.importorskip("s3fs")
    pytest.importorskip("moto.server")
    with storage() as proxy, pytest.MonkeyPatch.context() as environment:
        for name, value in {
            "AWS_ENDPOINT_URL": proxy.url,
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_RETRY_MODE": "standard",
        }.items():
            environment.setenv(name, value)
        yield proxy


@pytest.fixture
def s3_bucket(s3, cache_folder, impatient):  # noqa: ARG001 - they are to be in place
    """The URL of a bucket that is the test's own, on a proxy without faults."""
    import s3fs

    s3.fault = lambda *_: None
    name = f"bucket-{next(NUMBERS)}"
    s3fs.S3FileSystem().mkdir(name)
    s3.seen.clear()
    yield f"s3://{name}"
    s3.fault = lambda *_: None


@pytest.fixture(scope="session")
def google():
    """A proxy before an emulator of Google's storage, which libraries find by the environment."""
    pytest.importorskip("upath")
    pytest.importorskip("gcp_storage_emulator")
    with google_storage() as proxy, pytest.MonkeyPatch.context() as environment:
        with contextlib.suppress(ImportError):  # older ones take every bucket for an ordinary one
            from gcsfs.extended_gcsfs import BucketType, ExtendedGcsFileSystem

            async def ordinary(*_: object) -> BucketType:  # Google itself is asked otherwise
                return BucketType.NON_HIERARCHICAL

            environment.setattr(ExtendedGcsFileSystem, "_get_bucket_type", ordinary)
        environment.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        environment.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # for other processes
        yield proxy


@pytest.fixture
def google_bucket(google, cache_folder, impatient, monkeypatch):  # noqa: ARG001 - to be in place
    """The URL of a bucket that is the test's own, on a proxy without faults."""
    gcsfs = pytest.importorskip("gcsfs")
    monkeypatch.setattr(gcsfs.retry, "min", lambda *_: 0.01, raising=False)  # seconds to wait
    google.fault = lambda *_: None
    name = f"bucket-{next(NUMBERS)}"
    gcsfs.GCSFileSystem(project="tests").mkdir(name)
    google.seen.clear()
    yield f"gs://{name}"
    google.fault = lambda *_: None


@pytest.fixture(params=["s3", "google"])
def bucket(request):
    """The URL of a bucket on either."""
    return request.getfixturevalue(f"{request.param}_bucket")


@pytest.fixture
def proxy(request, bucket):
    """The one before `bucket`."""
    return request.getfixturevalue("google" if bucket.startswith("gs:") else "s3")


@pytest.fixture
def memory(cache_folder, impatient):  # noqa: ARG001 - they are to be in place
    """The URL of a folder in this process's memory."""
    pytest.importorskip("upath")
    return f"memory://folder-{next(NUMBERS)}"
