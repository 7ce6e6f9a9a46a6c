"""Neighbours against all cosines, dense; near-duplicates against one comparison after another."""

from __future__ import annotations

import pytest
import torch

from conftest import make_model, make_rows
from datainf import collect, tasks
from datainf.applications import neighbours as module
from datainf.applications.neighbours import (
    directions,
    nearest,
    neighbours,
    without_near_duplicates,
)


@pytest.fixture(scope="module")
def store(tokenizer, tmp_path_factory):
    rows = make_rows("llama") * 4
    out = tmp_path_factory.mktemp("store") / "s"
    return collect(make_model("llama"), rows, tasks.CausalLM(tokenizer), out=out)


def dense(store):
    return torch.cat([store.blocks[b.name].to_dense() for b in store.index.blocks], dim=1)


def test_directions_are_the_gradients_own_where_these_are_short(store):
    G = torch.nn.functional.normalize(dense(store), dim=1)
    Z = directions(store, columns=10_000)
    assert torch.allclose(Z @ Z.T, G @ G.T, atol=1e-5)


def test_made_smaller_they_keep_their_cosines(store):
    G = torch.nn.functional.normalize(dense(store), dim=1)
    Z = directions(store, columns=256)
    assert Z.shape[1] < G.shape[1]
    off = (Z @ Z.T - G @ G.T).abs()
    assert off.max() < 0.35
    assert off.mean() < 0.08
    assert torch.equal(Z, directions(store, columns=256)), "the same from call to call"


@pytest.mark.parametrize("chunk", [1, 10**9])
def test_neighbours_are_the_largest_cosines_of_either_sign(chunk, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_BYTES", chunk)
    Z = torch.nn.functional.normalize(torch.randn(30, 5), dim=1)
    found = neighbours(Z, 4)
    S = Z @ Z.T
    for i in range(30):
        others = [j for j in range(30) if j != i]
        truth = sorted(others, key=lambda j: -abs(float(S[i, j])))[:4]
        assert sorted(found.rows[i].tolist()) == sorted(truth)
        assert torch.allclose(found.cosines[i], S[i, found.rows[i]], atol=1e-6)


def test_agreement_is_of_the_signs():
    Z = torch.tensor([[1.0, 0], [1, 0], [1, 0], [-1, 0], [0, 1]])
    agreement = neighbours(Z, 3).agreement
    assert agreement[0] == pytest.approx(1 / 3)
    assert agreement[3] == pytest.approx(-1)
    assert agreement[4] == 0


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_examples_have_few_neighbours(n):
    found = neighbours(torch.eye(max(n, 1))[:n], 10)
    assert found.rows.shape == (n, max(0, n - 1))
    assert found.agreement.tolist() == [0.0] * n
    for row, near in enumerate(found.rows.tolist()):
        assert sorted([row, *near]) == list(range(n)), "none is its own neighbour"


@pytest.mark.parametrize("part", [1, 3, 256])
@pytest.mark.parametrize("pinned", [0, 4])
@pytest.mark.parametrize("wanted", [None, 0, 5, 100])
def test_of_near_duplicates_the_first_stays(part, wanted, pinned, monkeypatch):
    monkeypatch.setattr(module, "PART", part)
    generator = torch.Generator().manual_seed(0)
    Z = torch.nn.functional.normalize(torch.randn(20, 3, generator=generator), dim=1)
    order = torch.randperm(20, generator=generator)
    truth = []
    for row in order.tolist():
        if (wanted is None or len(truth) < wanted) and (
            len(truth) < pinned or all(float(Z[row] @ Z[other]) <= 0.8 for other in truth)
        ):
            truth.append(row)
    assert without_near_duplicates(Z, order, 0.8, wanted, pinned).tolist() == truth


@pytest.mark.parametrize("part", [1, 3, 256])
def test_the_nearest_of_those_before(part, monkeypatch):
    monkeypatch.setattr(module, "PART", part)
    Z = torch.nn.functional.normalize(torch.randn(20, 3), dim=1)
    stay, rows, before = torch.tensor([7, 2, 11, 5]), [1, 3, 4, 8, 19], [1, 2, 2, 4, 3]
    found, cosines = nearest(Z, rows, stay, before)
    for row, count, other, cosine in zip(rows, before, found, cosines, strict=True):
        truth = [float(Z[row] @ Z[own]) for own in stay[:count]]
        assert int(other) == int(stay[truth.index(max(truth))])
        assert float(cosine) == pytest.approx(max(truth), abs=1e-6)
    assert [len(one) for one in nearest(Z, [], stay, [])] == [0, 0]
