"""What an example keeps in memory for its backward pass, known before one that may not fit.

An example of T tokens keeps

    kept(T) = a·T + b·T²

bytes: a·T for the activations of every layer, b·T² where attention keeps its weights. Two examples
of unlike lengths tell both, and with them what the longest one will keep.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

BACKWARD = 2
"""A batch takes as much again as what it keeps, for the backward pass and what an allocator does
not hand out twice. Measured."""
SHARES = (0.25, 0.5, 1.0)
"""Of the longest example's tokens, by which examples are probed, shortest first."""


@dataclass(frozen=True)
class Footprint:
    """a and b, bytes a token and a squared token."""

    linear: float
    square: float = 0.0

    @classmethod
    def of(cls, known: Sequence[tuple[int, int]]) -> Self:
        """From (tokens, bytes kept) of examples of growing length, of which the last two count."""
        tokens, kept = known[-1]
        square = 0.0
        if len(known) > 1:
            fewer, less = known[-2]
            square = max(0.0, (kept / tokens - less / fewer) / (tokens - fewer))
        return cls(kept / tokens - square * tokens, square)

    def kept(self, tokens: int) -> int:
        """Bytes, of an example of so many tokens."""
        return round(self.linear * tokens + self.square * tokens**2)

    def fitting(self, there: int) -> int:
        """The most tokens of an example that keeps no more bytes than there are."""
        if self.square == 0:
            return int(there / max(self.linear, 1.0))
        half = self.linear / (2 * self.square)
        return int(math.sqrt(half**2 + max(0, there) / self.square) - half)


def growing(lengths: Sequence[int]) -> list[int]:
    """Rows of about a quarter, a half and all of the longest's tokens, each longer than the one
    before; fewer where examples are of like lengths."""
    lengths = [max(1, length) for length in lengths]  # of none, one takes up a place all the same
    longest, rows = max(lengths), list[int]()
    for share in SHARES:
        nearest = min(range(len(lengths)), key=lambda row: abs(lengths[row] - share * longest))
        if not rows or lengths[nearest] > lengths[rows[-1]]:
            rows.append(nearest)
    return rows


def remedy(shortening: Sequence[str], *, is_half: bool) -> str:
    """What makes an example fit that does not: the task's options by which it is shorter;
    `is_half`: the model is in half precision already."""
    options = [*shortening, *([] if is_half else ["--dtype bfloat16"]), "another --device"]
    return (
        f"{', '.join(options)}; or from Python the model's gradient checkpointing, "
        "model.gradient_checkpointing_enable()"
    )
