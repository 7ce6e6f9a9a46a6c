"""The splits of a source beside the one that a part is of: they go with it as they are."""

from __future__ import annotations

import json
from pathlib import Path

from datainf.data.image_folder import METADATA, splits_of
from datainf.data.reading import copy_file, reading
from datainf.errors import DataError

DICT = "dataset_dict.json"
"""Of several data sets that `datasets` saved as one: their names."""


def copy_saved_splits(source: Path, split: str, target: Path) -> None:
    """Make a folder of several saved data sets but for the one of a split, which is to come.

    Raises `DataError` for a name that leads elsewhere, and for what cannot be read.
    """
    target.mkdir()
    with reading(source / DICT):
        names = json.loads((source / DICT).read_bytes())["splits"]
    for name in names:
        if Path(name).name != name or name == "..":
            raise DataError(f"{source / DICT} has a split {name!r}, which is no name of a folder")
        if name == split:
            continue
        (target / name).mkdir()
        for path in _saved_in(source / name):
            copy_file(path, target / name / path.name)
    copy_file(source / DICT, target / DICT)


def _saved_in(folder: Path) -> list[Path]:
    """Its files, but for what `datasets` itself keeps of other work."""
    with reading(folder):
        files = [path for path in folder.iterdir() if path.is_file()]
    return [path for path in files if not path.name.startswith("cache-")]


def link_image_splits(source: Path, split: str, target: Path) -> None:
    """Link what stands in the other splits of a folder of images; their metadata are copied.

    Raises `DataError` for what cannot be read.
    """
    with reading(source):
        others = {name: folder for name, folder in splits_of(source).items() if name != split}
    for name, folder in others.items():
        for path in _shown_in(folder):
            place = target / name / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            if path.name in METADATA:
                copy_file(path, place)
            else:
                place.symlink_to(path.absolute())


def _shown_in(folder: Path) -> list[Path]:
    """Its files, and links to folders: nobody looks behind those, and they go along as links."""
    with reading(folder):
        return [
            path
            for path in folder.rglob("*")
            if (path.is_file() or (path.is_symlink() and path.is_dir()))
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        ]
