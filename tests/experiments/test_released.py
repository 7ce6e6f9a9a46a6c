"""The released loops against the package's estimators, and where they part."""

from __future__ import annotations

import pytest
import torch

import datainf
from conftest import make_model, make_rows
from datainf import tasks
from estimators.grid import curvature, relative_error
from experiments.cost import released
from experiments.cost.released import Quirks

ALL = Quirks(include=lambda name: True)  # noqa: ARG005


@pytest.fixture(scope="module", params=[torch.float64, torch.float32], ids=str)
def found(request, tmp_path_factory, tokenizer):
    """The model's task, stores of its training and query gradients, and its precision."""
    folder = tmp_path_factory.mktemp("stores")
    model = make_model("bert").to(request.param)
    rows, task = make_rows("bert"), tasks.SequenceClassification(tokenizer).for_model(model)
    train = datainf.collect(model, rows * 2 + rows[:1], task, out=folder / "train", shard_rows=4)
    query = datainf.collect(model, rows[1:4], task, out=folder / "query")
    tolerance = 1e-6 if request.param == torch.float64 else 1e-4  # scores are kept in float32
    return model, task, train, query, tolerance


def test_gradients_one_at_a_time_are_those_of_the_store(found):
    model, task, train, _, tolerance = found
    rows = make_rows("bert")
    model.train()
    alone, stored = released.gradients(model, task, rows, ALL), released.from_store(train, ALL)
    assert model.training
    assert len(stored) == 13
    assert list(alone[0]) == [block.name for block in train.index.blocks]
    for a, b in zip(alone, stored, strict=False):
        for name, g in a.items():
            assert g.shape == b[name].shape
            assert relative_error(g, b[name].double()) < tolerance, name


def test_biases_and_the_dense_layer_of_the_head_are_left_out(found):
    model, task, train, *_ = found
    left_out = set(released.from_store(train, ALL)[0]) - set(released.from_store(train)[0])
    assert [name.rpartition(".")[2] for name in left_out] == ["bias"]
    assert set(released.gradients(model, task, make_rows("bert")[:1])[0]) == set(
        released.from_store(train)[0]
    )
    head = "base_model.model.classifier.modules_to_save.default."
    assert not released.has_curvature(head + "dense.weight")
    assert released.has_curvature(head + "out_proj.weight")


SAME = {
    "gradient": ("gradient", ALL, None),
    "weighted": ("gradient", Quirks(include=ALL.include, weighted=True), "weighted-gradient"),
    "datainf": ("datainf", ALL, None),
    "lissa": ("lissa", Quirks(include=ALL.include, lissa_as_released=False), None),
    "exact": ("exact", ALL, None),
    "symmetric": ("exact", Quirks(include=ALL.include, symmetric=True), None),
}


@pytest.mark.parametrize("case", SAME)
def test_scores_are_those_of_the_package(found, case):
    _, _, train, query, tolerance = found
    method, quirks, ours = SAME[case]
    v = released.mean(released.from_store(query, quirks))
    scored = released.METHODS[method](released.from_store(train, quirks), v, quirks)
    truth = datainf.attribute(train, query, ours or method).values.double().mean(0)
    # eig finds the many equal eigenvalues of a block with d > n one by one
    loose = 50 if method == "exact" else 1
    assert relative_error(scored.scores, truth) < loose * tolerance
    assert 0 <= scored.timing.as_released < scored.timing.with_products


def test_lissa_as_released_damps_with_the_wrong_sign():
    draw = torch.Generator().manual_seed(0)
    G = torch.randn(40, 6, generator=draw, dtype=torch.float64) / 2
    v = torch.randn(6, generator=draw, dtype=torch.float64)
    train, query = [{"block": g} for g in G], {"block": v}
    lam = released.damping(list(G))
    assert lam == pytest.approx(0.1 * float(G.square().sum(1).mean()) / 6)

    def series(damped, steps):
        F, r = G.T @ G / 40 + damped * torch.eye(6).double(), v
        for _ in range(steps):
            r = v + r - F @ r
        return G @ r

    found = released.lissa(train, query).scores
    assert torch.allclose(found, series(-lam, 10), rtol=1e-12)
    assert relative_error(found, series(lam, 10)) > 0.01
    # The series converges here, the eigenvalues being below 1: to another matrix's inverse.
    many = released.lissa(train, query, Quirks(lissa_steps=500)).scores
    assert torch.allclose(many, G @ torch.linalg.solve(curvature(G, -lam), v), rtol=1e-6)
    rightly = released.lissa(train, query, Quirks(lissa_steps=500, lissa_as_released=False))
    truth = G @ torch.linalg.solve(curvature(G, lam), v)
    assert torch.allclose(rightly.scores, truth, rtol=1e-6)
    assert relative_error(many, truth) > 0.01


def test_hessian_free_leaves_out_the_weights_of_blocks(found):
    _, _, train, query, _ = found
    v, rows = released.mean(released.from_store(query)), released.from_store(train)
    plain, weighted = (
        released.hessian_free(rows, v, Quirks(weighted=weighted)).scores for weighted in (0, 1)
    )
    cosine = torch.nn.functional.cosine_similarity(plain, weighted, dim=0)
    assert cosine < 0.999  # not a multiple: blocks have dampings of their own


def test_the_timer_of_the_release_stops_before_the_products(found):
    _, _, train, query, _ = found
    v, rows = released.mean(released.from_store(query)), released.from_store(train)
    timing = released.hessian_free(rows * 20, v).timing
    assert timing.as_released < timing.with_products / 2
