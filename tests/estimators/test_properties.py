"""What the mathematics promises of every method."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from datainf.errors import OptionError
from datainf.estimators import (
    BY_NAME,
    ConjugateGradient,
    DataInf,
    Exact,
    LiSSA,
    Ridge,
    WeightedGradient,
    base,
    from_name,
)
from datainf.estimators.base import relative_residual
from datainf.linalg import from_dense, symmetric
from datainf.linalg import matrix as matrix_module
from datainf.linalg.spread import SpreadMatrix
from datainf.ranks import Ranks
from estimators.grid import chunked, datainf_operator, exact_scores, relative_error, stacked

shapes = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 4), st.integers(0, 99))


def random(n: int, d: int, m: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(rows, d, generator=draw, dtype=torch.float64) for rows in (n, m))


@pytest.fixture
def data() -> tuple[torch.Tensor, torch.Tensor]:
    return random(11, 7, 3, 0)


def values(method, G, V, lam):
    return from_name(method).fit(G).scores(V, lam).values


@pytest.mark.parametrize("method", [name for name in BY_NAME if name != "gradient"])
def test_large_damping_tends_to_the_weighted_gradient(method, data):
    G, V = data
    lam = 1e9
    expected = V @ G.T / lam
    assert relative_error(values(method, chunked(G), V, lam), expected) < 1e-6


@given(shapes)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_datainf_equals_exact_for_identical_gradients(shape):
    G, V = random(*shape)
    same = G[:1].expand(5, -1).clone()
    lam = 0.1 * float(same[0].square().mean())
    exact = values("exact", chunked(same), V, lam)
    assert relative_error(values("datainf", chunked(same), V, lam), exact) < 1e-9


@given(shapes)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_datainf_is_never_below_exact(shape):
    G, _ = random(*shape)
    lam = 0.1 * float(G.square().mean())
    eye = torch.eye(G.shape[1], dtype=torch.float64)
    datainf = DataInf().fit(chunked(G)).solve(eye, lam).R
    exact = Exact().fit(chunked(G)).solve(eye, lam).R
    assert relative_error(datainf, datainf_operator(G, lam)) < 1e-10
    assert torch.linalg.eigvalsh(datainf - exact)[0] > -1e-10 / lam
    assert torch.linalg.eigvalsh(exact)[0] > 0
    assert torch.linalg.eigvalsh(datainf)[-1] < (1 + 1e-10) / lam


@pytest.mark.parametrize("method", BY_NAME)
def test_order_chunks_and_query_batches_change_nothing(method, data, monkeypatch):
    G, V = data
    lam = 0.05
    whole = values(method, chunked(G, (100,)), V, lam)
    order = torch.randperm(len(G), generator=torch.Generator().manual_seed(1))
    # LiSSA's step comes from a power iteration, good to a few digits only: the step may differ.
    tolerance = 1e-2 if method == "lissa" else 1e-10
    assert relative_error(values(method, chunked(G[order]), V, lam), whole[:, order]) < tolerance
    one_by_one = torch.cat([values(method, chunked(G), v[None], lam) for v in V])
    assert relative_error(one_by_one, whole) < 1e-10
    for bound in ("MAX_CHUNK_BYTES", "SQUARE_CHUNK_BYTES"):
        monkeypatch.setattr(matrix_module, bound, 8)
    assert relative_error(values(method, stacked(G), V, lam), whole) < 1e-10


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (6, 6)])
def test_one_eigendecomposition_serves_all_dampings(shape, monkeypatch):
    G, V = random(*shape, 3, 5)
    calls = []
    eigh = torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda S, **k: calls.append(1) or eigh(S, **k))
    fitted = Exact().fit(chunked(G))
    for lam in (0.01, 0.1, 1.0, 10.0, 0.01):
        assert relative_error(fitted.scores(V, lam).values, exact_scores(G, V, lam)) < 1e-10
        own = exact_scores(G, G, lam).diag()
        assert relative_error(fitted.self_influence(lam).values, own) < 1e-10
    assert len(calls) == 1


@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
def test_exact_refuses_a_damping_lost_in_rounding(shape):
    G = torch.ones(shape, dtype=torch.float64)
    with pytest.raises(OptionError, match="lost in rounding"):
        Exact().fit(chunked(G)).scores(G[:1], 1e-30)


@pytest.mark.parametrize("method", ["exact", "gauss-newton"])
@pytest.mark.parametrize("shape", [(9, 6), (6, 9)])
def test_a_matrix_is_refused_unless_its_factor_fits_too(method, shape, monkeypatch):
    """Two float64 matrices of the smaller side; of a second damping two more, for LAPACK."""
    G, V = (rows.float() for rows in random(*shape, 2, 0))
    whole, free = 2 * 8 * 6 * 6, [0]
    monkeypatch.setattr(symmetric, "available", lambda _: free[0])
    free[0] = whole - 1
    with pytest.raises(OptionError, match="6 × 6"):
        from_name(method).fit(chunked(G)).solve(V, 0.1)
    free[0] = whole
    fitted = from_name(method).fit(chunked(G))
    fitted.solve(V, 0.1)
    free[0] = whole - 1
    with pytest.raises(OptionError, match="6 × 6"):
        fitted.solve(V, 0.2)


def test_a_factorisation_takes_what_is_said():
    """And no copy that torch makes out of sight, which the system counts."""
    program = (
        "import resource, torch\n"
        "from datainf.estimators import Exact\n"
        "from datainf.linalg import from_dense\n"
        "def peak(): return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "Exact().fit(from_dense(torch.eye(300))).solve(torch.ones(1, 300), 1.0)\n"
        "before, k = peak(), 2000\n"
        "Exact().fit(from_dense(torch.eye(k))).solve(torch.ones(1, k), 1.0)\n"
        "print((peak() - before) / (8 * k * k))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    # The matrix, its factor and the rows: 4 bytes a number, and 8 as they are multiplied.
    assert float(told.stdout) < 2 + 0.5 + 1 + 0.4


class Largest(TorchDispatchMode):
    """How many bytes the largest tensor has that is made."""

    nbytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        sizes = [leaf.nbytes for leaf in tree_leaves(made) if isinstance(leaf, torch.Tensor)]
        self.nbytes = max([self.nbytes, *sizes])
        return made


@pytest.mark.parametrize("method", BY_NAME)
@pytest.mark.parametrize("shape", [(600, 3), (40, 50)])
def test_self_influence_takes_no_array_of_all_pairs(method, shape, monkeypatch):
    G, _ = random(*shape, 1, 0)
    matrix, most = from_dense(G), 4 * 8 * max(shape)
    matrix.sq_norms  # noqa: B018 - a store has them
    monkeypatch.setattr(matrix_module, "MAX_CHUNK_BYTES", most)
    whole = from_name(method).fit(matrix).self_influence(0.1).values
    monkeypatch.setattr(base, "SELF_INFLUENCE_BYTES", most)
    fitted = from_name(method).fit(matrix)
    if method in ("exact", "gauss-newton"):  # whose matrix is of the smaller side
        most = max(most, 8 * min(shape) ** 2)
    with Largest() as largest:
        found = fitted.self_influence(0.1).values
    assert relative_error(found, whole) < 1e-10
    assert largest.nbytes <= max(most, G.nbytes)


@pytest.mark.parametrize("kind", [ConjugateGradient, LiSSA])
def test_residuals_are_true_and_fall(kind, data):
    G, V = data
    lam = 0.05
    matrix, previous = chunked(G), float("inf")
    for steps in (1, 3, 6):
        solution = kind(steps=steps).fit(matrix).solve(V, lam)
        truth = relative_residual(matrix, lam, V, solution.R)
        dense = (V - solution.R @ (G.T @ G / len(G) + lam * torch.eye(7).double())).norm(dim=1)
        assert torch.allclose(truth, dense / V.norm(dim=1))
        assert solution.residual == pytest.approx(float(truth.max()), rel=1e-6)
        assert solution.residual < previous
        previous = solution.residual


@pytest.mark.parametrize("steps", [5, 50, 200])
def test_the_residual_of_cg_is_that_of_what_it_returns(steps):
    """In float32, whose rounding stops it at 10⁻⁵; the recurrence goes on to 10⁻⁷."""
    G, V = (rows.float() for rows in random(60, 40, 3, 0))
    G = G * torch.logspace(0, -4, 40)
    lam = 1e-5 * float(G.square().sum(1).mean())
    found = ConjugateGradient(steps=steps).fit(from_dense(G)).solve(V, lam)
    F = G.double().T @ G.double() / 60 + lam * torch.eye(40).double()
    truth = (V - found.R.double() @ F).norm(dim=1) / V.double().norm(dim=1)
    assert found.residual == pytest.approx(float(truth.max()), rel=0.5)


def test_lissa_converges_to_exact(data):
    G, V = data
    lam = 0.3
    found = LiSSA(steps=400).fit(chunked(G)).scores(V, lam).values
    assert relative_error(found, exact_scores(G, V, lam)) < 1e-8


@pytest.mark.parametrize("scored", [True, False], ids=["scores", "solve"])
def test_ridge_goes_as_far_as_its_rows_are_precise(data, scored):
    G, V = data
    fitted, lam = Ridge(steps=60).fit(chunked(G)), 0.3
    found = fitted.scores(V, lam).values if scored else fitted.solve(V, lam).R @ G.T
    assert relative_error(found, exact_scores(G, V, lam)) < 1e-12


def test_cg_stops_at_its_tolerance(data):
    G, V = data
    solution = ConjugateGradient(steps=100, tolerance=1e-3).fit(chunked(G)).solve(V, 0.05)
    assert 0 < solution.residual <= 1e-3


def test_options_are_checked():
    for call in (
        lambda: from_name("influence"),
        lambda: from_name("datainf", steps=3),
        lambda: from_name("cg", steps=0),
        lambda: from_name(ConjugateGradient(steps=2), steps=3),
        lambda: LiSSA(steps=0),
        lambda: ConjugateGradient(tolerance=-1),
    ):
        with pytest.raises(OptionError):
            call()
    assert from_name("cg", steps=2) == ConjugateGradient(steps=2)
    assert from_name(WeightedGradient()) == WeightedGradient()


@pytest.mark.parametrize(("others", "steps"), [(0, 1), (1, 5)])
def test_conjugate_gradients_end_where_all_processes_are_done(others, steps, monkeypatch):
    """By its own rounding each could take another number of steps, and wait for the rest."""
    monkeypatch.setattr(Ranks, "largest", lambda _, number: max(number, others))
    G, taken = SpreadMatrix(from_dense(torch.eye(4)), Ranks()), []
    monkeypatch.setattr(Ranks, "sum", lambda _, X: taken.append(1) or X)
    ConjugateGradient(5).fit(G).solve(torch.ones(1, 4), 0.1)  # which one step solves
    assert len(taken) == steps + 1, "and a product for the residual"
