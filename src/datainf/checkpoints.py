"""The checkpoints that a Trainer left: which there are, how much each counts, and Adam's moments.

A fine-tuning moves away from most of its gradients: at its end those of fitted examples are small,
and those of like examples sum to nearly nothing. The gradients of earlier checkpoints say what the
examples taught. Scores are summed over checkpoints with the learning rate of the steps that each
stands for (TracIn, Pruthi et al., NeurIPS 2020, equation 1, with the steps between two checkpoints
given to the nearer one).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datainf.errors import ModelError, OptionError, first_line
from datainf.redaction import beginning

STATE, OPTIMIZER = "trainer_state.json", "optimizer.pt"
FOLDER = re.compile(r"checkpoint-(\d+)")
MOST_STEPS = 10_000_000
"""More than any training takes: a state that claims more is damaged."""


@dataclass(frozen=True)
class Checkpoint:
    """A folder that a Trainer saved after so many steps. `weight` is the share of all learning
    rates that are of the steps that it stands for; `rate_sum` the sum of all up to the last of the
    checkpoints, None where too little of them is known."""

    folder: Path
    step: int
    epoch: float
    weight: float
    rate_sum: float | None


def find(output: str | Path) -> list[Path]:
    """The folders checkpoint-N in a Trainer's output folder, by step; none if there are none."""
    within = Path(output) if isinstance(output, str) else output
    steps = {
        int(match[1]): folder
        for folder in within.glob("checkpoint-*")
        if (match := FOLDER.fullmatch(folder.name)) and folder.is_dir()
    }
    return [steps[step] for step in sorted(steps)]


def choose(folders: Sequence[Path], wanted: str) -> list[Path]:
    """Of the folders, those that are wanted: `all`, so many (`3`, spread over the training in equal
    ratios of steps, the last among them), or steps with commas between (`100,200`); a number that
    is more than there are, and a step, is that step.

    Raises `OptionError` for a step that is not there, or more than there are.
    """
    steps = [step_of(folder) for folder in folders]
    if wanted == "all":
        return list(folders)
    try:
        numbers = [int(part) for part in wanted.split(",") if part.strip()]
    except ValueError:
        numbers = []
    if not numbers:
        raise OptionError(
            f"the checkpoints are {wanted!r}", remedy="all, how many (3), or which steps (100,200)"
        )
    if "," in wanted:
        if gone := [number for number in numbers if number not in steps]:
            raise OptionError(
                f"there is no checkpoint-{gone[0]}", remedy=f"of {', '.join(map(str, steps))}"
            )
        return [folders[steps.index(number)] for number in sorted(set(numbers))]
    if numbers[0] > len(folders) and numbers[0] in steps:
        return [folders[steps.index(numbers[0])]]
    if not 1 <= numbers[0] <= len(folders):
        raise OptionError(
            f"{numbers[0]} checkpoints were asked for, and there are {len(folders)}",
            remedy=f"from 1 to {len(folders)}, or steps: {', '.join(map(str, steps))}",
        )
    return [folders[position] for position in _spread(steps, numbers[0])]


def _spread(steps: Sequence[int], count: int) -> list[int]:
    """Positions of `count` steps, nearest to equal ratios from the first to the last: training
    moves most at its start."""
    if count == 1:
        return [len(steps) - 1]
    logs = np.log(np.asarray(steps, dtype=float))
    left = list(range(len(steps)))
    found = []
    for target in np.linspace(logs[-1], logs[0], count):
        nearest = min(left, key=lambda position: abs(logs[position] - target))
        left.remove(nearest)
        found.append(nearest)
    return sorted(found)


def weighed(folders: Sequence[Path]) -> list[Checkpoint]:
    """The checkpoints with their weights: the learning rates of the steps nearest to each.

    Rates are those that the last one's trainer_state.json has logged and those in each checkpoint's
    optimizer.pt, with a straight line between two. They are `known` in sum only where one of them
    is of the training's first tenth: a single late entry says nothing of what came before.

    Raises `ModelError` if a state is not there, there is no learning rate at all, or a checkpoint
    is of another training than the last one.
    """
    states = [_state(folder) for folder in folders]
    _require_one_training(folders, states)
    steps = np.array([state["global_step"] for state in states], dtype=float)
    rates = {
        step: rate
        for at, folder in zip(steps, folders, strict=True)
        for step, rate in _rates_in(folder, int(at)).items()
    } | _logged(states[-1])
    if not any(rates.values()):
        raise _no_rates(folders[-1])
    every = np.arange(1, int(steps[-1]) + 1)
    known = min(rates) <= max(1, len(every) // 10)
    rated = np.interp(every, *np.array(sorted(rates.items()), dtype=float).T)
    if len(rates) == 1:  # all steps alike
        rated = np.ones(len(every))
    nearest = np.searchsorted((steps[1:] + steps[:-1]) / 2, every)  # of two as near, the earlier
    sums = np.bincount(nearest, weights=rated, minlength=len(steps))
    if not sums.sum():  # those that are not zero are of later steps
        raise _no_rates(folders[-1])
    return [
        Checkpoint(
            folder, int(step), _number(state.get("epoch") or 0.0), float(share), float(sums.sum())
            if known else None,
        )
        for folder, step, state, share in zip(
            folders, steps, states, sums / sums.sum(), strict=True
        )
    ]  # fmt: skip


def _no_rates(folder: Path) -> ModelError:
    return ModelError(
        f"{folder / STATE} has logged no learning rate, by which checkpoints are weighed",
        remedy="give the weights yourself, or train with a logging_strategy other than no",
    )


def _require_one_training(folders: Sequence[Path], states: Sequence[dict[str, Any]]) -> None:
    """Where two have logged the same step, it had the same learning rate."""
    whole = _logged(states[-1])
    for folder, state in zip(folders, states, strict=True):
        for step, rate in _logged(state).items():
            if whole.get(step, rate) != rate:
                raise ModelError(
                    f"{folder} is of another training than {folders[-1]}: at step {step} its "
                    f"learning rate was {rate:g}, and {whole[step]:g} there",
                    remedy="--checkpoints with the steps of one training (100,200); or delete the "
                    "others",
                )


def _logged(state: dict[str, Any]) -> dict[int, float]:
    """Step → learning rate. Raises `ValueError` and the like for what no Trainer writes."""
    return {
        int(_number(entry["step"])): _number(entry["learning_rate"])
        for entry in state.get("log_history", [])
        if "learning_rate" in entry
    }


def _number(value: Any) -> float:
    """Raises `ValueError` or `TypeError` for what is no finite number from 0 on."""
    if isinstance(value, str | bool) or not math.isfinite(number := float(value)) or number < 0:
        raise ValueError(f"{beginning(value)!r} is no number that a Trainer writes")
    return number


def _rates_in(folder: Path, step: int) -> dict[int, float]:
    """Step → learning rate, by a checkpoint's optimizer: of the step after, and of the first, which
    is what the schedule started from (a warm-up is left out)."""
    try:
        saved = torch.load(folder / OPTIMIZER, map_location="meta", weights_only=True)
        group = saved["param_groups"][0]
        rates = {step + 1: _number(group["lr"])}
        return rates | ({1: _number(group["initial_lr"])} if "initial_lr" in group else {})
    except Exception:  # it is `second_moments` that says what is wrong with the file
        return {}


def step_of(folder: Path) -> int:
    """The step in a checkpoint's name."""
    match = FOLDER.fullmatch(folder.name)
    if match is None:
        raise OptionError(f"{folder} is no checkpoint", remedy="a folder checkpoint-N")
    return int(match[1])


def second_moments(
    folder: str | Path, model: nn.Module, trained: Sequence[str]
) -> dict[str, Tensor]:
    """Adam's v̂ by parameter name, from a checkpoint's optimizer.pt, read without unpickling code.

    Args:
        folder: The checkpoint.
        model: The model that was trained, for the order in which a Trainer hands parameters to its
            optimizer: those with weight decay first.
        trained: The names of all parameters that were trained.

    Raises:
        ModelError: there is no optimizer.pt, it cannot be read, is of no optimizer with second
            moments, or does not fit the parameters.
    """
    path = Path(folder) / OPTIMIZER
    if not path.is_file():
        raise ModelError(
            f"{folder} has no {OPTIMIZER}",
            remedy="--metric fisher; or train with save_only_model=False",
        )
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        return _moments(path, saved["state"], saved["param_groups"], model, trained)
    except ModelError:
        raise
    except Exception as error:  # whatever the file holds in the place of an optimizer's state
        raise ModelError(
            f"{path} cannot be read: {first_line(error)}", remedy="--metric fisher"
        ) from None


def _moments(
    path: Path, states: Any, groups: Any, model: nn.Module, trained: Sequence[str]
) -> dict[str, Tensor]:
    names = _in_the_optimizers_order(model, trained, groups)
    shapes = {name: p.shape for name, p in model.named_parameters()}
    found = {}
    for position, name in names.items():
        state = states.get(position, {})
        moments = state.get("exp_avg_sq")
        if moments is None or moments.shape != shapes[name]:
            what = "none" if moments is None else f"one of shape {tuple(moments.shape)}"
            raise ModelError(
                f"{path} should hold a second moment of shape {tuple(shapes[name])} for {name}, "
                f"and has {what}",
                remedy="the optimizer of these weights, Adam or AdamW; or --metric fisher",
            )
        beta = next(g["betas"][1] for g in groups if position in g["params"])
        found[name] = moments.float() / (1 - beta ** float(state["step"]))
    return found


def _in_the_optimizers_order(
    model: nn.Module, trained: Sequence[str], groups: Sequence[dict[str, Any]]
) -> dict[int, str]:
    """The optimizer's number of each parameter → its name."""
    positions = [position for group in groups for position in group["params"]]
    if all("param_names" in group for group in groups):
        names = [name for group in groups for name in group["param_names"]]
    else:
        from transformers import Trainer

        decayed = set(Trainer.get_decay_parameter_names(None, model))
        wanted = set(trained)
        ordered = [name for name, _ in model.named_parameters() if name in wanted]
        names = [n for n in ordered if n in decayed] + [n for n in ordered if n not in decayed]
    if len(names) != len(positions) or set(names) != set(trained):
        raise ModelError(
            f"the optimizer has {len(positions)} parameters, and {len(trained)} were trained",
            remedy="the optimizer of these weights; or --metric fisher",
        )
    return dict(zip(positions, names, strict=True))


def _state(folder: Path) -> dict[str, Any]:
    path = folder / STATE
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{path} cannot be read: {first_line(error)}", remedy="a Trainer's checkpoint"
        ) from None
    step = state.get("global_step") if isinstance(state, dict) else None
    if not isinstance(step, int) or not 1 <= step <= MOST_STEPS:
        raise ModelError(f"{path} is no state of a Trainer", remedy="a Trainer's checkpoint")
    try:
        _logged(state)
        _number(state.get("epoch") or 0.0)
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        raise ModelError(
            f"{path} is no state of a Trainer: {first_line(error)}", remedy="a Trainer's checkpoint"
        ) from None
    return dict(state)
