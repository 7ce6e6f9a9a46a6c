"""Residuals against dense float64 curvatures."""

from __future__ import annotations

import pytest
import torch

from conftest import make_model, make_rows
from datainf import collect, tasks
from datainf.errors import OptionError
from datainf.estimators import ConjugateGradient
from datainf.evaluation import inverse_residuals


@pytest.fixture(scope="module")
def stores(tmp_path_factory, tokenizer):
    folder, model = tmp_path_factory.mktemp("stores"), make_model("llama").double()
    rows, task = make_rows("llama"), tasks.CausalLM(tokenizer)
    train = collect(model, rows * 2, task, out=folder / "train")
    return train, collect(model, rows[1:4], task, out=folder / "query")


def dense(stores, solve, damping=0.1):
    """Both residuals from F as a matrix; solve(G, V, lam) gives R."""
    V_all, FR_all = [], []
    for block in stores[0].index.blocks:
        G, V = (store.blocks[block.name].to_dense().double() for store in stores)
        lam = damping * float(G.square().sum(1).mean()) / G.shape[1]
        F = G.T @ G / len(G) + lam * torch.eye(G.shape[1], dtype=torch.float64)
        V_all.append(V)
        FR_all.append(solve(G, V, lam) @ F)
    V, FR = torch.cat(V_all, 1), torch.cat(FR_all, 1)
    factor = (V * FR).sum(1) / FR.square().sum(1)
    size = V.norm(dim=1)
    return (V - FR).norm(dim=1) / size, (V - factor[:, None] * FR).norm(dim=1) / size


def closed_form(G, V, lam):
    C = (G @ V.T) / (lam + G.square().sum(1))[:, None]
    return (V - C.T @ G / len(G)) / lam


@pytest.mark.parametrize(
    ("method", "solve"),
    [
        ("gradient", lambda G, V, lam: V),  # noqa: ARG005
        ("weighted-gradient", lambda G, V, lam: V / lam),  # noqa: ARG005
        ("datainf", closed_form),
    ],
)
def test_residuals_of_closed_forms(stores, method, solve):
    found = inverse_residuals(*stores, method)
    relative, scaled = dense(stores, solve)
    torch.testing.assert_close(found.relative, relative)
    torch.testing.assert_close(found.scaled, scaled)
    assert (found.scaled <= found.relative * (1 + 1e-12)).all()


def test_solvers_that_have_converged(stores):
    assert inverse_residuals(*stores, "exact").relative.max() < 1e-6
    assert inverse_residuals(*stores, ConjugateGradient(steps=200)).relative.max() < 1e-6
    few = [inverse_residuals(*stores, "cg", steps=k, blocks="model").relative for k in (2, 30)]
    assert (few[1] < few[0]).all()


def test_float32_stores(tmp_path, tokenizer):
    model, rows = make_model("llama"), make_rows("llama")
    task = tasks.CausalLM(tokenizer)
    train, query = (collect(model, r, task, out=tmp_path / str(len(r))) for r in (rows, rows[:2]))
    assert inverse_residuals(train, query, "exact").relative.max() < 1e-5
    relative, _ = dense((train, query), closed_form)
    found = inverse_residuals(train, query).relative
    torch.testing.assert_close(found, relative, rtol=1e-4, atol=1e-5)


def test_options_are_those_of_attribute(stores):
    with pytest.raises(OptionError, match="unknown blocks"):
        inverse_residuals(*stores, blocks="layer")
    unit = inverse_residuals(*stores, normalize="unit", damping="trace:0.02")
    assert not torch.allclose(unit.relative, inverse_residuals(*stores).relative)
