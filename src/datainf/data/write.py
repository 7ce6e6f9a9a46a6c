"""Some rows of a data set, written in the form that it came in: what trained on the whole trains
on the part."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from datainf.data.fields import as_json
from datainf.data.formats import Table, require_unchanged
from datainf.data.image_folder import FILE_NAME, METADATA
from datainf.data.pictures import placed
from datainf.data.write_parquet import write_parquet
from datainf.data.write_saved import write_saved
from datainf.data.write_text import write_text
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
    path, target = Path(source), folder / written_name(source)
    with _aside(target) as aside:
        if path.is_file():
            require_unchanged(path, table)
        if path.is_file() and path.suffix.lower() == ".parquet":
            write_parquet(path, rows, aside, image, changed)
        elif hasattr(table.rows, "select"):
            write_saved(table, rows, aside, image, changed)
        elif path.is_dir():
            _write_images(table, rows, aside, changed)
        else:
            write_text(path, table, rows, aside, _with_places(table, rows, image, changed))
    return target


def _with_places(
    table: Table, rows: Sequence[int], image: str | None, changed: Mapping[int, Row]
) -> Mapping[int, Row]:
    """What is to be changed, the paths of images among it."""
    found = dict(changed)
    if image is None or table.folder is None:
        return found
    for row in rows:
        own = table.rows[row].get(image)
        if (named := placed(table.folder, own)) != own:
            found[row] = {image: named, **found.get(row, {})}
    return found


def written_name(source: str) -> str:
    """What a part of a source is called in its folder."""
    path = Path(source)
    name = path.name if path.exists() else path.name.partition(":")[0]
    return "data" if name in ("", ".", "..") else name


@contextmanager
def _aside(target: Path) -> Iterator[Path]:
    """A place to write a file or a folder to, which then takes the place of `target`; what stood
    there stays as it was until then."""
    with (
        writing(target),
        tempfile.TemporaryDirectory(prefix=".writing-", dir=target.parent) as name,
    ):
        fresh, old = Path(name) / "new", Path(name) / "old"
        yield fresh
        if target.is_dir():
            target.rename(old)
        fresh.replace(target)


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
            name = str(Path(*map(str, changed[row].values())) / path.name)
        if name.startswith(".."):
            raise DataError(
                f"row {row}: the image {path} lies outside {table.folder}",
                remedy="pictures within the folder",
            )
        link = target / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if row in changed and not has_metadata:
            link = _free(link, reserved)
        if not link.exists():  # two rows may be of one image
            link.symlink_to(path.absolute())
        rest = {key: value for key, value in example.items() if key != "image"}
        metadata.append({FILE_NAME: name, **rest})
    if has_metadata:
        lines = "".join(f"{as_json(row)}\n" for row in metadata)
        (target / "metadata.jsonl").write_text(lines, encoding="utf-8")


def _has_metadata(table: Table) -> bool:
    return table.folder is not None and any((table.folder / name).is_file() for name in METADATA)


def _places(table: Table, rows: Sequence[int], target: Path) -> set[Path]:
    """Where images go that keep their names."""
    images = [Path(table.rows[row]["image"]) for row in rows]
    folder = table.folder or Path()
    return {target / os.path.relpath(image, folder) for image in images}


def _free(link: Path, reserved: set[Path]) -> Path:
    """A place that no other image has or will have, by the same name or the same with a number."""
    found, number = link, 1
    while found in reserved or found.is_symlink():
        number += 1
        found = link.with_stem(f"{link.stem}-{number}")
    return found
