"""The intervals of removal tests hold what they should."""

from __future__ import annotations

import pytest
import torch

from datainf.evaluation import removal

N, M = 30, 40


def world(noise):
    """Leaving any row out raises every loss by 0.1, give or take."""
    draw = torch.Generator().manual_seed(0)

    def losses(parts):
        gone = (~parts).sum(dim=1, keepdim=True).float()
        clean = (0.1 * gone).expand(len(parts), M)
        seeds = [clean + noise * torch.randn(clean.shape, generator=draw) for _ in range(3)]
        return torch.stack(seeds, dim=1)

    return losses


def test_without_noise_an_interval_is_a_point():
    found = removal({"a": torch.rand((M, N))}, 5, world(0.0))["a"].helpful
    assert found.mean == pytest.approx(0.5, abs=1e-5)
    assert (found.low, found.high) == pytest.approx((found.mean, found.mean), abs=1e-6)


def test_with_noise_it_is_as_wide_as_the_mean_is_unsure():
    found = removal({"a": torch.rand((M, N))}, 5, world(0.2))["a"].helpful
    assert found.low < 0.5 < found.high
    # The change of a mean over 3 seeds and 40 queries, against a baseline as noisy.
    error = 0.2 * (2 / (3 * M)) ** 0.5
    assert 2 * error < found.high - found.low < 8 * error


def test_of_one_loss_there_is_none():
    def one_seed(parts):
        return world(0.2)(parts)[:, :1, :1]

    found = removal({"a": torch.rand((1, N))}, 5, one_seed)
    assert found["a"].helpful.low is None
    assert str(found["a"].helpful) == f"{found['a'].helpful.mean:+.4f}"
    assert found["random"].helpful.low is not None  # of three draws
