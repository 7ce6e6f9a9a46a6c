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
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic ***"),
        ("authorization=Basic bWU6cHc=", "authorization=Basic ***"),
        ("Proxy-Authorization:Bearer abcdefghijkl\nHost: h",
         "Proxy-Authorization:Bearer ***\nHost: h"),
        ("Authorization: sesame", "Authorization: ***"),
        ('Authorization: Digest username="M", response="66"', "Authorization: Digest ***"),
        ('-H "Authorization: Bearer abc" https://h', '-H "Authorization: Bearer ***" https://h'),
        ("[(b'authorization', b'Basic bWU6cHc='), 1]", "[(b'authorization', b'Basic ***'), 1]"),
        (r'"{\"authorization\": \"Basic bWU6cHc=\", \"x\": 1}"',
         r'"{\"authorization\": \"Basic ***\", \"x\": 1}"'),
        ("https://h/?authorization=abc&b=2", "https://h/?authorization=***&b=2"),
        ("the Bearer AbCdEfGhIjKlMnOpQrSt is bad", "the Bearer *** is bad"),
        ("bearer abcdef0123456789", "bearer ***"),
        ('{"Authorization": ["Basic bWU6cHc="]}', '{"Authorization": ["Basic ***"]}'),
        ("{'Authorization': ('Bearer abc', 'x')}", "{'Authorization': ('Bearer ***', 'x')}"),
        ("Authorization: Digest username='M', response='66'", "Authorization: Digest ***"),
        ("with Basic dXNlcjpwYXNz it fails", "with Basic *** it fails"),
        ("Bearer ya29.A0ARrdaM/abcdef/def1-aXcghD_Q", "Bearer ***"),
        (f"Bearer ya29/{'aB3+' * 10}==", "Bearer ***"),
    ],
)  # fmt: skip
def test_addresses_and_tokens(text, shown):
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "the bearer misunderstandings",
        "there is no file /w/Basic experiments-2024-run/nope.jsonl",
        "there is no file /w/Bearer experiments-2024-run/nope.jsonl",
        "there is no file /w/Bearer run2024-experiments.jsonl",
        "there is no file /w/my Bearer run2024-experiments/nope.jsonl",
        "no authorization: ''",
        "a basic understanding of Basic experiments, Basic 2024 and basic dXNlcg==",
    ],
)
def test_words_and_paths_stay(text):
    assert redacted(text) == text


@pytest.mark.parametrize(
    "text", ["?" + "key" * 100_000, "?key" * 70_000, "://a:" * 60_000, "://a:x@" * 40_000,
             "?" + "secret" * 50_000 + "=", ";sig" + "a" * 300_000,
             "basic " * 50_000, "basic " + "a" * 300_000, "basic" + " " * 300_000,
             "bearer " * 50_000, "bearer" + " " * 300_000,
             "bearer " + "a" * 300_000 + "/", "bearer " + "a/" * 150_000, "bearer 1/a" * 30_000,
             "authorization" * 25_000, "authorization:" * 25_000, "authorization:" + " " * 300_000,
             "authorization:'" * 25_000, "authorization: \\" * 25_000, 'authorization:="' * 20_000,
             "authorization: a" + "='" * 150_000, "authorization: [" * 20_000,
             "authorization: a" + '="' * 150_000, "authorization:'" + "\\" * 300_001]
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
