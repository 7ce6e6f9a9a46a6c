"""Some examples of a store, as a store."""

from __future__ import annotations

import json
import re

import pytest
import torch

from datainf.errors import StoreCorruptError, StoreMismatchError
from datainf.linalg import matrix
from datainf.projection import Projection
from datainf.store import shards
from smaller import make_smaller, random_gradients

N, ROWS = 23, [0, 4, 7, 8, 15, 22]


@pytest.fixture(params=[("float32", None), ("bfloat16", None), ("int8", None), ("int8", 4)])
def store(request, tmp_path):
    dtype, ratio = request.param
    names = [f"r{i}" if i % 2 else i for i in range(N)]
    projection = None if ratio is None else Projection(ratio)
    gradients = random_gradients(N, 0)
    return make_smaller(tmp_path, gradients, dtype, projection, ids=names, shard_rows=8)


def assert_rows(found, store, rows):
    assert len(found) == len(rows)
    assert found.ids == [store.ids[row] for row in rows]
    assert torch.equal(found.losses, store.losses[rows])
    assert torch.equal(found.sq_norms, store.sq_norms[rows])
    for name, G in store.blocks.items():
        assert torch.equal(found.blocks[name].to_dense(), G.to_dense()[rows])
        assert torch.equal(found.blocks[name].sq_norms, G.sq_norms[rows])
        assert found.blocks[name].parameters == G.parameters
        W = torch.arange(float(len(rows)))
        right = G.to_dense()[rows].T @ W
        torch.testing.assert_close(found.blocks[name].T @ W, right, rtol=1e-4, atol=1e-3)
    for position, row in enumerate(rows):
        for name, g in store.example(row)[1].items():
            assert torch.equal(found.example(position)[1][name], g)


def test_picked_examples_are_the_store_s_own(store):
    found = store.pick([store.ids[row] for row in reversed(ROWS)])
    assert_rows(found, store, ROWS)  # in the store's order
    assert_rows(found.pick([store.ids[7], store.ids[15]]), store, [7, 15])
    assert_rows(store.pick(store.ids), store, list(range(N)))
    store.require_same_model(found)


def test_only_the_rows_of_a_chunk_are_copied(store, monkeypatch):
    monkeypatch.setattr(matrix, "MAX_CHUNK_BYTES", 1)  # a row at a time
    found = store.pick(store.ids[:8]).pick(store.ids[1:8])
    (name, G), copied = next(iter(found.blocks.items())), []
    taken = shards.PickedRows.__getitem__
    monkeypatch.setattr(
        shards.PickedRows, "__getitem__",
        lambda self, rows: copied.append(len(taken(self, rows))) or taken(self, rows),
    )  # fmt: skip
    chunks = torch.cat([rows for _, rows in G.chunks()])
    assert copied == [1] * 7
    assert torch.equal(chunks, store.blocks[name].to_dense()[1:8])


def test_ids_that_are_not_there_are_told(store):
    with pytest.raises(StoreMismatchError, match="has 1 of the 2 examples"):
        store.pick([0, "nobody"])


def read(store):
    return store.losses, [G.to_dense() for G in store.blocks.values()]


def test_a_flipped_byte_is_found_in_rows_that_were_not_picked_too(store, tmp_path):
    shard = min(tmp_path.glob("*.safetensors"))
    data, name = bytearray(shard.read_bytes()), store.index.blocks[0].name
    length = int.from_bytes(data[:8], "little")
    _, end = json.loads(data[8 : 8 + length])[name]["data_offsets"]
    data[8 + length + end - 1] ^= 1  # in the block's last row
    shard.write_bytes(bytes(data))
    picked = store.pick([0])
    with pytest.raises(StoreCorruptError, match=f"the checksum of {re.escape(name)} differs"):
        read(picked)
