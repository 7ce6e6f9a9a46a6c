"""Folders of images, laid out as the Hugging Face hub has them.

    pictures/metadata.jsonl                rows with file_name, relative to that file, and more;
                                           or .csv, or .parquet
    pictures/cat/1.png, pictures/dog/…     no metadata: the folder's name is the label
    pictures/train/…, pictures/test/…      either of these, for each split

Rows get the image's absolute path as `image`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder

from datainf.data.formats import Table, read_file
from datainf.data.pictures import inside
from datainf.errors import DataError
from datainf.fingerprint import digest

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
FILE_NAME = "file_name"
ENDINGS = frozenset(ImageFolder.EXTENSIONS)
"""Those that `datasets` takes for pictures; one that is not read here is refused by its name."""
SPLITS = ("train", "training", "validation", "valid", "val", "dev", "test", "testing", "eval")


def is_image_folder(folder: Path) -> bool:
    """Whether a folder holds images in one of the layouts above."""
    if (folder / "dataset_info.json").exists() or (folder / "dataset_dict.json").exists():
        return False  # saved by datasets
    parts = [folder, *splits_of(folder).values()]
    return any(_metadata(part) is not None for part in parts) or any(_images(folder))


def read_image_folder(folder: Path, split: str | None) -> Table:
    """The rows of an image folder, or of one of its splits.

    Raises `DataError` for metadata without file names, or a file name that leads out of the folder.
    """
    splits = {} if _metadata(folder) is not None else splits_of(folder)
    if splits:
        split = pick_split(str(folder), list(splits), split)
        folder = splits[split]
    elif split is not None:
        raise DataError(f"{folder} has no splits", remedy="leave the split away")
    metadata = _metadata(folder)
    found = _by_class(folder) if metadata is None else _by_metadata(metadata)
    return replace(found, split=split)


def pick_split(source: str, names: Sequence[str], split: str | None) -> str:
    """The split that was named, or the only one there is.

    Raises `DataError` if that leaves open which.
    """
    if split is None and len(names) == 1:
        return names[0]
    if split is None or split not in names:
        raise DataError(
            f"{source} has the splits {', '.join(names)}; "
            + ("none was named" if split is None else f"there is no {split!r}"),
            remedy="--train-split or --query-split (--split of datainf collect) names one",
        )
    return split


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
    rows, names = [], []
    for image in sorted(_images(folder), key=Path.as_posix):
        name = image.relative_to(folder)
        label = {"label": name.parts[0]} if len(name.parts) > 1 else {}
        rows.append({"image": str(image.absolute()), **label})
        names.append(name.as_posix())
    return Table(rows, None, digest(names), folder)


def _metadata(folder: Path) -> Path | None:
    return next((folder / name for name in METADATA if (folder / name).is_file()), None)


def splits_of(folder: Path) -> dict[str, Path]:
    """Folders that are named like splits, if no other folder stands beside them."""
    inner = {path.name: path for path in sorted(folder.iterdir()) if _is_shown_folder(path)}
    return inner if inner and all(name.lower() in SPLITS for name in inner) else {}


def _is_shown_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _images(folder: Path) -> Iterator[Path]:
    """Like `datasets`, none whose name begins with a dot, or whose folder's does, or with __."""
    for path in folder.rglob("*"):
        *folders, name = path.relative_to(folder).parts
        shown = not name.startswith(".") and not any(p.startswith((".", "__")) for p in folders)
        if shown and path.suffix.lower() in ENDINGS and path.is_file():
            yield path
