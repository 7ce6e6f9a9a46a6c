"""What a classifier's outputs mean: reading labels, and the loss of each kind.

    one label        −log softmax(z)_label
    several labels   −(1/C) Σ_c [y_c log σ(z_c) + (1 − y_c) log(1 − σ(z_c))]
    regression       (1/C) Σ_c (z_c − y_c)²

z are the model's C outputs; kinds and means are those of transformers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from datainf.errors import DataError, ModelError
from datainf.tasks.sampling import (
    Draws,
    sampled_class_losses,
    sampled_label_losses,
    sampled_square_losses,
)
from datainf.tasks.token_losses import at_least_float32

Problem = Literal["single_label_classification", "multi_label_classification", "regression"]
PROBLEMS: tuple[Problem, ...] = get_args(Problem)
Target = int | list[float]
"""A class index, or one number an output."""


@dataclass(frozen=True)
class Labels:
    """The outputs of a model: what kind, how many, and the names of classes.

    `problem` is None where the model does not say; then, as in transformers, a list of labels
    makes it one of several labels, and anything else one label.
    """

    problem: Problem | None = None
    count: int | None = None
    label2id: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Any) -> Self:
        """Those of a model's configuration.

        Raises `ModelError` for a problem type that transformers does not know.
        """
        problem: Any = config.problem_type or ("regression" if config.num_labels == 1 else None)
        if problem not in (None, *PROBLEMS):
            raise ModelError(
                f"the model's problem_type is {problem!r}", remedy=" or ".join(PROBLEMS)
            )
        names = {str(name): int(index) for name, index in (config.label2id or {}).items()}
        return cls(problem, config.num_labels, names)

    @property
    def one_number(self) -> bool:
        """Whether an example has one label, or one number, and not several."""
        if self.problem == "regression":
            return self.count == 1
        return self.problem != "multi_label_classification"

    def read(self, example: Mapping[str, Any]) -> Target:
        """An example's label as the loss takes it.

        Raises `DataError` for one that is missing or does not fit the outputs.
        """
        label = plain(example.get("label"))
        if label is None:
            raise DataError("the example has no label", remedy="a column label, or --label-column")
        if self.problem == "regression":
            return self._numbers(label)
        if self.problem == "multi_label_classification" or (
            self.problem is None and isinstance(label, list)
        ):
            return self._several(label)
        return self.class_index(label)

    def class_index(self, label: Any) -> int:
        """The index of a class given by index or name.

        Raises `DataError` for anything else, or an index that the model has no class for.
        """
        label = plain(label)
        if isinstance(label, str):
            if label in self.label2id:
                return self.label2id[label]
            if not label.strip().removeprefix("-").isdecimal():
                known = ", ".join(list(self.label2id)[:10]) or "none"
                raise DataError(
                    f"label {label!r} is not a class of the model (its classes: {known})",
                    remedy="class indices; or name the model's classes in their order: --labels "
                    "NAME,NAME,…, or model.config.label2id (adapters are saved without names)",
                )
        elif not isinstance(label, int | float):
            raise DataError(
                f"label {_short(label)} is a {type(label).__name__}, and the model gives one label",
                remedy="one class index or class name a row",
            )
        elif isinstance(label, float) and not label.is_integer():
            raise DataError(f"label {label!r} is not a class index", remedy="a whole number")
        index = int(label)
        if index < 0 or (self.count is not None and index >= self.count):
            most = "" if self.count is None else f" 0 to {self.count - 1}"
            raise DataError(
                f"label {index} is out of range: the model's classes are{most}",
                remedy="labels that count from 0, or the model that was trained on these labels",
            )
        return index

    def name(self, index: int) -> str:
        """Of a class: the model's own, else its index."""
        return next((name for name, i in self.label2id.items() if i == index), str(index))

    @property
    def guessing(self) -> float | None:
        """−log(1/C) where an example has one label."""
        single = self.problem in (None, "single_label_classification")
        return math.log(self.count) if single and self.count else None

    def class_name(self, example: Mapping[str, Any]) -> str | None:
        """Of the class that an example's label is of; None of several labels, and of numbers."""
        target = self.read(example)
        return None if isinstance(target, list) else self.name(target)

    @staticmethod
    def kind(target: Target) -> str:
        """What a batch has all of one kind of."""
        return "a list of labels" if isinstance(target, list) else "one label"

    def collate(self, targets: Sequence[Target]) -> Tensor:
        """Class indices, int64 [B]; or numbers, float32 [B, C].

        Raises `DataError` where some rows have one label and others several.
        """
        lists = sum(isinstance(target, list) for target in targets)
        if lists not in (0, len(targets)):
            raise DataError(
                "some rows have a list of labels and others one label",
                remedy="one kind of label in all rows",
            )
        return torch.tensor(targets, dtype=torch.float32 if lists else torch.long)

    def losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """One loss an example, [B], from outputs [B, C] and collated targets."""
        logits = at_least_float32(logits)
        targets = targets.to(logits.device)
        if not targets.is_floating_point():
            return F.cross_entropy(logits, targets, reduction="none")
        targets = targets.to(logits.dtype)
        if self.problem == "regression":
            return (logits - targets).square().mean(dim=1)
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=1)

    def sampled_losses(self, logits: Tensor, targets: Tensor, draws: Draws) -> Tensor:
        """As `Task.sampled_losses`; of the targets only the kind matters."""
        if not targets.is_floating_point():
            return sampled_class_losses(logits, draws)
        if self.problem == "regression":
            weights = torch.tensor(1 / logits.shape[1], dtype=torch.float64)
            return sampled_square_losses(at_least_float32(logits), weights, draws)
        return sampled_label_losses(logits, draws)

    def settings(self) -> dict[str, Any]:
        return {
            "problem": self.problem,
            "num_labels": self.count,
            "label2id": dict(self.label2id),
        }

    def _numbers(self, label: Any) -> list[float]:
        values = [_number(value) for value in (label if isinstance(label, list) else [label])]
        if self.count is not None and len(values) != self.count:
            raise DataError(
                f"label {_short(label)} holds {len(values)} numbers and the model gives "
                f"{self.count}",
                remedy=f"a list of {self.count} numbers" if self.count > 1 else "one number",
            )
        return values

    def _several(self, label: Any) -> list[float]:
        """A vector of 0 and 1, or the indices or names of the classes that hold."""
        if not isinstance(label, list):
            raise DataError(
                f"label {_short(label)} is not a list, and an example may have several labels",
                remedy="a list of class names or indices, or of one 0 or 1 for each class",
            )
        numbers = all(isinstance(value, int | float) for value in label)
        if numbers and len(label) == self.count and all(0 <= value <= 1 for value in label):
            return [float(value) for value in label]
        if any(isinstance(value, float) for value in label):
            raise DataError(
                f"label {_short(label)} is not a number from 0 to 1 for each of the model's "
                f"{self.count} classes",
                remedy="a list of class names or indices, or of one 0 or 1 for each class",
            )
        indices = {self.class_index(value) for value in label}
        count = self.count if self.count is not None else max(indices, default=-1) + 1
        return [float(index in indices) for index in range(count)]


def plain(label: Any) -> Any:
    """A label without numpy or torch, also within a list; what is deeper is no label."""
    if isinstance(label, list | tuple):
        return [_without_array(value) for value in label]
    return _without_array(label)


def _without_array(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _number(value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(
            f"label {_short(value)} is not a finite number, and the model is for regression",
            remedy="a number, or leave the row out",
        )
    return number


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except RecursionError:
        text = "of lists within lists"
    return text if len(text) <= 60 else text[:59] + "…"
