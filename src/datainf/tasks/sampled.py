"""A task with targets that the model itself draws: its gradients are rows of the curvature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from torch import Tensor, nn

from datainf.errors import ModelError
from datainf.fingerprint import digest
from datainf.tasks.base import TRUNCATED, Task
from datainf.tasks.sampling import Draws

EXAMPLE, DRAW, KEY = "example", "draw", "key"
"""Of an example whose targets are drawn: itself, which draw it is, and after encoding a key of its
content and draw."""
OF = "of"
"""In the settings of a sampled task, those of the task itself."""


def can_be_sampled(task: Task) -> bool:
    """Whether the targets of a task's own losses can be drawn: not if a subclass has other losses
    than those that `sampled_losses` was written for."""
    if not task.can_sample:
        return False
    order = type(task).__mro__

    def defined(name: str) -> int:
        return next(i for i, kind in enumerate(order) if name in vars(kind))

    return defined("sampled_losses") <= min(defined("losses"), defined("part_losses"))


class Sampled(Task):
    """Another task's examples, under losses as `tasks.sampling` has them.

    Examples are mappings of `example` and `draw`. An example's targets hang on its content, its
    draw and the seed: up to rounding not on its batch or the device.

    Raises `ModelError` for a task that cannot draw targets.
    """

    repeatable = False
    loss_floor = 1.0

    def __init__(self, task: Task, seed: int = 0) -> None:
        if not can_be_sampled(task):
            raise ModelError(
                f"the task {task.name} does not say which targets a model would draw",
                remedy="--method ridge, which takes the training gradients for curvature",
            )
        self.task, self.seed = task, seed
        self._known: dict[int, Tensor] = {}
        self.parts, self.defined_alone = task.parts, task.defined_alone

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"sampled {self.task.name}"

    def for_model(self, model: nn.Module) -> Self:
        return type(self)(self.task.for_model(model), self.seed)

    def encode(self, example: Mapping[str, Any]) -> dict[str, Any]:
        if KEY in example:
            return dict(example)
        encoded = self.task.encode(example[EXAMPLE])
        content = digest([encoded, example[DRAW], self.seed])
        cut = encoded.get(TRUNCATED, 0) if isinstance(encoded, Mapping) else 0
        return {EXAMPLE: encoded, KEY: int(content[:15], 16), TRUNCATED: cut}

    def target_kind(self, example: Mapping[str, Any]) -> str | None:
        return self.task.target_kind(example[EXAMPLE])

    def collate(self, examples: Sequence[Mapping[str, Any]]) -> tuple[Any, list[int]]:
        encoded = [self.encode(example) for example in examples]
        batch = self.task.collate([row[EXAMPLE] for row in encoded])
        return batch, [row[KEY] for row in encoded]

    def losses(self, model: nn.Module, batch: tuple[Any, list[int]]) -> Tensor:
        inputs, keys = batch
        return self.task.sampled_losses(model, inputs, Draws(keys, self._known))

    def describe(self, example: Mapping[str, Any]) -> str:
        return self.task.describe(example[EXAMPLE])

    def length(self, example: Mapping[str, Any]) -> int:
        return self.task.length(example[EXAMPLE])

    def shortening(self, length: int | None) -> list[str]:
        return self.task.shortening(length)

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "seed": self.seed, OF: self.task.settings()}
