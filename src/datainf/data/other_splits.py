"""The splits of a source beside the one that a part is of: they go with it as they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from datainf.data.image_folder import METADATA, splits_of
from datainf.errors import DataError

DICT = "dataset_dict.json"
"""Of several data sets that `datasets` saved as one: their names."""


def copy_saved_splits(source: Path, split: str, target: Path) -> None:
    """Make a folder of several saved data sets but for the one of a split, which is to come.

    Raises `DataError` for a name that leads elsewhere.
    """
    target.mkdir()
    for name in json.loads((source / DICT).read_bytes())["splits"]:
        if Path(name).name != name or name == "..":
            raise DataError(f"{source / DICT} has a split {name!r}, which is no name of a folder")
        if name == split:
            continue
        (target / name).mkdir()
        for path in (source / name).iterdir():
            if path.is_file() and not path.name.startswith("cache-"):  # made by `datasets` itself
                shutil.copyfile(path, target / name / path.name)
    shutil.copyfile(source / DICT, target / DICT)


def link_image_splits(source: Path, split: str, target: Path) -> None:
    """Link what stands in the other splits of a folder of images; their metadata are copied."""
    for name, folder in splits_of(source).items():
        if name == split:
            continue
        for path in folder.rglob("*"):
            own = path.relative_to(folder)
            if not path.is_file() or any(part.startswith(".") for part in own.parts):
                continue
            place = target / name / own
            place.parent.mkdir(parents=True, exist_ok=True)
            if path.name in METADATA:
                shutil.copyfile(path, place)
            else:
                place.symlink_to(path.absolute())
