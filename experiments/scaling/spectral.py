"""How far DataInf's operator is from the inverse that it stands for.

    D = (1/n) Σ_i (g_i g_iᵀ + λI)⁻¹ − (GᵀG/n + λI)⁻¹

With A_i = g_i g_iᵀ + λI, their mean A and Δ_i = A_i − A,

    D = (1/n) Σ_i A⁻¹ Δ_i A_i⁻¹ Δ_i A⁻¹,

for the terms of first order sum to nothing. So D is positive semidefinite (the inverse is operator
convex), and with b = max_i ‖g_i‖², which bounds ‖Δ_i‖,

    ‖D‖₂ ≤ min(1/λ, b²/λ³).

Entries of size 1 have b = d: this is the O(d²) of the paper's Theorem 1, until 1/λ is reached.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse.linalg import LinearOperator, eigsh

TOLERANCE = 1e-4
"""Of the eigenvalue, relative; what is found is nearer than that, the error being quadratic."""
ROUNDING = 1e-15
"""λ‖D‖ of gradients that are all alike is nothing but this."""


class InverseGap:
    """D of a block's gradients G [n, d], for any λ; in float64, the smaller side factored."""

    def __init__(self, G: np.ndarray) -> None:
        self.G = np.asarray(G, dtype=np.float64)
        n, d = self.G.shape
        self.sq_norms = np.square(self.G).sum(axis=1)
        self._second_moment = self.G.T @ self.G / n if d <= n else self.G @ self.G.T / n

    def operator(self, lam: float) -> LinearOperator:
        """D, [d, d]."""
        n, d = self.G.shape
        S = self._second_moment
        factor = cho_factor(S + lam * np.eye(len(S)), check_finite=False)
        weights = 1 / (n * (lam + self.sq_norms))

        def product(x: np.ndarray) -> np.ndarray:
            x = x.ravel()
            Gx = self.G @ x
            if d <= n:
                mean_of_inverses = (x - self.G.T @ (weights * Gx)) / lam
                gap: np.ndarray = mean_of_inverses - cho_solve(factor, x, check_finite=False)
            else:  # both are x/λ less something in the span of G; the x/λ cancels on paper
                inner = cho_solve(factor, Gx, check_finite=False) / n - weights * Gx
                gap = self.G.T @ inner / lam
            return gap

        return LinearOperator((d, d), matvec=product, dtype=np.float64)

    def norm(self, lam: float) -> float:
        """‖D‖₂, its largest eigenvalue."""
        D, d = self.operator(lam), self.G.shape[1]
        start = np.random.default_rng(0).standard_normal(d)
        size = float(np.linalg.norm(D.matvec(start)) / np.linalg.norm(start))
        if d == 1 or size * lam < ROUNDING:  # nothing for Lanczos to do
            return size
        largest = eigsh(D, k=1, which="LA", v0=start, tol=TOLERANCE, return_eigenvectors=False)
        return float(largest[0])

    def bound(self, lam: float) -> float:
        """min(1/λ, b²/λ³)."""
        return min(1.0, float(self.sq_norms.max() / lam) ** 2) / lam
