"""Some rows of a data set, written in the form that it came in: what trained on the whole trains
on the part."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import datasets
import pyarrow as pa

from datainf.data.fields import as_json
from datainf.data.formats import Table, decoding
from datainf.data.image_folder import FILE_NAME, METADATA
from datainf.data.write_text import write_text
from datainf.errors import DataError
from datainf.files import make_folder, writing

Row = Mapping[str, Any]
ROWS = "data-00000-of-00001.arrow"
BATCH = 1000
"""Rows that are in memory at one time."""


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
        if hasattr(table.rows, "select"):
            _write_dataset(table, rows, aside, path.suffix.lower(), image, changed)
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
    for row in rows if image is not None else ():
        own = {key: value for key, value in table.rows[row].items() if key == image}
        placed = _placed(own, table.folder, image)
        if placed != own:
            found[row] = {**placed, **found.get(row, {})}
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
    places = {place: changed[row] for place, row in enumerate(rows) if row in changed}
    paths = image if image is not None and _names_images(part, table.folder, image) else None
    if places or paths is not None:
        stage = target.with_name("rows.arrow")
        part = _with_other_values(part, stage, places, paths, table.folder)
    part = decoding(part, True)  # as in the source; see `from_dataset`
    if ending == ".parquet":
        part.to_parquet(str(target), batch_size=BATCH)  # else it asks every URL for its size
    else:
        _save(part, target)


def _save(part: Any, target: Path) -> None:
    """As `datasets` saves a set without rows, and then the rows as they are: of columns of files it
    would keep what lies at whatever paths the data name."""
    part.select([]).save_to_disk(str(target), num_shards=1)  # else datasets 4.0 divides by none
    told = {"_fingerprint": part._fingerprint, "_data_files": [{"filename": ROWS}]}
    state, schema = target / "state.json", part.features.arrow_schema
    state.write_text(json.dumps(json.loads(state.read_text()) | told))
    with pa.OSFile(str(target / ROWS), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for batch in part.with_format("arrow").iter(BATCH):
            writer.write_table(batch.cast(schema))


def _names_images(part: Any, folder: Path | None, image: str) -> bool:
    return folder is not None and part.features[image] == datasets.Value("string")


def _with_other_values(
    part: Any, stage: Path, places: Mapping[int, Row], paths: str | None, folder: Path | None
) -> Any:
    """The part with other values at some places, and image paths made absolute, as a data set over
    the file `stage`. Only those columns are read as values: all others stay the very bytes that
    they are, times to the nanosecond and pictures as they are packed."""
    schema, start = part.features.arrow_schema, 0
    with pa.OSFile(str(stage), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for batch in part.with_format("arrow").iter(BATCH):
            own = {p - start: places[p] for p in range(start, start + len(batch)) if p in places}
            for name in {column for row in own.values() for column in row}:
                values = batch.column(name).to_pylist()
                for place, row in own.items():
                    values[place] = row.get(name, values[place])
                batch = _with_column(batch, name, values)
            if paths is not None:
                named = batch.column(paths).to_pylist()
                values = [_placed({paths: value}, folder, paths)[paths] for value in named]
                batch = _with_column(batch, paths, values)
            writer.write_table(batch.cast(schema))
            start += len(batch)
    return datasets.Dataset.from_file(str(stage))


def _with_column(table: pa.Table, name: str, values: list[Any]) -> pa.Table:
    place, kind = table.schema.get_field_index(name), table.schema.field(name)
    return table.set_column(place, kind, pa.array(values, kind.type))


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
