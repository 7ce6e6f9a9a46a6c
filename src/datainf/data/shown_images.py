"""Which images `datasets` shows of all that lies in a folder, and which it leaves out behind
links."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder

ENDINGS = frozenset(ImageFolder.EXTENSIONS)
"""Those that `datasets` takes for pictures; one that is not read here is refused by its name."""


def images_in(folder: Path) -> Iterator[Path]:
    """The images in a folder and in those within it, but for those behind links to folders."""
    for path in _shown(folder):
        if path.suffix.lower() in ENDINGS and path.is_file():
            yield path


def linked_in(folder: Path) -> Iterator[Path]:
    """Links to folders with images in them: `load_dataset` follows none, and says nothing."""
    for path in _shown(folder):
        is_linked = path.is_symlink() and path.is_dir() and not path.name.startswith("__")
        if is_linked and _holds_images(path):
            yield path


def _shown(folder: Path) -> Iterator[Path]:
    """Like `datasets`, nothing whose name begins with a dot, or whose folder's does, or with __."""
    for path in folder.rglob("*"):
        *folders, name = path.relative_to(folder).parts
        if not name.startswith(".") and not any(part.startswith((".", "__")) for part in folders):
            yield path


def _holds_images(linked: Path) -> bool:
    """Behind further links too, which may lead in a circle."""
    seen = set[Path]()
    for folder, inner, names in os.walk(linked, followlinks=True):
        real = Path(folder).resolve()
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        inner[:] = [name for name in inner if not name.startswith((".", "__"))]
        if any(Path(name).suffix.lower() in ENDINGS for name in names if not name.startswith(".")):
            return True
    return False
