"""Some rows of a data set, written in the form that it came in: what trained on the whole trains
on the part."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import datasets

from datainf.data.formats import Table
from datainf.data.image_folder import FILE_NAME, METADATA
from datainf.errors import DataError
from datainf.files import make_folder, writing

Row = Mapping[str, Any]


def write_part(
    source: str, table: Table, rows: Sequence[int], folder: Path, image: str | None,
    changed: Mapping[int, Row] = MappingProxyType({}),
) -> Path:  # fmt: skip
    """Write rows of a source's table into a folder, under the source's own name. Of a source with
    splits, the part is of one, and has none.

    Args:
        source: Path or hub id. A hub data set is written as one that `datasets` saved.
        table: Its rows.
        rows: Which, in this order.
        folder: Made if it is not there; what stands in the place is replaced.
        image: The column of images, if there is one: paths in it are made absolute, as the part
            lies elsewhere than the whole.
        changed: What some rows have in the place of their own, row → column → value.

    Raises `WriteError` if the disk refuses.
    """
    make_folder(folder)
    path = Path(source)
    name = path.name if path.exists() else path.name.partition(":")[0]
    target = folder / (name or "data")
    with writing(target):
        if target.is_dir():
            shutil.rmtree(target)
        if hasattr(table.rows, "select"):
            _write_dataset(table, rows, target, path.suffix.lower(), image, changed)
        elif path.is_dir():
            _write_images(table, rows, target, changed)
        else:
            chosen = [
                _placed({**table.rows[row], **changed.get(row, {})}, table.folder, image)
                for row in rows
            ]
            WRITERS[path.suffix.lower()](target, chosen, path)
    return target


def _placed(row: Row, folder: Path | None, image: str | None) -> Row:
    name = row.get(image) if image is not None else None
    if folder is None or not isinstance(name, str) or Path(name).is_absolute():
        return row
    return {**row, str(image): str((folder / name).absolute())}


def _write_dataset(
    table: Table, rows: Sequence[int], target: Path, ending: str, image: str | None,
    changed: Mapping[int, Row],
) -> None:  # fmt: skip
    part: Any = table.rows
    part = part.select(list(rows))
    if changed:
        part = part.map(
            lambda row, place: {**row, **changed.get(rows[place], {})},
            with_indices=True, features=part.features,
        )  # fmt: skip
    for name, feature in part.features.items():
        if isinstance(feature, datasets.Image):  # as they are in the source; see `from_dataset`
            part = part.cast_column(name, datasets.Image())
        elif name == image:
            part = part.map(partial(_placed, folder=table.folder, image=image))
    if ending == ".parquet":
        part.to_parquet(str(target))
    else:
        part.save_to_disk(str(target))


def _json_lines(target: Path, rows: Sequence[Row], _source: Path) -> None:
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    target.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _json(target: Path, rows: Sequence[Row], source: Path) -> None:
    """A list; or where the file was an object with one list in it, that object with this one."""
    whole = json.loads(source.read_text(encoding="utf-8-sig"))
    if isinstance(whole, dict):
        (name,) = [name for name, value in whole.items() if isinstance(value, list)]
        value: Any = {**whole, name: list(rows)}
    else:
        value = list(rows)
    target.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def _csv(target: Path, rows: Sequence[Row], _source: Path) -> None:
    _delimited(target, rows, ",", csv.QUOTE_ALL)


def _tsv(target: Path, rows: Sequence[Row], _source: Path) -> None:
    _delimited(target, rows, "\t", csv.QUOTE_NONE)


def _delimited(target: Path, rows: Sequence[Row], delimiter: str, quoting: Any) -> None:
    with target.open("w", encoding="utf-8", newline="") as file:
        # In a file without quotes a quotation mark is a character like any other.
        quote = None if quoting == csv.QUOTE_NONE else '"'
        writer = csv.writer(
            file, delimiter=delimiter, quoting=quoting, quotechar=quote, lineterminator="\n"
        )
        writer.writerow(list(rows[0]))
        writer.writerows(list(row.values()) for row in rows)


WRITERS: dict[str, Callable[[Path, Sequence[Row], Path], None]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _tsv,
}


def _write_images(
    table: Table, rows: Sequence[int], target: Path, changed: Mapping[int, Row]
) -> None:
    """A folder of images: links to them under their own names, and their metadata if they had any;
    else an image with another label in that one's folder."""
    metadata, has_metadata = [], _has_metadata(table)
    reserved = _places(table, rows, target) if changed and not has_metadata else set()
    for row in rows:
        example = {**table.rows[row], **changed.get(row, {})}
        path = Path(example["image"])
        name = os.path.relpath(path, table.folder) if table.folder else path.name
        if row in changed and not has_metadata:
            name = str(Path(*map(_as_folder, changed[row].values())) / path.name)
        if name.startswith(".."):
            raise DataError(f"the image {path} lies outside {table.folder}")
        link = target / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if row in changed and not has_metadata:
            link = _free(link, reserved)
        if not link.exists():  # two rows may be of one image
            link.symlink_to(path.absolute())
        rest = {key: value for key, value in example.items() if key != "image"}
        metadata.append({FILE_NAME: name, **rest})
    if has_metadata:
        _json_lines(target / "metadata.jsonl", metadata, target)


def _has_metadata(table: Table) -> bool:
    return table.folder is not None and any((table.folder / name).is_file() for name in METADATA)


def _places(table: Table, rows: Sequence[int], target: Path) -> set[Path]:
    """Where images go that keep their names."""
    images = [Path(table.rows[row]["image"]) for row in rows]
    folder = table.folder or Path()
    return {target / os.path.relpath(image, folder) for image in images}


def _as_folder(label: Any) -> str:
    """A label as the folder of its class. Raises `DataError` for one that is no folder's name."""
    text = str(label)
    if text in ("", ".", "..") or any(mark in text for mark in ("/", "\\", "\0")):
        raise DataError(f"the label {text!r} cannot be a folder's name", remedy="a plain name")
    return text


def _free(link: Path, reserved: set[Path]) -> Path:
    """A place that no other image has or will have, by the same name or the same with a number."""
    found, number = link, 1
    while found in reserved or found.is_symlink():
        number += 1
        found = link.with_stem(f"{link.stem}-{number}")
    return found
