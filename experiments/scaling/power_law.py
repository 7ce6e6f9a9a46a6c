"""Exponents from measured sizes: least squares in logarithms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PowerLaw:
    """value ≈ constant · Π_k x_k^exponents[k]; `spread` is the residuals' standard deviation in
    natural logarithms, `points` how many there were."""

    exponents: dict[str, float]
    constant: float
    spread: float
    points: int


def power_law(sizes: Sequence[Mapping[str, float]], values: Sequence[float]) -> PowerLaw | None:
    """The law nearest to the values over the sizes' names, a size that never varies left out.

    None where there are no more points than unknowns, or where sizes vary together only.
    """
    names = [name for name in (sizes[0] if sizes else {}) if len({s[name] for s in sizes}) > 1]
    X = np.array([[1.0, *(np.log(s[name]) for name in names)] for s in sizes])
    if not names or len(values) <= X.shape[1] or np.linalg.matrix_rank(X) < X.shape[1]:
        return None
    y = np.log(np.asarray(values, dtype=np.float64))
    solution, *_ = np.linalg.lstsq(X, y, rcond=None)
    spread = float(np.std(y - X @ solution))
    exponents = dict(zip(names, solution[1:].tolist(), strict=True))
    return PowerLaw(exponents, float(np.exp(solution[0])), spread, len(values))
