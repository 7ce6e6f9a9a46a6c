"""Scores as a long Parquet table, a row a (query, training example) pair."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from datainf.files import make_folder, writing

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
    path: Path, values: Tensor, query_ids: Sequence[int | str], train_ids: Sequence[int | str]
) -> None:
    """Write values [m, n]; what the columns are stands with `Scores.to_parquet`."""
    make_folder(path.parent)
    n = len(train_ids)
    ids = pa.array([str(identifier) for identifier in train_ids])
    rows = pa.array(range(n), type=pa.int32())
    aside = path.with_name(path.name + ".tmp")
    with writing(path):
        with pq.ParquetWriter(aside, SCHEMA) as writer:
            for row, identifier in enumerate(query_ids):
                columns = [
                    pa.array([str(identifier)] * n),
                    ids,
                    pa.array([row] * n, type=pa.int32()),
                    rows,
                    pa.array(values[row].float().numpy()),
                    pa.array(_ranks(values[row]).numpy()),
                ]
                writer.write_table(pa.Table.from_arrays(columns, schema=SCHEMA))
        aside.replace(path)


def _ranks(scores: Tensor) -> Tensor:
    """Of one query's scores [n], 0 = most helpful, int32."""
    ranks = torch.empty(len(scores), dtype=torch.int32)
    order = torch.sort(scores, descending=True, stable=True).indices
    ranks[order] = torch.arange(len(scores), dtype=torch.int32)
    return ranks
