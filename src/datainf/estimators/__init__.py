"""Estimators of V F⁻¹Gᵀ, one method a file. They know matrices, and nothing of disks or models."""

from __future__ import annotations

from datainf.errors import OptionError
from datainf.estimators.base import BlockScores, Estimator, Fitted, Solution
from datainf.estimators.cg import ConjugateGradient
from datainf.estimators.datainf import DataInf
from datainf.estimators.exact import Exact
from datainf.estimators.gradient import Gradient, WeightedGradient
from datainf.estimators.lissa import LiSSA

BY_NAME: dict[str, type[Estimator]] = {
    kind.name: kind
    for kind in (DataInf, Exact, ConjugateGradient, LiSSA, Gradient, WeightedGradient)
}


def from_name(method: str | Estimator, *, steps: int | None = None) -> Estimator:
    """An estimator from its name; `steps` is for `cg` and `lissa`.

    Raises `OptionError` for an unknown name, or for steps given to a method that has none.
    """
    if isinstance(method, Estimator):
        return method
    if method not in BY_NAME:
        raise OptionError(f"unknown method {method!r}", remedy=f"one of {', '.join(BY_NAME)}")
    if steps is None:
        return BY_NAME[method]()
    if method == ConjugateGradient.name:
        return ConjugateGradient(steps=steps)
    if method == LiSSA.name:
        return LiSSA(steps=steps)
    raise OptionError(f"method {method!r} takes no steps", remedy="steps with cg or lissa only")


__all__ = [
    "BY_NAME",
    "BlockScores",
    "ConjugateGradient",
    "DataInf",
    "Estimator",
    "Exact",
    "Fitted",
    "Gradient",
    "LiSSA",
    "Solution",
    "WeightedGradient",
    "from_name",
]
