"""At which weights a run takes gradients: an adapter, or several checkpoints of its training."""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from datainf.checkpoints import OPTIMIZER, STATE, choose, find, second_moments, step_of, weighed
from datainf.config import RunConfig
from datainf.errors import ModelError, OptionError
from datainf.gradients.parameters import select
from datainf.models import PIPELINE_LORA

Say = Callable[[str], None]
CHECKPOINTS = 3
"""How many are taken of a folder that holds as many, unless told otherwise."""
NONE = "none"
"""In their place: the adapter alone."""
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin", PIPELINE_LORA)
"""An adapter's, by any of these names."""


@dataclass(frozen=True)
class Place:
    """One set of weights: settings that name its adapter, where its stores are, what it counts
    beside the others, the sum of the training's learning rates, None if nothing says, and the
    folder with the optimizer that the weights came from, if there may be one."""

    config: RunConfig
    folder: Path
    weight: float
    rate_sum: float | None
    trained: Path | None


def places_of(config: RunConfig, say: Say) -> list[Place]:
    """The checkpoints to take gradients at, by step; the adapter alone where there are none, or
    none are wanted."""
    found = [] if config.adapter is None else find(config.adapter)
    if config.checkpoints not in (None, NONE):
        if not found:
            raise OptionError(
                f"{config.adapter or config.model} has no checkpoints",
                remedy="a Trainer's output folder as --adapter",
            )
        return _places(config, choose(found, config.checkpoints), say, "")
    if config.checkpoints is None and (found := _of_the_adapter(config.adapter, found, say)):
        chosen = choose(found, str(min(CHECKPOINTS, len(found))))
        try:
            return _places(config, chosen, say, "; --checkpoints overrules")
        except ModelError as error:
            if _weights_in(Path(str(config.adapter))) is None:
                raise
            say(f"the adapter alone, and not its checkpoints: {error.message}")
    trained = None if config.adapter is None else _trained(config.adapter, say)
    return [Place(config, Path(config.out), 1.0, _rate_sum(trained), trained)]


def _of_the_adapter(adapter: str | None, found: list[Path], say: Say) -> list[Path]:
    """The checkpoints up to the one that the adapter beside them is: a Trainer may have gone back
    to its best. Empty if it is none of them: they may be of another training."""
    beside = None if adapter is None else _weights_in(Path(adapter))
    if not found or beside is None:
        return found
    same = _same(Path(str(adapter)), found)
    if not any(same):
        say(
            f"the adapter in {adapter} is none of its {len(found)} checkpoints, and is taken "
            f"alone; scores summed over them foretell better: --checkpoints "
            f"{min(CHECKPOINTS, len(found))}"
        )
        return []
    last = len(same) - 1 - same[::-1].index(True)
    if last < len(found) - 1:
        say(f"the adapter in {adapter} is {found[last].name}; later ones are left out")
    return found[: last + 1]


def _trained(adapter: str | Path, say: Say) -> Path:
    """Where an adapter's optimizer and state may be: beside it; or with the checkpoint that has the
    very same weights."""
    adapter = Path(adapter)
    found = find(adapter)
    for folder, is_it in zip(found, _same(adapter, found), strict=True):
        if is_it and ((folder / STATE).is_file() or (folder / OPTIMIZER).is_file()):
            say(f"the adapter in {adapter} is {folder.name}, whose training's state is taken")
            return folder
    return adapter


def _same(adapter: Path, found: Sequence[Path]) -> list[bool]:
    """Which of the checkpoints have the bytes of the adapter that lies in a folder."""
    beside = _weights_in(adapter)
    return [
        beside is not None
        and (folder / beside.name).is_file()
        and filecmp.cmp(beside, folder / beside.name, False)
        for folder in found
    ]


def _weights_in(folder: Path) -> Path | None:
    """The adapter's weights that lie in a folder, if there are some."""
    return next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)


def _places(config: RunConfig, folders: Sequence[Path], say: Say, overrules: str) -> list[Place]:
    chosen = weighed(folders)
    told = ", ".join(f"{point.step} ({point.weight:.0%})" for point in chosen)
    say(f"checkpoints, and what each counts: {told}; a pass over all data for each{overrules}")
    if chosen[-1].rate_sum is None:
        say("too few learning rates are logged to sum them: the damping `flow` is a fixed one")
    return [
        Place(
            replace(config, adapter=str(point.folder)), Path(config.out) / point.folder.name,
            point.weight, point.rate_sum, point.folder,
        )
        for point in chosen
    ]  # fmt: skip


def _rate_sum(trained: Path | None) -> float | None:
    """All learning rates of the training that a Trainer's checkpoint is of."""
    if trained is None or not (trained / STATE).is_file():
        return None
    try:
        return weighed([trained])[0].rate_sum
    except ModelError:  # it has logged none
        return None


def steps_of(config: RunConfig, places: Sequence[Place]) -> str | None:
    """The checkpoints as run.yaml has them: their steps, each with a comma; `none` where there are
    some and the adapter alone was taken."""
    if places[0].folder == Path(config.out):
        return NONE if config.adapter is not None and find(config.adapter) else None
    return "".join(f"{step_of(place.folder)}," for place in places)


def folders_of(checkpoints: str | None, out: Path) -> list[Path]:
    """Where a finished run's stores are, by what `steps_of` said of it."""
    if checkpoints in (None, NONE):
        return [out]
    return [out / f"checkpoint-{step}" for step in str(checkpoints).split(",") if step]


def at_each(
    config: RunConfig, out: Path, say: Say = lambda _: None
) -> list[tuple[RunConfig, Path, Path | None]]:
    """A finished run's settings with each of its checkpoints for the adapter, the folder for it in
    `out`, and the one with the optimizer that its weights came from, as `Place` has it."""
    if config.checkpoints in (None, NONE):
        return [(config, out, None if config.adapter is None else _trained(config.adapter, say))]
    adapters, folders = (
        folders_of(config.checkpoints, place) for place in (Path(str(config.adapter)), out)
    )
    return [
        (replace(config, adapter=str(adapter), checkpoints=None), folder, adapter)
        for adapter, folder in zip(adapters, folders, strict=True)
    ]


def moments_of(
    trained: Path | None, config: RunConfig, model: nn.Module, say: Say
) -> dict[str, Tensor] | None:
    """Adam's, where the folder has the optimizer; one that does not fit is an error only where the
    metric asks for it."""
    if trained is None or not (trained / OPTIMIZER).is_file():
        return None
    try:
        return second_moments(trained, model, list(select(model)))
    except ModelError as error:
        if config.metric == "adam":
            raise
        say(f"Adam's second moments are left out: {error.message}")
        return None
