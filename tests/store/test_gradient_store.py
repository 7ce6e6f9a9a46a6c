"""An open store's blocks as matrices."""

from __future__ import annotations

import pytest
import torch

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
