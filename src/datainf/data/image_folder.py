"""Folders of images, laid out as the Hugging Face hub has them.

    pictures/metadata.jsonl                rows with file_name, relative to that file, and more;
                                           or .csv, or .parquet
    pictures/cat/1.png, pictures/dog/…     no metadata: the label is the name of the folder that the
                                           image itself is in, and all of those are at one depth
    pictures/train/…, pictures/test/…      either of these, for each split

Rows get the image's absolute path as `image`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from datainf.data.formats import Table, read_file
from datainf.data.pictures import inside
from datainf.data.shown_images import images_in, linked_in
from datainf.data.splits import pick_split, refuse_split
from datainf.errors import DataError
from datainf.fingerprint import digest

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
FILE_NAME = "file_name"
SPLITS = ("train", "training", "validation", "valid", "val", "dev", "test", "testing", "eval")


def is_image_folder(folder: Path) -> bool:
    """Whether a folder holds images in one of the layouts above."""
    if (folder / "dataset_info.json").exists() or (folder / "dataset_dict.json").exists():
        return False  # saved by datasets
    parts = [folder, *splits_of(folder).values()]
    if any(_metadata(part) is not None for part in parts):
        return True
    return any(images_in(folder)) or any(linked_in(folder))  # the latter to be refused by name


def read_image_folder(folder: Path, split: str | None) -> Table:
    """The rows of an image folder, or of one of its splits.

    Raises `DataError` for metadata without file names, a file name that leads out of the folder, a
    split of a folder without any; and of images by class for a link to a folder of them, and for
    folders at several depths.
    """
    splits = {} if _metadata(folder) is not None else splits_of(folder)
    if splits:
        split = pick_split(str(folder), list(splits), split)
        folder = splits[split]
    else:
        refuse_split(str(folder), split)
    metadata = _metadata(folder)
    found = _by_class(folder) if metadata is None else _by_metadata(metadata)
    return replace(found, split=split)


def _by_metadata(path: Path) -> Table:
    table = read_file(path)
    rows: list[Mapping[str, Any]] = []
    for number, row in enumerate(table.rows):
        place = f"line {table.lines[number]}" if table.lines else f"row {number}"
        name = row.get(FILE_NAME)
        if not isinstance(name, str) or not name:
            raise DataError(
                f"{path.name}, {place}: no {FILE_NAME}; the columns are {', '.join(row)}",
                remedy=f"the image's path from {path.name} on, as {FILE_NAME}",
            )
        if "image" in row:
            raise DataError(
                f"{path.name}, {place}: a column image beside {FILE_NAME}, which names the image",
                remedy="another name for that column",
            )
        try:
            image = inside(path.parent, name, absolute=False)
        except DataError as error:
            raise DataError(f"{path.name}, {place}: {error.message}", remedy=error.remedy) from None
        rest = {key: value for key, value in row.items() if key != FILE_NAME}
        rows.append({"image": image, **rest})
    return Table(rows, table.lines, digest(path.read_bytes()), path.parent, metadata=(path, table))


def _by_class(folder: Path) -> Table:
    """Rows in the order that `load_dataset("imagefolder")` has: by path, as a text, in which
    `cat-2/` comes before `cat/`. Images directly in the folder have no label."""
    for link in linked_in(folder):
        raise DataError(
            f"{link} is a link to a folder of images: load_dataset does not follow it, and would "
            "leave them out",
            remedy="the folder itself in its place, or a metadata.jsonl that names the images",
        )
    rows, names = [], []
    for image in sorted(images_in(folder), key=Path.as_posix):
        name = image.relative_to(folder)
        label = {"label": name.parent.name} if len(name.parts) > 1 else {}
        rows.append({"image": str(image.absolute()), **label})
        names.append(name.as_posix())
    _require_one_depth(folder, names)
    return Table(rows, None, digest(names), folder)


def _require_one_depth(folder: Path, names: Iterable[str]) -> None:
    """Raises `DataError` where images are in folders at several depths: which of the folders around
    an image are classes is not known then, and `load_dataset` gives no labels."""
    by_depth = {name.count("/"): name for name in names if "/" in name}
    if len(by_depth) > 1:
        one, other, *_ = by_depth.values()
        raise DataError(
            f"{folder}: {one} and {other} are in folders at two depths, and load_dataset gives "
            "such images no labels",
            remedy="a folder for each class, all at one depth, or a metadata.jsonl with labels",
        )


def _metadata(folder: Path) -> Path | None:
    return next((folder / name for name in METADATA if (folder / name).is_file()), None)


def splits_of(folder: Path) -> dict[str, Path]:
    """Folders that are named like splits, if no other folder stands beside them."""
    inner = {path.name: path for path in sorted(folder.iterdir()) if _is_shown_folder(path)}
    return inner if inner and all(name.lower() in SPLITS for name in inner) else {}


def _is_shown_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")
