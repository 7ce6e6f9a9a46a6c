"""Where in a model its tensors stand, by their names: the layer, and what they are within it.

A layer is a number behind the name of a list of them, "layers.3"; which list it is counts too,
since a model may have several: an encoder's and a decoder's, those down and up a UNet, a tower for
pictures beside the one for texts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

LISTS = re.compile(r"layers?|h|blocks?|stages|(?:[a-z]+_)*blocks|mid_block")
"""Names of lists of layers."""
WITHIN = {"attentions", "resnets", "motion_modules", "layers", "blocks"}
"""Lists within a layer that number layers of their own. T5's `layer` is none: it has the one
attention or the other."""
ORDER = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}
"""A UNet runs so, and has its middle last."""
ROOTS = re.compile(r"^(base_model\.)?(model\.)*")
UNSAID = re.compile(r"\.(default|weight)(?=\.|$)")
OTHER = "other"
"""For tensors that are in no layer."""


class Place(NamedTuple):
    """stack: the names down to the list of layers; numbers: of the layer in it, and of one within
    that; rest: what a tensor is there. A tensor in no layer has no stack and no numbers."""

    stack: tuple[str, ...]
    numbers: tuple[int, ...]
    rest: str


def place_of(name: str) -> Place:
    """Of a tensor by its parameter's name."""
    parts = name.split(".")
    start = next((at for at, _ in enumerate(parts) if _is_list(parts, at)), None)
    if start is None:
        return Place((), (), _short(name))
    stack, numbers, end = tuple(parts[: start + 1]), [], start + 1
    while end < len(parts) and parts[end].isdecimal():
        numbers.append(int(parts[end]))
        end += 1
        if end + 1 < len(parts) and parts[end] in WITHIN and parts[end + 1].isdecimal():
            end += 1
    if not numbers and end + 1 < len(parts) and parts[end + 1].isdecimal():
        numbers, end = [int(parts[end + 1])], end + 2  # the middle of a UNet has no number itself
    while any(_is_list(parts, at) for at in range(end, len(parts))):
        end = 2 + next(at for at in range(end, len(parts)) if _is_list(parts, at))
    return Place(stack, tuple(numbers), _short(".".join(parts[end:])))


def _is_list(parts: Sequence[str], at: int) -> bool:
    numbered = at + 1 < len(parts) and parts[at + 1].isdecimal()
    return parts[at] == "mid_block" or (numbered and LISTS.fullmatch(parts[at]) is not None)


def _short(name: str) -> str:
    return UNSAID.sub("", ROOTS.sub("", name))


class Layers:
    """The tensors of a model, by name in its order. `layer` and `kind`: of each of them; `order`:
    the layers as the model runs them, then `OTHER` if a tensor is in none."""

    def __init__(self, names: Sequence[str]) -> None:
        places = [place_of(name) for name in names]
        titles = _titles(list(dict.fromkeys(place.stack for place in places if place.stack)))
        self.layer = [_label(titles, place) for place in places]
        self.kind = [place.rest for place in places]
        order = sorted(range(len(places)), key=lambda at: _key(list(titles), places[at]))
        self.order = list(dict.fromkeys(self.layer[at] for at in order))

    def shown(self) -> list[str]:
        """Each tensor as "layer · kind"."""
        return [
            kind if layer == OTHER else f"{layer} · {kind}"
            for layer, kind in zip(self.layer, self.kind, strict=True)
        ]


def _label(titles: dict[tuple[str, ...], str], place: Place) -> str:
    if not place.stack:
        return OTHER
    number = ".".join(map(str, place.numbers))
    return f"{titles[place.stack]} {number}".strip() or OTHER


def _key(stacks: list[tuple[str, ...]], place: Place) -> tuple[int, int, int, tuple[float, ...]]:
    """Stacks of one parent go together, from the first of them on. What is in a layer and in none
    within it, as what makes a UNet's pictures smaller, comes after those."""
    if not place.stack:
        return len(stacks), 0, 0, ()
    first = next(at for at, stack in enumerate(stacks) if stack[:-1] == place.stack[:-1])
    return (
        first,
        ORDER.get(place.stack[-1], 0),
        stacks.index(place.stack),
        (*place.numbers, math.inf),
    )


def _titles(stacks: list[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """Of each stack what tells it from the others, in words; nothing of one alone."""
    shared = 0
    while len(stacks) > 1 and len({stack[: shared + 1] for stack in stacks}) == 1:
        shared += 1
    found = {}
    for stack in stacks:
        others = [other for other in stacks if other != stack]
        alone = (
            end for end in range(shared, len(stack))
            if all(other[:end] != stack[:end] for other in others)
        )  # fmt: skip
        end = next(alone, len(stack))
        names = (re.sub(r"_?blocks?$", "", name).replace("_", " ") for name in stack[shared:end])
        found[stack] = " ".join(filter(None, names))
    return found
