"""A method and its options, settled before the first gradient is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from numbers import Real
from typing import Any, Self

from torch import nn

from datainf.attribution import DEFAULT_METHOD, WITHOUT_CURVATURE
from datainf.devices import usable
from datainf.errors import InputError, OptionError
from datainf.estimators import BY_NAME, Estimator, from_name
from datainf.gradient_flow import read_damping
from datainf.gradients.whole import unwrapped
from datainf.tasks import Task
from datainf.tasks.sampled import can_be_sampled
from datainf.views import Options as ViewOptions

Options = Mapping[str, Any]
"""Of `datainf.attribute`: those that are `KNOWN`."""

KNOWN = {"damping", "normalize", "metric", "blocks", "steps", "rate_sum", "device"}


@dataclass(frozen=True)
class Choices:
    """A method, the options that `datainf.attribute` is given with it, and whether it needs a
    store of gradients of drawn answers for its curvature."""

    estimator: Estimator
    options: dict[str, Any]

    @property
    def needs_curvature(self) -> bool:
        return self.estimator.needs_curvature

    @classmethod
    def of(
        cls, method: str | Estimator | None, options: Options, task: Task, model: nn.Module
    ) -> Self:
        """As they were given. Without a method it is the one that `datainf attribute` takes:
        `gauss-newton` where an example has many targets that can be drawn, such as tokens, else
        `ridge`.

        Raises `InputError` for options that there are not, and `OptionError` for values that they
        do not take, for an unknown method, and for one that needs drawn answers of a task that
        does not say which a model would draw.
        """
        if unknown := sorted(options.keys() - KNOWN):
            raise InputError(
                f"there is no option {', '.join(unknown)}", remedy=f"of {', '.join(sorted(KNOWN))}"
            )
        task = task.for_model(unwrapped(model))
        drawn = can_be_sampled(task)
        if method is None:
            method = DEFAULT_METHOD if drawn and not task.one_target else WITHOUT_CURVATURE
        others = dict(options)
        estimator = from_name(method, steps=others.pop("steps", None))
        if estimator.needs_curvature and not drawn:
            without = [name for name, kind in BY_NAME.items() if not kind.needs_curvature]
            raise OptionError(
                f"{estimator.name} needs answers that the model draws, and the task {task.name} "
                "does not say which it would draw",
                remedy=f"one of {', '.join(without)}; or a task of datainf.tasks that fits the "
                "data, for which they can be drawn",
            )
        _check(estimator, others)
        return cls(estimator, others)


def _check(estimator: Estimator, options: Options) -> None:
    """Raises `OptionError` for what `datainf.attribute` would refuse when all is collected."""
    ViewOptions.of(estimator, *(options.get(name) for name in ("normalize", "metric", "blocks")))
    if options.get("damping") is not None:
        read_damping(options["damping"])
    if options.get("device") is not None:
        usable(options["device"])
    rates = options.get("rate_sum")
    if rates is not None and not (isinstance(rates, Real) and isfinite(rates)):
        raise OptionError(f"rate_sum is {rates!r}", remedy="the sum of the steps' learning rates")
