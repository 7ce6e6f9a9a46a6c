"""The small bases that the repository carries, `bases:NAME`, each a folder of experiments/bases."""

from __future__ import annotations

import hashlib
from pathlib import Path

BASES = Path(__file__).parent / "bases"
PREFIX = "bases:"


def location(base: str) -> str:
    """The folder of a base that the repository carries; any other folder or hub id as it is."""
    return str(BASES / base.removeprefix(PREFIX)) if base.startswith(PREFIX) else base


def digest(base: str) -> str:
    """Of the weights, so that what was found with a base does not count for another of its name."""
    made = hashlib.sha256()
    for file in sorted(Path(location(base)).glob("*.safetensors")):
        made.update(file.read_bytes())
    return made.hexdigest()
