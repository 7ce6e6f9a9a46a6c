"""Kernel ridge regression on the cosines of gradients: three steps of conjugate gradients.

The solve is that of `cg`; what makes the method are the options that it brings. Gradients are
taken in the metric that trained the model (Adam's), scaled to norm 1, and curved as one block for
the whole model, with a damping of so many rows, λ = c/n. In the dual that is

    scores = K_q (K + cI)⁻¹,   K_ij = cos(g_i, g_j),

ridge regression with the cosine as its kernel. docs/ridge.md derives it and says what it was
tested on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from datainf.estimators.base import Defaults
from datainf.estimators.cg import ConjugateGradient


@dataclass(frozen=True)
class Ridge(ConjugateGradient):
    """`steps` of conjugate gradients, two thin products each: what retraining does is foretold no
    better by the whole solve."""

    steps: int = 3
    name: ClassVar[str] = "ridge"
    defaults: ClassVar[Defaults] = Defaults("flow", "unit", "auto", "model")
