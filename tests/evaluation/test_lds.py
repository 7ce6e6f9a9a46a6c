"""The linear datamodeling score against scipy, known answers, and data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from datainf.errors import OptionError
from datainf.evaluation import ceiling, lds, random_parts


def made(m=7, n=40, parts=30, seeds=2, noise=0.0, seed=0):
    """True scores, and losses that they foretell but for noise from seed to seed."""
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randn((m, n), generator=draw, dtype=torch.float64)
    chosen = random_parts(n, parts, seed=seed)
    outcome = (chosen.double() @ scores.T)[:, None].expand(-1, seeds, -1)
    size = noise * outcome.std(dim=0)
    return scores, chosen, -outcome + size * torch.randn(
        (parts, seeds, m), generator=draw, dtype=torch.float64
    )  # fmt: skip


def test_it_is_the_rank_correlation_of_each_query_with_minus_its_mean_loss():
    scores, parts, losses = made(noise=1.0)
    found = lds(scores, parts, losses)
    expected = [
        spearmanr((parts.double() @ scores[q]).numpy(), -losses.mean(1)[:, q].numpy())[0]
        for q in range(len(scores))
    ]
    np.testing.assert_allclose(found.by_query, expected, atol=1e-12)
    assert found.mean == pytest.approx(np.mean(expected))
    assert found.low < found.mean < found.high


def test_helpful_scores_are_right_and_their_negatives_wrong():
    scores, parts, losses = made()
    assert lds(scores, parts, losses).mean == pytest.approx(1)
    assert lds(-scores, parts, losses).mean == pytest.approx(-1)
    assert lds(scores, parts, losses[:, 0]).mean == pytest.approx(1)


def test_scores_that_say_nothing_have_none():
    scores, parts, losses = made(noise=1.0)
    found = lds(torch.zeros_like(scores), parts, losses)
    assert (found.mean, found.low, found.high) == (0, 0, 0)


def test_the_interval_covers_what_more_parts_would_find():
    """In nineteen of twenty draws of parts, queries and noise, or nearly."""
    truth = lds(*made(m=400, parts=2000, noise=1.0, seed=1000), resamples=1).mean
    covered = 0
    for seed in range(60):
        found = lds(*made(m=20, parts=40, noise=1.0, seed=seed), resamples=200)
        covered += found.low <= truth <= found.high
    assert 52 <= covered <= 60


@pytest.mark.parametrize("seeds", [2, 4])
def test_no_score_is_above_the_ceiling_but_for_chance(seeds):
    """The true scores reach it: their correlation with the mean over seeds is the bound."""
    scores, parts, losses = made(m=300, parts=200, noise=1.0, seeds=seeds)
    found = ceiling(losses)
    assert found.seeds == seeds
    assert found.seed_to_seed == pytest.approx(0.5, abs=0.04)  # of ranks a little less
    assert lds(scores, parts, losses, resamples=1).mean == pytest.approx(found.bound, abs=0.02)


def test_without_noise_the_ceiling_is_one_and_with_nothing_else_near_zero():
    *_, losses = made()
    assert ceiling(losses).bound == pytest.approx(1)
    noise = torch.randn((200, 2, 50), generator=torch.Generator().manual_seed(0))
    assert ceiling(noise).bound < 0.2


def test_what_does_not_fit_is_refused():
    scores, parts, losses = made()
    for wrong in (
        (scores[:, 1:], parts, losses), (scores, parts[1:], losses), (scores[1:], parts, losses),
        (scores, parts[:2], losses[:2]), (scores, parts, losses * float("nan")),
    ):  # fmt: skip
        with pytest.raises(OptionError):
            lds(*wrong)
    for wrong in (losses[:, :1], losses[:2], losses[:, 0]):
        with pytest.raises(OptionError):
            ceiling(wrong)
