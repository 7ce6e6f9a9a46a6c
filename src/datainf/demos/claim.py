"""A demo's folder: its own, or one that was empty."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datainf.errors import OptionError
from datainf.files import make_folder, write_atomically

MARKER = "demo.json"


def claim(out: Path, settings: dict[str, Any]) -> None:
    """Mark the folder as this demo's. Raises `OptionError` if it is something else's."""
    make_folder(out)
    marker = out / MARKER
    if marker.exists():
        if json.loads(marker.read_text(encoding="utf-8")) != settings:
            raise OptionError(f"{out} holds a demo with other settings", remedy="another --out")
    elif any(out.iterdir()):
        raise OptionError(f"{out} is not empty and not a demo's folder", remedy="another --out")
    write_atomically(marker, json.dumps(settings).encode())
