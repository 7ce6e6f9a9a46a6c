"""An open store's blocks as matrices."""

from __future__ import annotations

import pytest
import torch

from datainf.store import GradientStore, shards
from smaller import make_smaller, random_gradients


@pytest.mark.parametrize(("dtype", "precision"), [("float64", 1e-14), ("float32", 1e-6)])
def test_norms_are_as_precise_as_the_rows(tmp_path, dtype, precision):
    """Those beside the rows are float32."""
    gradients = {name: G.double() / 3 for name, G in random_gradients(9, 0).items()}
    store = make_smaller(tmp_path, gradients, dtype, shard_rows=4)
    for name, block in store.blocks.items():
        assert block.dtype == getattr(torch, dtype)
        rows = gradients[name].to(block.dtype).double()
        torch.testing.assert_close(
            block.sq_norms.double(), rows.square().sum(1), rtol=precision, atol=0
        )


def test_a_store_that_is_kept_open_maps_each_file_once(tmp_path, monkeypatch):
    make_smaller(tmp_path / "s", random_gradients(9, 0), shard_rows=4)
    opened, safe_open = [], shards.safetensors.safe_open
    monkeypatch.setattr(
        shards.safetensors, "safe_open", lambda *a, **b: opened.append(a[0]) or safe_open(*a, **b)
    )
    store = GradientStore.open(tmp_path / "s")
    truth = {name: G.to_dense().clone() for name, G in store.blocks.items()}
    assert len(opened) >= len(truth)
    store.keep_open()
    opened.clear()
    picked = store.pick([7, 2])
    for name, G in store.blocks.items():
        for _ in range(2):
            assert torch.equal(G.to_dense(), truth[name])
            assert torch.equal(picked.blocks[name].to_dense(), truth[name][[2, 7]])
    assert len(opened) == len(store.index.shards)
