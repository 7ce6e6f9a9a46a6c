"""A method and its options, settled before the first gradient is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from numbers import Real
from typing import Any, Self

from torch import nn

from datainf.attribution import DEFAULT_METHOD, WITHOUT_CURVATURE
from datainf.devices import usable
from datainf.errors import InputError, OptionError
from datainf.estimators import BY_NAME, Estimator, from_name
from datainf.gradient_flow import FLOW, read_damping
from datainf.gradients.whole import unwrapped
from datainf.linalg import Damping
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
        cls, method: str | Estimator | None, options: Options, task: Task, model: nn.Module,
        *, moments: bool = False,
    ) -> Self:  # fmt: skip
        """As they were given, and Adam's second moments, if so, beside them. Without a method it is
        the one that `datainf attribute` takes: `gauss-newton` where an example has many targets
        that can be drawn, such as tokens, else `ridge`.

        Raises `InputError` for options that there are not, and `OptionError` for values that they
        do not take, for the metric `adam` without second moments, for a `rate_sum` that nothing
        asks for, for an unknown method, and for one that needs drawn answers of a task that does
        not say which a model would draw.
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
        _check(estimator, others, moments=moments)
        return cls(estimator, others)


def _check(estimator: Estimator, options: Options, *, moments: bool) -> None:
    """Raises `OptionError` for what `datainf.attribute` would refuse when all is collected, and for
    what would change nothing."""
    views = ViewOptions.of(
        estimator, *(options.get(name) for name in ("normalize", "metric", "blocks"))
    )
    if views.metric == "adam" and not moments:
        raise OptionError(
            "the metric adam is that of Adam's second moments, and none were given",
            remedy="second_moments=…, v̂ by parameter name; or the metric fisher, the mean squared "
            "gradient in their place",
        )
    damping = options.get("damping")
    read = read_damping(estimator.defaults.damping if damping is None else damping)
    if options.get("device") is not None:
        usable(options["device"])
    if options.get("rate_sum") is not None:
        _check_rate_sum(options["rate_sum"], read, moments=moments)


def _check_rate_sum(rates: Any, damping: Damping | None, *, moments: bool) -> None:
    """`damping`: None for `flow`, the one that asks for the learning rates, in Adam's metric."""
    if not isinstance(rates, Real) or not 0 < float(rates) < inf:
        raise OptionError(
            f"rate_sum is {rates!r}", remedy="the sum of the steps' learning rates, above 0"
        )
    if damping is not None:
        raise OptionError(
            f"rate_sum is {rates}, and the damping {damping} does not ask for it",
            remedy=f"damping {FLOW}; or leave rate_sum out",
        )
    if not moments:
        raise OptionError(
            f"rate_sum is {rates}: the damping {FLOW} asks for it in Adam's metric alone, and no "
            "second moments of Adam were given",
            remedy="second_moments=…, v̂ by parameter name, beside it; or leave rate_sum out",
        )
