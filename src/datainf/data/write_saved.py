"""A part of a data set of `datasets`, as `datasets` saves one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from datainf.data.arrow_paths import with_paths
from datainf.data.arrow_values import with_values
from datainf.data.formats import Table, decoding
from datainf.fingerprint import digest

ROWS = "data-00000-of-00001.arrow"
BATCH = 1000
"""Rows that are in memory at one time."""


def write_saved(
    table: Table, rows: Sequence[int], target: Path, image: str | None,
    changed: Mapping[int, Mapping[str, Any]],
) -> None:  # fmt: skip
    """As `datasets` saves a set without rows, and then the rows as they are: of columns of files it
    would keep what lies at whatever paths the data name. `image` and `changed` are those of
    `datainf.data.write.write_part`."""
    whole: Any = table.rows
    part = decoding(whole.select(list(rows)), True)  # as in the source; see `from_dataset`
    places = {place: changed[row] for place, row in enumerate(rows) if row in changed}
    part.select([]).save_to_disk(str(target), num_shards=1)  # else datasets 4.0 divides by none
    fingerprint = digest([part._fingerprint, str(places)]) if places else part._fingerprint
    told = {"_fingerprint": fingerprint, "_data_files": [{"filename": ROWS}], **table.form}
    state, schema, start = target / "state.json", part.features.arrow_schema, 0
    state.write_text(json.dumps(json.loads(state.read_text()) | told))
    with pa.OSFile(str(target / ROWS), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for batch in part.with_format("arrow").iter(BATCH):
            own = {p - start: places[p] for p in range(start, start + len(batch)) if p in places}
            start += len(batch)
            batch = with_values(batch.cast(schema), own)
            if image is not None and table.folder is not None:
                batch = with_paths(batch, image, table.folder)
            writer.write_table(batch)
