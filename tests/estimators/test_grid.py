"""Every estimator against dense float64, in float64 and float32."""

from __future__ import annotations

import pytest
import torch

from datainf.estimators import (
    ConjugateGradient,
    DataInf,
    Exact,
    GaussNewton,
    Gradient,
    LiSSA,
    Ridge,
    WeightedGradient,
)
from datainf.estimators.gauss_newton import ROUNDED
from datainf.linalg import Damping
from estimators.grid import (
    Case,
    cases,
    cg_scores,
    curvature,
    datainf_scores,
    exact_scores,
    relative_error,
    ridge_scores,
)

CASES = cases()
DAMPINGS = [Damping(0.1), Damping(10.0), Damping(0.02, "trace"), Damping(0.5, "absolute")]
PRECISION = [(torch.float64, 1e-10), (torch.float32, 2e-4)]


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(params=DAMPINGS, ids=str)
def damping(request: pytest.FixtureRequest, case: Case) -> Damping:
    if request.param.kind == "absolute":  # of the case's own scale, as a person would set it
        return Damping(0.5 * float(case.G.square().sum(1).mean()), "absolute")
    return request.param


@pytest.fixture(params=PRECISION, ids=["float64", "float32"])
def precision(request: pytest.FixtureRequest) -> tuple[torch.dtype, float]:
    return request.param


def rounded(case: Case, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """The case's numbers as the dtype holds them, in float64: rounding the input is no error."""
    return case.G.to(dtype).double(), case.V.to(dtype).double()


def lambda_of(G: torch.Tensor, damping: Damping) -> float:
    square = float(G.square().sum(1).mean())
    factor = {"dimension": square / G.shape[1], "trace": square, "absolute": 1.0}[damping.kind]
    return damping.value * factor


@pytest.mark.parametrize(
    ("estimator", "truth"),
    [
        (DataInf(), datainf_scores),
        (Exact(), exact_scores),
        (Gradient(), lambda G, V, _: V @ G.T),
        (WeightedGradient(), lambda G, V, lam: V @ G.T / lam),
        (ConjugateGradient(steps=3), lambda G, V, lam: cg_scores(G, V, lam, 3)),
        (ConjugateGradient(steps=60), exact_scores),
        (GaussNewton(), exact_scores),
        (Ridge(), lambda G, V, lam: ridge_scores(G, V, lam, 2)),
        (Ridge(steps=1), lambda G, V, lam: ridge_scores(G, V, lam, 1)),
    ],
    ids=[
        "datainf", "exact", "gradient", "weighted-gradient", "cg-3", "cg-converged",
        "gauss-newton", "ridge", "ridge-1",
    ],
)  # fmt: skip
def test_scores_equal_the_dense_truth(estimator, truth, case, damping, precision):
    dtype, tolerance = precision
    G64, V64 = rounded(case, dtype)
    G = case.matrix(dtype)
    lam = damping.lambda_of(G)
    assert lam == pytest.approx(lambda_of(G64, damping), rel=1e-6)
    found = estimator.fit(G).scores(case.V.to(dtype), lam).values
    assert found.shape == (len(V64), len(G64))
    assert relative_error(found, truth(G64, V64, lam)) <= tolerance


def test_ridge_solves_for_what_it_scores(case, damping, precision):
    """By the products of rows with R, as where scores are kept in part; and whether K is formed."""
    dtype, tolerance = precision
    G64, V64 = rounded(case, dtype)
    G = case.matrix(dtype)
    lam = damping.lambda_of(G)
    truth = ridge_scores(G64, V64, lam, 2)
    fitted = Ridge().fit(G)
    solved = fitted.solve(case.V.to(dtype), lam).R.double() @ G64.T
    assert relative_error(solved, truth) <= tolerance
    one_by_one = [fitted.scores(v[None], lam).values for v in case.V.to(dtype)]
    assert relative_error(torch.cat(one_by_one), truth) <= tolerance


@pytest.mark.parametrize(
    ("side", "tolerance"), [(0.5, 1e-9), (2.0, 1 / ROUNDED)], ids=["in float64", "in float32"]
)
def test_gauss_newton_on_either_side_of_its_rounding(case, side, tolerance):
    """Of float32 rows, with a damping next to where their products would drown it."""
    S64, V64 = rounded(case, torch.float32)
    S = case.matrix(torch.float32)
    lam = side * ROUNDED * torch.finfo(torch.float32).eps * float(S.sq_norms.double().mean())
    fitted = GaussNewton().fit(S)
    found = fitted.scores(case.V.float(), lam).values
    assert ("precise" in vars(fitted)) == (side < 1)
    assert relative_error(found, exact_scores(S64, V64, lam)) <= tolerance


def test_lissa_equals_its_series(case, damping, precision):
    dtype, tolerance = precision
    G64, V64 = rounded(case, dtype)
    G = case.matrix(dtype)
    lam = damping.lambda_of(G)
    fitted = LiSSA(steps=7).fit(G)
    top = float(torch.linalg.eigvalsh(G64.T @ G64 / len(G64))[-1])
    assert top * (1 - 1e-5) <= fitted.top_eigenvalue <= 1.06 * top
    s, F = 1 / (fitted.top_eigenvalue + lam), curvature(G64, lam)
    r = V64
    for _ in range(7):
        r = V64 + r - s * r @ F
    found = fitted.scores(case.V.to(dtype), lam).values
    assert relative_error(found, s * r @ G64.T) <= tolerance


def test_self_influence_is_the_diagonal(case, damping, precision):
    dtype, tolerance = precision
    G64, _ = rounded(case, dtype)
    lam = damping.lambda_of(case.matrix(dtype))
    truths = {
        DataInf(): datainf_scores(G64, G64, lam).diag(),
        Exact(): exact_scores(G64, G64, lam).diag(),
        GaussNewton(): exact_scores(G64, G64, lam).diag(),
        Ridge(): ridge_scores(G64, G64, lam, 2).diag(),
        ConjugateGradient(steps=60): exact_scores(G64, G64, lam).diag(),
        Gradient(): G64.square().sum(1),
        WeightedGradient(): G64.square().sum(1) / lam,
    }
    for estimator, truth in truths.items():
        found = estimator.fit(case.matrix(dtype)).self_influence(lam).values
        assert relative_error(found, truth) <= tolerance, estimator.name
    fitted = LiSSA(steps=5).fit(case.matrix(torch.float64))
    all_scores = fitted.scores(case.G, lam).values
    assert relative_error(fitted.self_influence(lam).values, all_scores.diag()) <= 1e-10
