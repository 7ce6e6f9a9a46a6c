"""How much damping a training stands for, from its learning rates: no retraining.

Gradient flow from zero for a time T fits the direction of a curvature s by 1 − exp(−sT), much as a
ridge of λ = 1/T does, s/(s + λ). In Adam's metric, T is the sum of the learning rates; so λ = 1/T
there, for the mean loss. In units of the kernel's mean diagonal entry, so many rows,

    c = n / Σ_c T_c · mean ‖g‖²_c

over checkpoints c, each with the sum T_c of the learning rates of the steps that it stands for
and its own gradients' mean squared norm. A training of as many epochs has a T that grows with n,
so c stays as it is: λ, relative to the trace, falls as 1/n.

FACTOR is 2 for what is foretold, training on halves of the data, which halves both K and T, and
the rest, as FLOOR, is fitted: gradients change on the way, and a direction that less than FLOOR
examples agree on is not to be trusted. experiments/FIDELITY.md says on what, and tests it on
other trainings.
"""

from __future__ import annotations

from collections.abc import Sequence

from datainf.linalg import Damping

FLOW = "flow"
"""The damping's name, in place of a number."""
FACTOR, FLOOR = 3.0, 10.0
UNKNOWN = 20.0
"""Rows where the learning rates or Adam's second moments are not known."""


def flow_damping(
    n: int, mean_squares: Sequence[float | None], rate_sums: Sequence[float]
) -> Damping:
    """The damping of a training on n examples, a number of rows.

    Args:
        n: Training examples.
        mean_squares: mean ‖g‖² in Adam's metric at each checkpoint; None where it is not known.
        rate_sums: The sum of the learning rates that each checkpoint stands for; none at all if
            they are not known.
    """
    moved = 0.0
    for mean_square, rate_sum in zip(mean_squares, rate_sums, strict=True):
        if mean_square is None:
            return Damping(UNKNOWN, "rows")
        moved += rate_sum * mean_square
    return Damping(max(FLOOR, FACTOR * n / moved) if moved > 0 else UNKNOWN, "rows")
