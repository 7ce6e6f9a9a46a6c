"""How much damping a training stands for, from its learning rates: no retraining.

Gradient flow from zero for a time T fits the direction of a curvature s by 1 − exp(−sT), much as a
ridge of λ = 1/T does, s/(s + λ). In Adam's metric, T is the sum of the learning rates; so λ = 1/T
there, for the mean loss. In units of the kernel's mean diagonal entry, so many rows,

    c = n / (T · mean ‖g‖²),

the mean over examples and checkpoints. A training of as many epochs has a T that grows with n, so
c stays as it is: λ, relative to the trace, falls as 1/n.

FACTOR and FLOOR are fitted: gradients change on the way, and a direction that less than FLOOR
examples agree on is not to be trusted. experiments/FIDELITY.md says on what, and tests them on
other trainings.
"""

from __future__ import annotations

from datainf.linalg import Damping

FLOW = "flow"
"""The damping's name, in place of a number."""
RATE_SUM = "rate_sum"
"""Where a training store notes T."""
FACTOR, FLOOR = 3.0, 10.0
UNKNOWN = 20.0
"""Rows where the learning rates or Adam's second moments are not known."""


def flow_damping(n: int, mean_square: float | None, rate_sum: float | None) -> Damping:
    """The damping of a training on n examples, a number of rows.

    Args:
        n: Training examples.
        mean_square: mean ‖g‖² in Adam's metric, over examples and checkpoints; None if unknown.
        rate_sum: T, the sum of the learning rates of the training's steps; None if unknown.
    """
    if mean_square is None or rate_sum is None or mean_square * rate_sum <= 0:
        return Damping(UNKNOWN, "rows")
    return Damping(max(FLOOR, FACTOR * n / (rate_sum * mean_square)), "rows")
