"""Removal tests on a world whose answer is known: losses that are linear in who is there."""

from __future__ import annotations

import pytest
import torch

from datainf.errors import OptionError
from datainf.evaluation import Scored, held_out, judge, removal
from datainf.evaluation.removal import RANDOM

N, M, K = 20, 4, 3


@pytest.fixture
def effects():
    """[m, n]: by how much the presence of an example lowers a query's loss."""
    return torch.randn((M, N), generator=torch.Generator().manual_seed(0))


def world(effects, asked):
    def losses(parts):
        asked.append(parts)
        exact = -(effects @ parts.float().T).T  # [S, m]
        return torch.stack([exact, exact + 1], dim=1)  # two seeds, one always higher

    return losses


def test_changes_are_those_of_the_rows_left_out(effects):
    asked = []
    found = removal({"oracle": effects, "reversed": -effects}, K, world(effects, asked))
    assert list(found) == ["oracle", "reversed", RANDOM]
    total = effects.mean(dim=0)
    top, bottom = total.topk(K).values.sum(), -total.topk(K, largest=False).values.sum()
    assert found["oracle"].helpful.mean == pytest.approx(float(top), abs=1e-5)
    assert found["oracle"].harmful.mean == pytest.approx(-float(bottom), abs=1e-5)
    assert found["reversed"].helpful == found["oracle"].harmful
    assert found["oracle"].helpful.low <= found["oracle"].helpful.mean
    assert found[RANDOM].helpful == found[RANDOM].harmful
    assert asked[0][0].all()
    assert (asked[0][1:].sum(dim=1) == N - K).all()


def test_no_number_that_leaves_nothing(effects):
    for k in (0, N, -1):
        with pytest.raises(OptionError, match="cannot be left out"):
            removal({"a": effects}, k, world(effects, []))


def test_dampings_are_chosen_on_queries_that_are_not_reported(effects):
    """One damping is right for the held-out queries and wrong for the others."""
    parts = torch.rand((12, N), generator=torch.Generator().manual_seed(1)) > 0.5
    losses = -(parts.float() @ effects.T)
    mask = held_out(M)
    assert mask.sum() == M // 2
    tempting = torch.where(mask[:, None], effects, -effects)
    found = judge(Scored(-effects, {"1": tempting, "2": -effects}), parts, losses, mask)
    assert found.own.mean == pytest.approx(-1)
    assert found.damping == "1"
    assert found.best.mean == pytest.approx(-1)
    kept = judge(Scored(effects, {"1": -effects}), parts, losses, mask)
    assert (kept.damping, kept.best) == ("own", kept.own)


def test_a_single_query_has_nothing_to_choose_on(effects):
    parts = torch.rand((12, N), generator=torch.Generator().manual_seed(1)) > 0.5
    losses = -(parts.float() @ effects[:1].T)
    found = judge(Scored(effects[:1], {"1": effects[:1]}), parts, losses, held_out(1))
    assert found.own.mean == pytest.approx(1)
    assert found.best is None
    with pytest.raises(OptionError, match="every query is held out"):
        judge(Scored(effects), parts, losses, torch.ones(M, dtype=torch.bool))
