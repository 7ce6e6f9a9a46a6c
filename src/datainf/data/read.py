"""Where rows come from: a file, a folder, or the hub."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc

from datainf.data.formats import READERS, Table, from_dataset, read_file
from datainf.data.image_folder import is_image_folder, read_image_folder
from datainf.data.splits import pick_split, refuse_split
from datainf.errors import DataError, first_line
from datainf.files import near, suggestion
from datainf.repositories import at

STATE, INFO = "state.json", "dataset_info.json"
"""Of a data set that `datasets` saved, beside its rows."""
FORM = ("_format_type", "_format_kwargs", "_format_columns", "_output_all_columns")
"""What the first says of how the rows are given."""


def read(source: str, split: str | None) -> Table:
    """Read a file, a folder saved by `datasets` or of images, or a hub data set.

    Raises `DataError` if there is no such thing, it cannot be read, or a split is named of what has
    none.
    """
    path = Path(source)
    if path.is_dir():
        if is_image_folder(path):
            return read_image_folder(path, split)
        return _saved_folder(path, split)
    if path.is_file():
        refuse_split(source, split)
        return read_file(path)
    if _looks_local(source, path):
        raise DataError(f"there is no file {source}{suggestion(path)}", remedy="check the path")
    return _hub(source, split)


def _looks_local(source: str, path: Path) -> bool:
    """Whether a name that is no file was meant as one rather than as a hub id."""
    return (
        path.suffix.lower() in READERS
        or path.is_absolute()
        or source.startswith(("./", "../"))
        or source.count("/") > 1
        or (path.parent.is_dir() and near(path) is not None)
    )


def _saved_folder(path: Path, split: str | None) -> Table:
    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:  # whatever its files bring about
        raise DataError(
            f"{path} is a folder, but not one saved by datasets ({first_line(error)}), nor one of "
            "images",
            remedy="dataset.save_to_disk(folder) makes one; images stand in it with a "
            "metadata.jsonl, or in a folder for each class; or name a file in the folder",
        ) from None
    found = _pick_split(str(path), loaded, split)
    require_sound(path, found.rows)
    saved = path if found.split is None else path / found.split
    state = json.loads((saved / STATE).read_bytes())
    return replace(found, files=saved_files(saved), form={name: state[name] for name in FORM})


def saved_files(saved: Path) -> tuple[Path, ...]:
    """What a data set was saved as; beside them may lie what `datasets` keeps of other work."""
    state = json.loads((saved / STATE).read_bytes())
    held = [str(each["filename"]) for each in state["_data_files"]]
    return tuple(saved / name for name in (STATE, INFO, *held))


def require_sound(path: Path, rows: Any) -> None:
    """Raises `DataError` where the files' bytes are no table: they are mapped as they are, and the
    first look at offsets that lead out of them would be the end of the process."""
    try:
        for table in filter(None, (rows.data, rows._indices)):
            table.table.validate(full=True)
        if rows._indices is not None:
            ends = pc.min_max(rows._indices.table.column(0)).as_py().values()
            if any(end is not None and not 0 <= end < len(rows.data) for end in ends):
                raise pa.ArrowInvalid("indices of rows that are not there")
    except (pa.ArrowException, AttributeError, TypeError, OSError) as error:
        raise DataError(
            f"{path}: its Arrow files are damaged: {first_line(error)}",
            remedy="save the data set there again, by dataset.save_to_disk(folder)",
        ) from None


def _hub(source: str, split: str | None) -> Table:
    whole, _, suffix = source.partition(":")
    name, revision = at(whole)
    try:
        loaded = datasets.load_dataset(name, split=split or suffix or None, revision=revision)
    except Exception as error:  # whatever hub, network and formats can raise
        raise DataError(
            f"{source} is neither a file here nor a data set that the hub gives: "
            f"{first_line(error)}",
            remedy="check the name and the network; org/name:split names a split, "
            "org/name@revision a commit or a branch",
        ) from None
    found = _pick_split(source, loaded, None)
    return replace(found, split=split or suffix or found.split)


def _pick_split(source: str, loaded: Any, split: str | None) -> Table:
    if not isinstance(loaded, datasets.DatasetDict):
        refuse_split(source, split)
        return from_dataset(loaded)
    picked = pick_split(source, list(loaded), split)
    return replace(from_dataset(loaded[picked]), split=picked)
