"""Scores as a long Parquet table, a row a (query, training example) pair."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from datainf.files import make_folder, writing_aside
from datainf.scores.file import Ids
from datainf.scores.ranked import QueryRows

SCHEMA = pa.schema(
    [
        ("query_id", pa.string()),
        ("train_id", pa.string()),
        ("query_row", pa.int32()),
        ("train_row", pa.int32()),
        ("score", pa.float32()),
        ("rank", pa.int32()),
    ]
)


def write_table(
    path: Path, query_ids: Ids, train_ids: Ids, queries: Iterable[QueryRows],
    about: Mapping[str, Any],
) -> None:  # fmt: skip
    """Write what each query has, in the order of `query_ids`; what the columns are stands with
    `Ranked.to_parquet`. `about`: plain values, for the schema's metadata."""
    make_folder(path.parent)
    schema = SCHEMA.with_metadata({"datainf": json.dumps(about, sort_keys=True)})
    ids = pa.array([str(identifier) for identifier in train_ids])
    with writing_aside(path) as aside, pq.ParquetWriter(aside, schema) as writer:
        for row, (identifier, found) in enumerate(zip(query_ids, queries, strict=True)):
            count = len(found.train_rows)
            train_rows = pa.array(found.train_rows.int().numpy())
            columns = [
                pa.array([str(identifier)] * count),
                ids.take(train_rows),
                pa.array([row] * count, type=pa.int32()),
                train_rows,
                pa.array(found.scores.float().numpy()),
                pa.array(found.ranks.int().numpy()),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
