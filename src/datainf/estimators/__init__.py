"""Estimators of V F⁻¹Gᵀ, one method a file. They know matrices, and nothing of disks or models."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from datainf.errors import OptionError
from datainf.estimators.base import BlockScores, Defaults, Estimator, Fitted, Solution
from datainf.estimators.cg import ConjugateGradient
from datainf.estimators.datainf import DataInf
from datainf.estimators.exact import Exact
from datainf.estimators.gauss_newton import GaussNewton
from datainf.estimators.gradient import Gradient, WeightedGradient
from datainf.estimators.lissa import LiSSA
from datainf.estimators.ridge import Ridge

BY_NAME: dict[str, type[Estimator]] = {
    kind.name: kind
    for kind in (
        GaussNewton,
        Ridge,
        DataInf,
        Exact,
        ConjugateGradient,
        LiSSA,
        Gradient,
        WeightedGradient,
    )
}
"""The estimators by the names that `datainf.attribute` takes for its method."""


def from_name(method: str | Estimator, *, steps: int | None = None) -> Estimator:
    """An estimator from its name; `steps` is for `ridge`, `cg` and `lissa`.

    Raises `OptionError` for an unknown name, or for steps given to a method that has none or, an
    estimator, its own.
    """
    if isinstance(method, Estimator):
        if steps is not None:
            raise OptionError(
                f"steps={steps} beside an estimator, which has its own options",
                remedy=f"the method's name, {method.name!r}; or the steps in the estimator",
            )
        return method
    if method not in BY_NAME:
        raise OptionError(f"unknown method {method!r}", remedy=f"one of {', '.join(BY_NAME)}")
    if steps is None:
        return BY_NAME[method]()
    kind: Any = BY_NAME[method]
    if "steps" not in {field.name for field in fields(kind)}:
        raise OptionError(
            f"method {method!r} takes no steps", remedy="steps with ridge, cg or lissa only"
        )
    made: Estimator = kind(steps=steps)
    return made


__all__ = [
    "BY_NAME",
    "BlockScores",
    "ConjugateGradient",
    "DataInf",
    "Defaults",
    "Estimator",
    "Exact",
    "Fitted",
    "GaussNewton",
    "Gradient",
    "LiSSA",
    "Ridge",
    "Solution",
    "WeightedGradient",
    "from_name",
]
