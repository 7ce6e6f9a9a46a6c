"""Inputs that every estimator is tested on, and the dense float64 truths they are held to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from datainf.linalg import (
    ChunkedMatrix,
    ColumnScaled,
    GradientMatrix,
    HStack,
    RowScaled,
    accumulate_dtype,
)


@dataclass(frozen=True)
class Case:
    """G [n, d] and V [m, d] in float64; `wrap` makes the operator of G's form."""

    name: str
    G: Tensor
    V: Tensor
    wrap: Callable[[Tensor], GradientMatrix]

    def matrix(self, dtype: torch.dtype) -> GradientMatrix:
        return self.wrap(self.G.to(dtype))

    def __str__(self) -> str:
        return self.name


def chunked(G: Tensor, sizes: tuple[int, ...] = (2, 1)) -> ChunkedMatrix:
    """G in chunks of uneven sizes."""
    pieces, start, turn = [], 0, 0
    while start < len(G):
        pieces.append(G[start : start + sizes[turn % len(sizes)]])
        start += len(pieces[-1])
        turn += 1
    offsets = [0, *torch.tensor([len(p) for p in pieces]).cumsum(0).tolist()]
    sources = [lambda piece=piece: piece for piece in pieces]
    return ChunkedMatrix(sources, offsets, G.shape[1], accumulate_dtype(G.dtype))


def stacked(G: Tensor) -> GradientMatrix:
    """G as two blocks side by side."""
    cut = max(1, G.shape[1] // 3)
    return (
        HStack([chunked(G[:, :cut]), chunked(G[:, cut:], (3,))]) if G.shape[1] > 1 else chunked(G)
    )


def scaled(G: Tensor) -> GradientMatrix:
    """G as twice itself with its rows halved."""
    return RowScaled(stacked(2 * G), torch.full((len(G),), 0.5, dtype=G.dtype))


def side_by_side(G: Tensor) -> GradientMatrix:
    """G as two blocks whose rows have scales of their own, as rows of int8 do."""
    scale = 2.0 ** (torch.arange(len(G)) % 3).to(G.dtype)
    parts = G.split(max(1, G.shape[1] // 2), dim=1)
    return HStack(
        [
            RowScaled(chunked(part / s[:, None]), s)
            for part, s in zip(parts, (scale, 1 / scale, scale), strict=False)
        ]
    )


def in_a_metric(G: Tensor) -> GradientMatrix:
    """G as itself with its columns divided and multiplied again, by powers of two."""
    scale = (2.0 ** (torch.arange(G.shape[1]) % 5 - 2)).to(G.dtype)
    return ColumnScaled(stacked(G / scale), scale)


def _random(n: int, d: int, m: int, seed: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    # Rows share a direction, as gradients of one model do.
    common = torch.randn(1, d, generator=draw, dtype=torch.float64)
    G = torch.randn(n, d, generator=draw, dtype=torch.float64) + common
    V = torch.randn(m, d, generator=draw, dtype=torch.float64) + common
    return G, V


def cases() -> list[Case]:
    shapes = {"n<d": (5, 17, 3), "n=d": (9, 9, 4), "n>d": (23, 6, 3), "n=1": (1, 7, 2),
              "d=1": (8, 1, 3), "m=1": (7, 12, 1)}  # fmt: skip
    found = []
    for seed, (name, (n, d, m)) in enumerate(shapes.items()):
        G, V = _random(n, d, m, seed)
        found.append(Case(name, G, V, chunked))
        found.append(Case(f"{name} stacked", G, V, stacked))
    G, V = _random(8, 11, 3, 50)
    found.append(Case("row-scaled", G, V, scaled))
    found.append(Case("row-scaled parts", G, V, side_by_side))
    found.append(Case("column-scaled", G, V, in_a_metric))
    holes = G.clone()
    holes[[1, 4]] = 0
    found.append(Case("zero rows", holes, V, chunked))
    found.append(Case("duplicate rows", G[[0, 1, 1, 2, 2, 2, 3, 3]], V, chunked))
    found.append(Case("identical rows", G[:1].expand(6, -1).clone(), V, chunked))
    found.append(Case("zero query", G, torch.cat([V, torch.zeros(1, 11).double()]), chunked))
    for scale in (1e-6, 1e-3, 1e3, 1e6):
        found.append(Case(f"scale {scale:g}", scale * G, scale * V, stacked))
    rows = torch.logspace(-6, 6, 8, dtype=torch.float64)[:, None]
    found.append(Case("rows of all scales", rows * G, V, chunked))
    return found


def curvature(G: Tensor, lam: float) -> Tensor:
    """F = GᵀG/n + λI, dense."""
    return G.T @ G / len(G) + lam * torch.eye(G.shape[1], dtype=G.dtype)


def exact_scores(G: Tensor, V: Tensor, lam: float) -> Tensor:
    return V @ torch.linalg.inv(curvature(G, lam)) @ G.T


def datainf_operator(G: Tensor, lam: float) -> Tensor:
    """(1/n) Σ_i (g_i g_iᵀ + λI)⁻¹, each inverse formed."""
    eye = torch.eye(G.shape[1], dtype=G.dtype)
    return torch.stack([torch.linalg.inv(torch.outer(g, g) + lam * eye) for g in G]).mean(0)


def datainf_scores(G: Tensor, V: Tensor, lam: float) -> Tensor:
    return V @ datainf_operator(G, lam) @ G.T


def cg_scores(G: Tensor, V: Tensor, lam: float, steps: int) -> Tensor:
    """Textbook conjugate gradients, a query at a time."""
    F, rows = curvature(G, lam), []
    for v in V:
        x, r, p = torch.zeros_like(v), v.clone(), v.clone()
        for _ in range(steps):
            if r.norm() <= 1e-15 * v.norm():
                break
            a = (r @ r) / (p @ F @ p)
            x, new = x + a * p, r - a * (F @ p)
            p, r = new + (new @ new) / (r @ r) * p, new
        rows.append(x)
    return torch.stack(rows) @ G.T


def ridge_scores(G: Tensor, V: Tensor, lam: float, steps: int) -> Tensor:
    """Textbook conjugate gradients in the dual, (K + nλI) a = G v, a query at a time; n a."""
    n = len(G)
    A, rows = G @ G.T + n * lam * torch.eye(n, dtype=G.dtype), []
    for b in V @ G.T:
        a, r, p = torch.zeros_like(b), b.clone(), b.clone()
        for _ in range(steps):
            if r.norm() <= 1e-15 * b.norm():
                break
            step = (r @ r) / (p @ A @ p)
            a, new = a + step * p, r - step * (A @ p)
            p, r = new + (new @ new) / (r @ r) * p, new
        rows.append(n * a)
    return torch.stack(rows)


def relative_error(found: Tensor, truth: Tensor) -> float:
    """‖found − truth‖ / ‖truth‖, Frobenius."""
    scale = truth.norm()
    return float((found.double() - truth).norm() / (scale if scale > 0 else 1))
