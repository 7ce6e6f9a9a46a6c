"""A demo's folder: its own, or one that was empty."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from datainf.errors import InputError, OptionError
from datainf.files import make_folder, write_atomically

MARKER = "demo.json"


def require(module: str, name: str) -> None:
    """Raise `InputError` unless a library is there that a demo needs."""
    if find_spec(module) is None:
        raise InputError(
            f"this demo needs {name}", remedy="pip install '.[diffusion]' in the clone"
        )


def claim(out: Path, settings: dict[str, Any]) -> None:
    """Mark the folder as this demo's. Raises `OptionError` if it is something else's, or its marker
    is damaged."""
    make_folder(out)
    marker = out / MARKER
    found = _marked(marker)
    if found is None and any(out.iterdir()):
        raise OptionError(f"{out} is not empty and not a demo's folder", remedy="another --out")
    if found not in (None, settings):
        raise OptionError(f"{out} holds a demo with other settings", remedy="another --out")
    write_atomically(marker, json.dumps(settings).encode())


def _marked(marker: Path) -> dict[str, Any] | None:
    """The settings in a marker; None where it is none, or not as one is written."""
    if not marker.is_file():
        return None
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):  # no UTF-8, or no JSON
        return None
    return found if isinstance(found, dict) else None
