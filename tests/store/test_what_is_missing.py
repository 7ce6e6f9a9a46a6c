"""Which rows an index lacks, and which data have to come again for them."""

from __future__ import annotations

import random
from itertools import accumulate, pairwise

import pytest

from datainf.store.index import Block, Index, Part, Shard


def index_of(parts, shards, shard_rows=3):
    """An index with these numbers of rows that came one after another, and shards at (start,
    rows)."""
    came = [Part(rows, "d", f"{place}.jsonl") for place, rows in enumerate(parts)]
    return Index(
        n=sum(parts), dtype="float32", blocks=[Block("a", (2,), "a")], fingerprints={"data": "d"},
        shard_rows=shard_rows, parts=came,
        shards=[Shard(f"{start}", start, rows, 1, "c") for start, rows in shards],
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(200))
def test_every_row_without_a_shard_is_missing_and_its_data_are_named(seed):
    rng = random.Random(seed)
    parts = [rng.randint(1, 7) for _ in range(rng.randint(1, 4))]
    ends = [0, *accumulate(parts)]
    whole = [*index_of(parts, []).missing()]
    kept = [rows for rows in whole if rng.random() < 0.5]
    index = index_of(parts, [(rows.start, len(rows)) for rows in kept])
    there = {row for rows in kept for row in rows}
    lost = [row for row in range(index.n) if row not in there]
    assert [row for gap in index.gaps() for row in gap] == lost
    assert [*index.missing()] == [rows for rows in whole if rows not in kept]
    if len(parts) == 1:
        return
    for before in (None, *ends[2:]):
        named = index.how_to_finish(before)
        for place, (start, stop) in enumerate(pairwise(ends)):
            due = any(start <= row < stop for row in lost) and stop <= (before or index.n)
            assert (f"{place}.jsonl" in named) == due


def test_an_index_that_claims_to_have_many_rows_is_looked_through_at_once():
    """No row of them is counted, or this would not end."""
    index = index_of([10**15, 10**15], [(5, 10)], shard_rows=1)
    assert [*index.gaps()] == [range(5), range(15, 2 * 10**15)]
    assert "0.jsonl and of 1.jsonl" in index.how_to_finish()
