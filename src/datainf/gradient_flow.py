"""How much damping a training stands for, from its learning rates: no retraining.

Gradient flow from zero for a time T fits the direction of a curvature s by 1 − exp(−sT), much as a
ridge of λ = 1/T does, s/(s + λ). In Adam's metric, T is the sum of the learning rates; so λ = 1/T
there, for the mean loss. In units of the kernel's mean diagonal entry, so many rows,

    c = n / (T · mean ‖g‖²),

the mean over examples and checkpoints. A training of as many epochs has a T that grows with n, so
c stays as it is: λ, relative to the trace, falls as 1/n.

The factors are fitted: gradients change on the way, and one checkpoint says less of it than
several. So is the floor, where the training gradients themselves stand for the curvature: a
direction that fewer of them agree on is not to be trusted. experiments/FIDELITY.md says on what,
and tests them on other trainings.
"""

from __future__ import annotations

from dataclasses import dataclass

from datainf.errors import OptionError
from datainf.linalg import Damping

FLOW = "flow"
"""The damping's name, in place of a number."""
RATE_SUM = "rate_sum"
"""Where a training store notes T."""


@dataclass(frozen=True)
class FlowRule:
    """c = max(floor, factor · n/(T · mean ‖g‖²)) rows, of one checkpoint `ALONE` times that. Where
    the learning rates or Adam's second moments are not known, what `unknown` training examples
    are worth, however many rows stand for them."""

    factor: float
    floor: float
    unknown: float


OWN = FlowRule(factor=3, floor=10, unknown=20)
"""The training gradients stand for the curvature."""
DRAWN = FlowRule(factor=7, floor=0, unknown=2)
"""Gradients of drawn targets do."""


ALONE = 3
"""So many times as much where one checkpoint stands for the whole training: what its gradients say
of the steps before is less sure."""


def read_damping(damping: float | str | Damping) -> Damping | None:
    """A damping from its text; None for `flow`, which takes a training to know.

    Raises `OptionError` for anything else.
    """
    if damping == FLOW:
        return None
    try:
        return Damping.parse(damping)
    except OptionError as error:
        raise OptionError(error.message, remedy=f"{error.remedy}; or {FLOW}") from None


def flow_damping(
    n: int, mean_square: float | None, rate_sum: float | None, rule: FlowRule = OWN,
    checkpoints: int = 1, examples: int | None = None,
) -> Damping:  # fmt: skip
    """The damping that a training stands for, in rows of the curvature.

    Args:
        n: Rows that the curvature is the second moment of.
        mean_square: mean ‖g‖² of them in Adam's metric, over rows and checkpoints; None if unknown.
        rate_sum: T, the sum of the learning rates of the training's steps; None if unknown.
        rule: For which rows.
        checkpoints: How many scores are summed over.
        examples: How many training examples the rows stand for; by default they are these.
    """
    if mean_square is None or rate_sum is None or mean_square * rate_sum <= 0:
        return Damping(rule.unknown * n / (examples or n), "rows")
    times = ALONE if checkpoints == 1 else 1
    return Damping(times * max(rule.floor, rule.factor * n / (rate_sum * mean_square)), "rows")
