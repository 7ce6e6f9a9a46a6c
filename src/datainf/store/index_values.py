"""What index.json may hold, field by field: a checksum tells damage, and not what was never right.

An index may be of elsewhere, or of an older version without a checksum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datainf.redaction import beginning

MOST = 2**60
"""Of rows, bytes and numbers in a tensor: beyond all disks, and far from what int64 cannot hold."""


def check_values(raw: Mapping[str, Any]) -> None:
    """Raises `TypeError`, `ValueError` or `LookupError` naming the first field of another kind than
    it should be."""
    for name in ("n", "shard_rows"):
        _require_whole(name, raw[name], least=1 if name == "shard_rows" else 0)
    for name in ("fingerprints", "task", "notes"):
        _require(name, raw[name], dict)
    _require("dtype", raw["dtype"], str)
    for value in raw["fingerprints"].values():
        _require("a fingerprint", value, str)
    for block in raw["blocks"]:
        _check_block(block)
    names = [block["name"] for block in raw["blocks"]]
    if len(set(names)) < len(names):
        raise ValueError("two blocks have one name")
    for shard in raw["shards"]:
        check_shard(shard)
    for part in raw.get("parts", []):
        _require_whole("a part's rows", part["rows"])
        _require("a part's data", part["data"], str)
        _require("whether a part's ids are counted", part.get("counted", False), bool)
    if (projection := raw["projection"]) is not None:
        for name in ("ratio", "seed"):
            _require_whole(f"the projection's {name}", projection[name])
        _require("the projection's metric", projection["metric"], str)


def check_shard(shard: Mapping[str, Any]) -> None:
    """Raises as `check_values`."""
    for name in ("start", "rows", "bytes"):
        _require_whole(f"a shard's {name}", shard[name])
    for name in ("file", "checksum"):
        _require(f"a shard's {name}", shard[name], str)


def _check_block(block: Mapping[str, Any]) -> None:
    for name in ("name", "module"):
        _require(f"a block's {name}", block[name], str)
    _require("a block's shape", block["shape"], list)
    width = 1
    for side in block["shape"]:
        _require_whole("a block's side", side)
        width *= side
    _require_whole("a block's width", width)
    if (kept := block.get("kept")) is not None:
        _require_whole("a block's kept", kept)


def _require(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {beginning(value)!r}")


def _require_whole(name: str, value: Any, least: int = 0) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MOST:
        raise TypeError(f"{name} is {beginning(value)!r}")
