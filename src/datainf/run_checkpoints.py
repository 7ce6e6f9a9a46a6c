"""At which weights a run takes gradients: an adapter, or several checkpoints of its training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from datainf.checkpoints import OPTIMIZER, STATE, choose, find, second_moments, step_of, weighed
from datainf.config import RunConfig
from datainf.errors import ModelError, OptionError
from datainf.gradients.parameters import select

Say = Callable[[str], None]
CHECKPOINTS = 3
"""How many are taken of a folder that holds nothing but checkpoints."""
ADAPTER_CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class Place:
    """One set of weights: settings that name its adapter, where its stores are, what it counts
    beside the others, and the sum of the training's learning rates, None if nothing says."""

    config: RunConfig
    folder: Path
    weight: float
    rate_sum: float | None


def places_of(config: RunConfig, say: Say) -> list[Place]:
    """The checkpoints to take gradients at, by step; the adapter alone where none are asked for
    and it is not a folder that holds nothing else."""
    out = Path(config.out)
    found = [] if config.adapter is None else find(config.adapter)
    if config.checkpoints is not None and not found:
        raise OptionError(
            f"{config.adapter or config.model} has no checkpoints",
            remedy="a Trainer's output folder as --adapter",
        )
    wanted = config.checkpoints
    if wanted is None and found and not (Path(str(config.adapter)) / ADAPTER_CONFIG).is_file():
        wanted = str(min(CHECKPOINTS, len(found)))
    if wanted is None:
        if found:
            say(
                f"{config.adapter} has {len(found)} checkpoints, not used: scores summed over "
                f"them foretell better; --checkpoints {min(CHECKPOINTS, len(found))}"
            )
        return [Place(config, out, 1.0, _rate_sum(config))]
    chosen = weighed(choose(found, wanted))
    told = ", ".join(f"{point.step} ({point.weight:.0%})" for point in chosen)
    say(
        f"checkpoints, and what each counts: {told}; a pass over all data for each"
        + ("" if config.checkpoints else "; --checkpoints overrules")
    )
    if chosen[-1].rate_sum is None:
        say("too few learning rates are logged to sum them: the damping `flow` is a fixed one")
    return [
        Place(
            replace(config, adapter=str(point.folder)), out / point.folder.name, point.weight,
            point.rate_sum,
        )
        for point in chosen
    ]  # fmt: skip


def _rate_sum(config: RunConfig) -> float | None:
    """Of an adapter that is a Trainer's checkpoint, all its training's learning rates."""
    folder = Path(config.adapter or "")
    if config.adapter is None or not (folder / STATE).is_file():
        return None
    try:
        return weighed([folder])[0].rate_sum
    except ModelError:  # it has logged none
        return None


def steps_of(places: Sequence[Place]) -> str | None:
    """The checkpoints as run.yaml has them: their steps, each with a comma."""
    if len(places) == 1 and places[0].folder == Path(places[0].config.out):
        return None
    return "".join(f"{step_of(place.folder)}," for place in places)


def last_folder(config: RunConfig) -> Path:
    """Where a finished run's stores of the last weights are."""
    steps = [step for step in (config.checkpoints or "").split(",") if step]
    return Path(config.out) / f"checkpoint-{steps[-1]}" if steps else Path(config.out)


def moments_of(config: RunConfig, model: nn.Module, say: Say) -> dict[str, Tensor] | None:
    """Adam's, where the adapter's folder has the optimizer; one that does not fit is an error only
    where the metric asks for it."""
    if config.adapter is None or not (Path(config.adapter) / OPTIMIZER).is_file():
        return None
    try:
        return second_moments(config.adapter, model, list(select(model)))
    except ModelError as error:
        if config.metric == "adam":
            raise
        say(f"Adam's second moments are left out: {error.message}")
        return None
