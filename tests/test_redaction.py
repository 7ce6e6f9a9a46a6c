"""What is a secret in a text, and that none shows by its beginning."""

from __future__ import annotations

import time
from urllib.parse import quote

import pytest

from datainf.checkpoints import _number
from datainf.errors import DatainfError, first_line, in_a_line
from datainf.redaction import beginning, redacted
from datainf.remote.tries import unreadable

TOKEN = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345"


@pytest.mark.parametrize("value", ["/wJalrXUtnFEMI/K7MDENG", "~wJalrXUtnFEMI", ".wJalrXUtnFEMI"])
def test_a_secret_may_begin_as_a_path_does(value, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", value)
    assert redacted(f"the key {value} is none") == "the key *** is none"


@pytest.mark.parametrize("value", ["x" * 5000, "~nobody-of-this-name/x"])
def test_a_secret_that_can_be_no_path(value, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", value)
    assert redacted(f"see {value}") == "see ***"


def test_where_a_secret_lies_is_none(monkeypatch, tmp_path):
    (tmp_path / "credentials").touch()
    for value in (tmp_path / "credentials", tmp_path):
        monkeypatch.setenv("SSH_KEY", str(value))
        assert redacted(f"cannot read {value}/x") == f"cannot read {value}/x"


def test_a_secret_as_addresses_have_it(monkeypatch):
    value = "pa/ss+wo=rd!"
    monkeypatch.setenv("DB_PASSWORD", value)
    for safe in ("", "/"):
        assert redacted(f"https://h/{quote(value, safe=safe)}") == "https://h/***"


def test_of_two_secrets_one_may_begin_with_the_other(monkeypatch):
    monkeypatch.setenv("A_TOKEN", "sesame-open")
    monkeypatch.setenv("B_TOKEN", "sesame-open-and-close")
    assert redacted("by sesame-open-and-close") == "by ***"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:p@ss@host/x", "https://***@host/x"),
        ("https://user:pa/ss@host/x", "https://***@host/x"),
        ("s3:/user:pa/s@s@host/x", "s3:/***@host/x"),
        ("https://user@host/x@v1", "https://***@host/x@v1"),
        ("https://host:9000/x@v1", "https://host:9000/x@v1"),
        ("https://host/x@v1", "https://host/x@v1"),
        ("https://h/x#access_token=abc", "https://h/x#access_token=***"),
        ("https://h/x?a=1&pwd=abc&b=2", "https://h/x?a=1&pwd=***&b=2"),
        ("https://h/x?pass=abc", "https://h/x?pass=***"),
        ("https://h/x?x=1;auth=abc", "https://h/x?x=1;auth=***"),
        ("https://h/x?page=7&X-Amz-Signature=abc", "https://h/x?page=7&X-Amz-Signature=***"),
        (f"token_{TOKEN}", "token_***"),
        (f"{TOKEN}_x", "***_x"),
        ("Authorization: Bearer eyJhbGciOi.J9-eyJzdWIi", "Authorization: Bearer ***"),
        ("{'authorization': 'Basic dXNlcjpwYXNzd29yZA=='}", "{'authorization': 'Basic ***'}"),
        ("the bearer misunderstandings", "the bearer misunderstandings"),
    ],
)
def test_addresses_and_tokens(text, shown):
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "text", ["?" + "key" * 100_000, "?key" * 70_000, "://a:" * 60_000, "://a:x@" * 40_000,
             "?" + "secret" * 50_000 + "=", ";sig" + "a" * 300_000,
             "bearer " * 50_000, "bearer" + " " * 300_000]
)  # fmt: skip
def test_no_text_takes_long(text):
    started = time.process_time()
    redacted(text)
    assert time.process_time() - started < 5


def test_no_cut_leaves_a_secret_s_beginning():
    for most in range(len(TOKEN)):
        assert "hf_" not in beginning("x " + TOKEN, 2 + most)
    for length in range(250, 310):
        error = ValueError("x" * length + f" {TOKEN} refused")
        for said in (
            DatainfError(first_line(error)).message, in_a_line(error),
            unreadable("s3://bucket/x", error).message,
        ):  # fmt: skip
            assert "hf_" not in said
    with pytest.raises(ValueError, match=r"\*\*\*") as caught:
        _number("x" * 20 + " " + TOKEN)
    assert "hf_" not in str(caught.value)
