"""The tokens of an example as a model reads them, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

UNFINISHED = "\ufffd"
"""What a tokenizer reads the first bytes of a character as."""


@dataclass(frozen=True)
class Stream:
    """Tokens in the order of a module's positions.

    name: what they are; tokens: as they read, one after another; supervised: which of them the
    loss is of, None where it is of none in particular; row: which of the rows that a batch holds
    for the example; axis: streams of one axis are padded to one length in a batch.
    """

    name: str
    tokens: list[str]
    supervised: list[bool] | None = None
    row: int = 0
    axis: str = "text"


def pieces(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Each token as it reads behind the ones before it, with the space in front of it if it has
    one. Of a character that several tokens make up, the last has it, and the others read "·"."""

    def read(start: int, stop: int) -> str:
        return str(
            tokenizer.decode(
                list(ids[start:stop]),
                skip_special_tokens=False,
                clean_up_tokenization_spaces=False,
            )
        )

    found, before, done = [], 0, 0  # what is read of one token stands behind the one before it
    for stop in range(1, len(ids) + 1):
        now = read(before, stop)
        if now.endswith(UNFINISHED) and stop < len(ids):
            found.append("·")
            continue
        known = read(before, done)
        found.append(now.removeprefix(known))
        before, done = done, stop
    return found
