"""Parquet files: their rows as `datasets` has them, mapped from a copy in Arrow's form.

The copy lies in the cache of `datasets` under a digest of the file's bytes: where these are others,
it is another. What `datasets` has no kind of column for is shown as the nearest that it has; a part
of the file is written from the file itself.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.table import table_cast

from datainf.errors import DataError, DatainfError, first_line
from datainf.files import make_folder, writing
from datainf.fingerprint import digest, file_digest
from datainf.redaction import beginning

BATCH = 1000
"""Rows that are in memory at one time."""
FORM = 1
"""Of the copies: a higher one makes them again."""


@contextmanager
def reading_pages(path: Path) -> Iterator[None]:
    """Turn whatever a file's pages and schema bring about into a `DataError` that names it. Of a
    page that is damaged pyarrow raises `OSError`, which within `datainf.files.writing` would be
    taken for one of the disk that is written to."""
    try:
        yield
    except DatainfError:
        raise
    except Exception as error:
        raise DataError(
            f"{path.name}: not a readable Parquet file ({first_line(error)})",
            remedy="write it again; or save it as JSON lines",
        ) from None


def tables_of(path: Path, file: pq.ParquetFile, rows: int) -> Iterator[pa.Table]:
    """A file's tables of so many rows. Raises `DataError` as `reading_pages`, of the file alone:
    what fails where the tables go to is not raised in a generator."""
    with reading_pages(path):
        for batch in file.iter_batches(rows):
            yield pa.Table.from_batches([batch])


def read_parquet(path: Path) -> Any:
    """A data set of `datasets` over the file's copy, which is made if it is not there.

    Raises `DataError` for two columns of one name, `WriteError` where the cache has no room, and
    what else pyarrow and `datasets` raise for a file.
    """
    with path.open("rb") as handle:
        file = pq.ParquetFile(handle)
        _require_names(path, file.schema_arrow)
        versions = [FORM, pa.__version__, datasets.__version__]
        folder = Path(datasets.config.HF_DATASETS_CACHE) / "datainf"
        copy = folder / f"{digest([file_digest(path), *versions])}.arrow"
        found = _mapped(copy, file.metadata.num_rows)
        if found is None:
            make_folder(folder)
            _copy(path, file, copy)
            found = _mapped(copy, file.metadata.num_rows)
        return found


def _require_names(path: Path, schema: pa.Schema) -> None:
    twice = [name for name, times in Counter(schema.names).items() if times > 1]
    if twice:
        raise DataError(
            f"{path.name}: two columns have the same name: {beginning(twice[0], 100)}",
            remedy="another name for one of them",
        )


def _mapped(copy: Path, rows: int) -> Any | None:
    """What the copy holds; None where there is none, or a crash left less than all."""
    try:
        found = datasets.Dataset.from_file(str(copy))
    except (OSError, pa.ArrowInvalid):
        return None
    return found if len(found) == rows else None


def _copy(path: Path, file: pq.ParquetFile, copy: Path) -> None:
    features = _features(file.schema_arrow)
    schema = features.arrow_schema
    with writing(copy), tempfile.TemporaryDirectory(prefix=".writing-", dir=copy.parent) as aside:
        fresh = Path(aside) / copy.name
        with pa.OSFile(str(fresh), "wb") as out, pa.ipc.new_stream(out, schema) as writer:
            for table in tables_of(path, file, BATCH):
                writer.write_table(table_cast(_shown(table.select(schema.names)), schema))
        with fresh.open("rb") as done:
            os.fsync(done.fileno())
        fresh.replace(copy)


def _features(schema: pa.Schema) -> datasets.Features:
    """Of the file's columns; those left out that `datasets` has nothing near for."""
    fields = []
    for field in schema:
        for shown in (field, field.with_type(_near(field.type))):
            if _is_known(shown):
                fields.append(shown)
                break
    return datasets.Features.from_arrow_schema(pa.schema(fields, schema.metadata))


def _is_known(field: pa.Field) -> bool:
    try:
        datasets.Features.from_arrow_schema(pa.schema([field]))
    except (ValueError, NotImplementedError, TypeError):
        return False
    return True


def _near(kind: pa.DataType) -> pa.DataType:
    """A map is a list of pairs, a period or a UUID what it is made of."""
    if isinstance(kind, pa.BaseExtensionType):
        return _near(kind.storage_type)
    if pa.types.is_map(kind):
        pair = [("key", _near(kind.key_type)), ("value", _near(kind.item_type))]
        return pa.list_(pa.struct(pair))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_near(field.type)) for field in kind])
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_near(kind.value_type), kind.list_size)
    if pa.types.is_large_list(kind):
        return pa.large_list(_near(kind.value_type))
    return pa.list_(_near(kind.value_type)) if pa.types.is_list(kind) else kind


def _shown(table: pa.Table) -> pa.Table:
    for place, field in enumerate(table.schema):
        if not _is_known(field):
            near = field.with_type(_near(field.type))
            table = table.set_column(place, near, table.column(place).cast(near.type))
    return table
