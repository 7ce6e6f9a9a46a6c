"""DataInf's operator less the inverse, against both formed in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from estimators.grid import curvature, datainf_operator
from experiments.scaling.spectral import InverseGap

SHAPES = [(30, 7), (9, 9), (6, 21), (1, 5), (8, 1), (40, 24)]


def dense_gap(G, lam):
    G = torch.from_numpy(G)
    return (datainf_operator(G, lam) - torch.linalg.inv(curvature(G, lam))).numpy()


@pytest.fixture(params=SHAPES, ids=str)
def G(request):
    n, d = request.param
    draw = np.random.default_rng(3)
    return draw.standard_normal((n, d)) * draw.uniform(0.2, 2, (n, 1)) + 0.3


@pytest.mark.parametrize("lam", [1e-2, 1.0, 30.0])
def test_products_norm_and_bound(G, lam):
    gap, truth = InverseGap(G), dense_gap(G, lam)
    eye = np.eye(G.shape[1])
    found = np.stack([gap.operator(lam).matvec(column) for column in eye], axis=1)
    np.testing.assert_allclose(found, truth, atol=1e-12 / lam)
    eigenvalues = np.linalg.eigvalsh(truth)
    assert eigenvalues[0] >= -1e-12 / lam  # DataInf is never below the exact inverse
    norm = np.abs(eigenvalues).max()
    assert gap.norm(lam) == pytest.approx(norm, rel=1e-6, abs=1e-12 / lam)
    assert norm <= gap.bound(lam) * (1 + 1e-9)
    assert gap.bound(lam) <= 1 / lam


def test_alike_gradients_leave_no_gap():
    G = np.ones((5, 4)) * np.arange(1, 5)
    assert InverseGap(G).norm(0.1) == pytest.approx(0, abs=1e-10)


def test_orthogonal_gradients_reach_what_is_known_of_them():
    # n orthogonal rows of norm 1: D = (1/λ)(1/(1 + nλ) ... ) on their span, by hand.
    n, lam = 6, 0.01
    found = InverseGap(np.eye(n)).norm(lam)
    inverse, mean_of_inverses = 1 / (1 / n + lam), (1 / (1 + lam) + (n - 1) / lam) / n
    assert found == pytest.approx(mean_of_inverses - inverse, rel=1e-9)
