"""Who may ask the viewer, and for what."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
from types import SimpleNamespace

import pytest

from datainf.errors import OptionError
from datainf.report.subject import Subject
from datainf.viewer import Server
from datainf.viewer.live import LiveContents


@pytest.fixture(scope="module")
def server(llama_run):
    contents = LiveContents(Subject.open(llama_run), 5)
    contents.load()
    with Server(contents) as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()


def home(server):
    return f"/?token={server.token}"


def ask(server, method, path, body=None, **headers):
    """(status, headers, body) of a request, by hand: no library mends a path or a header."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    own = {"Host": f"127.0.0.1:{server.server_port}", "X-Datainf-Token": server.token}
    for name, value in (own | headers).items():
        connection.putheader(name, value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    response = connection.getresponse()
    return response.status, dict(response.getheaders()), response.read()


def post(server, value, **headers):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return ask(server, "POST", "/data/ask", body, **headers)


def test_it_listens_on_this_machine_alone(server):
    assert server.server_address[0] == "127.0.0.1"
    with socket.socket(socket.AF_INET6) as other, pytest.raises(OSError):  # noqa: PT011
        other.connect(("::1", server.server_port))


def test_the_page_and_its_parts(server, llama_run):
    status, headers, body = ask(server, "GET", home(server))
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["X-Frame-Options"] == "DENY"
    assert server.token.encode() in body
    status, headers, body = ask(server, "GET", "/data/overview")
    assert (status, headers["X-Content-Type-Options"]) == (200, "nosniff")
    assert json.loads(body)["ask"] == ["prompt", "completion"]
    assert str(llama_run.parent) in body.decode()


@pytest.mark.parametrize("host", [
    "evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1.evil.example:{port}",
    "localhost:1", "0.0.0.0:{port}", "[::1]:{port}", "",
])  # fmt: skip
def test_other_hosts_are_refused(server, host):
    host = host.format(port=server.server_port)
    assert ask(server, "GET", home(server), Host=host)[0] == 421
    assert ask(server, "GET", "/data/overview", Host=host)[0] == 421
    for part in ("ask", "list", "why", "queries", "answer"):
        assert ask(server, "POST", f"/data/{part}", b"{}", Host=host)[0] == 421


def test_localhost_is_this_machine_too(server):
    assert ask(server, "GET", home(server), Host=f"localhost:{server.server_port}")[0] == 200


def test_of_port_80_browsers_send_the_name_alone(server, monkeypatch):
    there = SimpleNamespace(server_port=server.server_port, token=server.token)
    monkeypatch.setattr(server, "server_port", 80)
    for host, status in (
        ("127.0.0.1", 200), ("localhost", 200), ("127.0.0.1:80", 200), ("localhost:80", 200),
        ("evil.example", 421), ("evil.example:80", 421), ("127.0.0.1:8497", 421), ("", 421),
    ):  # fmt: skip
        assert ask(there, "GET", home(server), Host=host)[0] == status


@pytest.mark.parametrize("path", [
    "/run.yaml", "/data/../run.yaml", "/data/%2e%2e/run.yaml", "//etc/passwd", "/data//etc/passwd",
    "/../../../../etc/passwd", "/data/train/index.json", "/data/scores.safetensors", "/data/",
    "/data/queries-99999", "/data/why-0", "/data/list", "/data/train--1", "/index.html",
    "/data/overview/", "/data/overview?x=../run.yaml", "*", "/x?token={token}",
])  # fmt: skip
def test_no_file_is_served(server, path):
    status, _, body = ask(server, "GET", path.format(token=server.token))
    assert status == 404
    assert b"root:" not in body
    assert b"adapter" not in body


def test_the_page_is_for_who_has_the_token(server):
    wrong = ("/", "/?", "/?token=", f"/?token={server.token[:-1]}", f"/?token={server.token}x",
             "/?token=%e9%ff", f"/?tokens={server.token}", "/?page=/x")  # fmt: skip
    for path in wrong:
        status, _, body = ask(server, "GET", path)
        assert status == 403
        assert server.token.encode() not in body
        assert b"has printed" in body


def test_a_browser_that_goes_away_is_no_error(server, capfd):
    connection = socket.create_connection(("127.0.0.1", server.server_port))
    linger = struct.pack("ii", 1, 0)  # close with a reset
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    host = f"Host: 127.0.0.1:{server.server_port}\r\nX-Datainf-Token: {server.token}\r\n"
    connection.sendall(f"GET /data/overview HTTP/1.1\r\n{host}\r\n".encode())
    connection.close()
    assert ask(server, "GET", "/data/overview")[0] == 200
    assert "Traceback" not in capfd.readouterr().err


def test_what_goes_wrong_is_an_answer(server, monkeypatch):
    monkeypatch.setattr(server.contents, "ask", lambda _: {"loss": float("nan")})
    status, _, body = post(server, {"prompt": "a", "completion": "b"})
    assert status == 500
    assert "ValueError" in json.loads(body)["error"]
    monkeypatch.setattr(server.contents, "ask", lambda _: 1 / 0)
    status, _, body = post(server, {"prompt": "a", "completion": "b"})
    assert (status, json.loads(body)["error"]) == (500, "ZeroDivisionError: division by zero")


def test_only_its_own_page_may_ask(server):
    typed = {"prompt": "to be", "completion": " or not"}
    for token in ("", "x", server.token[:-1], server.token + "x"):
        assert post(server, typed, **{"X-Datainf-Token": token})[0] == 403
        for part in ("overview", "queries-0", "train-0"):
            assert ask(server, "GET", f"/data/{part}", **{"X-Datainf-Token": token})[0] == 403
        for part in ("list", "why", "queries", "answer"):
            sent = b'{"query": 0, "rows": [0]}'
            status, *_ = ask(server, "POST", f"/data/{part}", sent, **{"X-Datainf-Token": token})
            assert status == 403
    assert post(server, typed)[0] == 200


@pytest.mark.parametrize("body", [
    b"", b"{", b"[1, 2]", b"null", b'"text"', b"\xff\xfe", b"[" * 100_000, b'{"prompt": "a"}',
    b'{"prompt": 3, "completion": "b"}', b'{"prompt": "", "completion": ""}',
    json.dumps({"prompt": "long " * 100, "completion": "x"}).encode(),
])  # fmt: skip
def test_nonsense_is_refused_with_a_reason(server, body):
    status, _, answer = post(server, body)
    assert status == 400
    assert json.loads(answer)["error"]


@pytest.mark.parametrize(("part", "sent", "what"), [
    ("list", {"query": 7}, "no query in row 7"),
    ("list", {"query": -1}, "query is no number"),
    ("list", {"query": True}, "query is no number"),
    ("list", {"query": "0"}, "query is no number"),
    ("list", {"asked": 99}, "ask it again"),
    ("list", {"end": "middle"}, "end is none of"),
    ("list", {"order": "__class__"}, "order is none of"),
    ("list", {"order": ["row"]}, "order is none of"),
    ("list", {"text": 3}, "text is no text"),
    ("list", {"count": 101}, "from 1 to 100"),
    ("list", {"count": 0}, "from 1 to 100"),
    ("list", {"start": 1.5}, "start is no number"),
    ("why", {"query": 0}, "rows is no list"),
    ("why", {"query": 0, "rows": list(range(101))}, "rows is no list"),
    ("why", {"query": 0, "rows": [10**9]}, "rows are from 0 to"),
    ("why", {"query": 0, "rows": ["0"]}, "rows are from 0 to"),
    ("why", {"query": 7, "rows": [0]}, "no query in row 7"),
    ("why", {"asked": 99, "rows": [0]}, "ask it again"),
    ("why", {"rows": [0]}, "a mean over queries"),
    ("queries", {"text": 3}, "text is no text"),
    ("answer", {"query": 7}, "no query in row 7"),
    ("answer", {}, "no query in row"),
])  # fmt: skip
def test_no_other_list_is_made(server, part, sent, what):
    status, _, answer = ask(server, "POST", f"/data/{part}", json.dumps(sent).encode())
    assert status == 400
    assert what in json.loads(answer)["error"]


def test_too_much_is_not_read(server):
    status, *_ = ask(server, "POST", "/data/ask", **{
        "X-Datainf-Token": server.token, "Content-Length": "99999999999"})  # fmt: skip
    assert status == 413
    status, *_ = ask(server, "POST", "/data/ask", **{
        "X-Datainf-Token": server.token, "Content-Length": "-5"})  # fmt: skip
    assert status == 413


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
def test_other_methods_are_unknown(server, method):
    assert ask(server, method, "/")[0] == 501


def test_a_port_that_is_taken(server):
    with pytest.raises(OptionError, match="cannot listen"):
        Server(server.contents, server.server_port)
