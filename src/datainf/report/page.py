"""One HTML file with its style, its script and its data, that asks nothing of any network.

The script makes elements from text alone, and the page's policy lets no other script run, however
the data may be written.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import datainf

SCRIPTS = (
    "dom", "format", "source", "orders", "list", "example", "card", "results", "queries",
    "training", "overview", "ask", "decisions", "suspect", "review", "main",
)  # fmt: skip
"""In this order they are one script."""


def page(title: str, parts: Iterable[tuple[str, Any]], kind: str = "run") -> str:
    """A page with its data, part's name → plain values, or bytes that are `packed` already."""
    return _filled(title, kind, "", "\n".join(_packed(name, value) for name, value in parts))


def served_page(title: str, token: str, kind: str = "run") -> str:
    """A page that asks the program that serves it for its data; `token` is what it shows it."""
    return _filled(title, kind, token, "")


def _filled(title: str, kind: str, token: str, data: str) -> str:
    style, script = asset("style.css"), _script()
    values = {
        "POLICY": _policy(style, script, served=bool(token)),
        "GENERATOR": f"datainf {datainf.__version__}",
        "TITLE": html.escape(title),
        "PAGE": kind,
        "SERVED": token,
        "STYLE": style,
        "DATA": data,
        "SCRIPT": script,
    }
    pieces = asset("page.html").split("@")
    return "".join(values[piece] if place % 2 else piece for place, piece in enumerate(pieces))


def _policy(style: str, script: str, *, served: bool) -> str:
    """Nothing from anywhere but this very style and script, pictures in the data, and where the
    page is served its own server."""
    allowed = {
        "default-src": "'none'",
        "style-src": f"'sha256-{_digest(style)}'",
        "script-src": f"'sha256-{_digest(script)}'",
        "img-src": "data:",
        "connect-src": "'self'" if served else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{what} {where}" for what, where in allowed.items())


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _packed(name: str, value: Any) -> str:
    data = value if isinstance(value, bytes) else packed(value)
    return f'<script type="text/plain" id="data-{name}">{data.decode()}</script>'


def packed(value: Any) -> bytes:
    """Compressed, and then letters and digits alone: there is no markup in it, whatever the data
    hold."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), 6, mtime=0))


def is_page(path: Path) -> bool:
    """Whether a file begins as the pages do that are written here."""
    with path.open("rb") as file:
        start = file.read(4096)
    return start.startswith(b"<!doctype html>") and b'name="generator" content="datainf ' in start


@cache
def _script() -> str:
    own = "\n".join(asset(f"{name}.js") for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{own}}})();\n'


@cache
def asset(name: str) -> str:
    return files("datainf.report").joinpath("assets", name).read_text(encoding="utf-8")
