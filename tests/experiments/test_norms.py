"""Norms against numbers chosen so that they can be read off."""

from __future__ import annotations

import pytest
import torch
from stores import make_store

from experiments.norms import norms


def test_norms_by_block_and_over_all(tmp_path):
    size = torch.arange(1.0, 202.0)  # ‖g_i‖ = 3i in one block, 4i in the other, 5i over both
    blocks = {
        "a": torch.stack([3 * size, torch.zeros(201)], 1)[:, [1, 0]],
        "b": torch.stack([4 * size / 2**0.5, -4 * size / 2**0.5], 1),
    }
    found = norms(make_store(tmp_path, blocks))
    assert list(found) == ["all", "a", "b"]
    for name, factor in (("all", 5), ("a", 3), ("b", 4)):
        entry = found[name]
        assert [entry[q] for q in ("min", "q01", "median", "q99", "max", "mean")] == pytest.approx(
            [factor * i for i in (1, 3, 101, 199, 201, 101)]
        )
        squares = size.square()
        assert entry["top_share"] == pytest.approx(float(squares[-2:].sum() / squares.sum()))


def test_of_few_examples_the_largest_is_the_top(tmp_path):
    found = norms(make_store(tmp_path, {"a": torch.tensor([[1.0], [2.0], [4.0]])}))
    assert found["a"]["top_share"] == pytest.approx(16 / 21)


def test_a_block_without_gradients_has_numbers_all_the_same(tmp_path):
    found = norms(make_store(tmp_path, {"a": torch.zeros(4, 2), "b": torch.ones(4, 1)}))
    assert set(found["a"].values()) == {0.0}
    assert found["all"]["max"] == 1
