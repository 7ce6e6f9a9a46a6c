"""A person's own loss, as one function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.utils.data import default_collate

from datainf.fingerprint import digest
from datainf.tasks.base import Task


@dataclass(frozen=True)
class Custom(Task):
    """Any loss: `losses_fn(model, batch) → [batch]`, one loss an example.

    `collate` makes a batch of examples (torch's `default_collate` if not given); `length` gives
    an example's length for batching; `describe` its words for people. `reference` says that the
    loss asks the model without its adapter as well (`disable_adapter`), as a reference: the weights
    that the adapter replaces then count among those that two stores need to have in common.
    """

    losses_fn: Callable[[nn.Module, Any], Tensor]
    collate_fn: Callable[[list[Any]], Any] = default_collate
    length_fn: Callable[[Any], int] | None = None
    describe_fn: Callable[[Any], str] = str
    reference: bool = False
    name: ClassVar[str] = "custom"

    def __init__(
        self,
        losses: Callable[[nn.Module, Any], Tensor],
        collate: Callable[[list[Any]], Any] = default_collate,
        *,
        length: Callable[[Any], int] | None = None,
        describe: Callable[[Any], str] = str,
        reference: bool = False,
    ) -> None:
        object.__setattr__(self, "losses_fn", losses)
        object.__setattr__(self, "collate_fn", collate)
        object.__setattr__(self, "length_fn", length)
        object.__setattr__(self, "describe_fn", describe)
        object.__setattr__(self, "reference", reference)

    @property
    def uses_reference(self) -> bool:
        return self.reference

    def collate(self, examples: Sequence[Any]) -> Any:
        return self.collate_fn(list(examples))

    def losses(self, model: nn.Module, batch: Any) -> Tensor:
        return self.losses_fn(model, batch)

    def length(self, example: Any) -> int:
        return super().length(example) if self.length_fn is None else self.length_fn(example)

    def describe(self, example: Any) -> str:
        return self.describe_fn(example)

    def settings(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "losses": code_digest(self.losses_fn),
            "collate": code_digest(self.collate_fn),
        }


def code_digest(function: Callable[..., Any]) -> str:
    """A fingerprint of a function: its source (its name where that is not to be had), and what it
    was given beforehand, by closure, by default or as a partial, as far as that is plain data."""
    if isinstance(function, functools.partial):
        given = [_plain(value) for value in (*function.args, function.keywords)]
        return digest([code_digest(function.func), given])
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        source = getattr(function, "__qualname__", type(function).__qualname__)
    cells = [_contents(cell) for cell in getattr(function, "__closure__", None) or ()]
    defaults = [_plain(value) for value in getattr(function, "__defaults__", None) or ()]
    return digest([source, cells, defaults])


def _contents(cell: Any) -> Any:
    try:
        return _plain(cell.cell_contents)
    except ValueError:  # empty
        return None


def _plain(value: Any) -> str:
    """A fingerprint of plain data, or the kind of anything else."""
    try:
        return digest(value)
    except (TypeError, ValueError):
        return type(value).__qualname__
