"""Files made wrong at random: by their bytes, and where they have a structure, by that."""

from __future__ import annotations

import json
import random
from typing import Any

PIECES = [
    b"", b"\x00", b"\xff\xfe", b"\xed\xa0\xbd", b"\r\n", b"\n\n", b"\xe2\x80\xa8", b"\x1b[2J", b'"',
    b"'",
    b"{", b"[" * 200, b"[" * 5000, b"]", b"}", b",", b":", b"null", b"NaN", b"Infinity", b"-1",
    b"1e400", b"9" * 400, b"9" * 5000, b"18446744073709551616", b"true", b"{}", b"[]", b"\\ud83d",
    b"../../../../etc/passwd", b"/dev/zero", b"shard-00000.safetensors",
    b"<script>alert(1)</script>",
    b"!!python/object/apply:os.system [id]", b"&a [*a, *a]", b"=HYPERLINK(1)", b"id", b"label",
    b"text", b"prompt", b"completion", b"messages", b"input_ids", b"\t" * 50, b" " * 1000,
    b"2024-13-45", b"0b", b"12:99:99", b"0x", b"\xff" * 8, b"\xff\xff\xff\x7f", b"\x00" * 64,
]  # fmt: skip

ABSURD: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 2**64, 10**30, 10**400, 0.5, -1e308,
    float("nan"), float("inf"), "", "0", "-1", "nan", "x" * 5000, "\x00", "\ud83d", "\u202e\x1b[2J",
    "../../../../etc/passwd", "/etc/passwd", "/dev/zero", "a/b", ".", "..", [], {}, [[]], [{}], [0],
    [None], [-1], ["a"], [[1, 2], [3]], {"": 0}, {"a": {"a": {}}}, {"__class__": "os.system"},
    [2**62, 2**62], [1] * 1000, {"text": "a", "label": 1},
]  # fmt: skip
"""In the place of what a field should hold."""
DEEP = 400
"""Brackets around a value, fewer than stop the parser."""


def changed(data: bytes, chance: random.Random) -> bytes:
    """Bytes with one to four changes."""
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.choice((0, 1, 1, 2, 8, 64)))
        piece = chance.choice((
            chance.choice(PIECES), chance.choice(PIECES), chance.randbytes(chance.randrange(1, 9)),
            data[at:end] * chance.choice((0, 2, 3, 50)), str(chance.getrandbits(70)).encode(),
        ))  # fmt: skip
        data = data[:at] + piece + data[end:]
        if chance.random() < 0.1:
            data = data[: chance.randrange(len(data) + 1)]
    return data


def restructured(value: Any, chance: random.Random) -> Any:
    """A plain value of which one to three parts are absurd, gone, renamed, or put elsewhere."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        value = _with_another(value, chance)
    return value


def _with_another(value: Any, chance: random.Random) -> Any:
    parts = list(value) if isinstance(value, dict) else list(range(len(_listed(value))))
    if not parts or chance.random() < 0.2:
        return absurd(value, chance)
    place = chance.choice(parts)
    what = chance.choice(("inside", "inside", "inside", "gone", "renamed", "twice"))
    if what == "inside":
        value = value.copy()
        value[place] = _with_another(value[place], chance)
        return value
    if isinstance(value, dict):
        rest = {key: own for key, own in value.items() if key != place}
        other = chance.choice([*parts, "", "x", "schema", "__init__", "a.b"])
        return rest if what == "gone" else rest | {other: value[place]}
    return value[:place] + value[place + 1 :] if what == "gone" else [*value, value[place]]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def absurd(value: Any, chance: random.Random) -> Any:
    """Something that should not stand where `value` does."""
    if chance.random() < 0.1:
        for _ in range(DEEP):
            value = [value]
        return value
    return chance.choice(ABSURD)


def as_json(value: Any, chance: random.Random) -> bytes:
    """As JSON, now and then with a key that stands there twice."""
    text = json.dumps(value)
    if chance.random() < 0.05 and text.startswith("{") and len(text) > 2:
        text = "{" + text[1:-1] + "," + text[1:]
    return text.encode()
