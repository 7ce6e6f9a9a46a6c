"""How long work reports where it stands, without knowing of terminals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    """A display of stages; each stage counts up to its total."""

    def stage(self, what: str, total: int, done: int = 0) -> Callable[[int], None]:
        """Begin a stage of `total` units, `done` of them finished before; returns a function to
        call with each number of units done since."""
        ...


class Silent:
    """Shows nothing."""

    def stage(self, what: str, total: int, done: int = 0) -> Callable[[int], None]:  # noqa: ARG002
        return lambda _: None
