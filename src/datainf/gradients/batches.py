"""Batches of like lengths under a token budget, and which of them come first."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate


def batches(lengths: Sequence[int], budget: int, max_rows: int) -> list[list[int]]:
    """Positions 0 … len-1 in batches, longest first, so that memory runs out early or never.

    A batch's padded size, rows × longest, is at most `budget` tokens, and it has at most
    `max_rows` rows; an example longer than the budget goes alone. Ties keep their order, so the
    same lengths always give the same batches.
    """
    order = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    out: list[list[int]] = []
    longest = 0
    for position in order:
        if out and len(out[-1]) < max_rows and (len(out[-1]) + 1) * longest <= budget:
            out[-1].append(position)
        else:
            out.append([position])
            longest = max(lengths[position], 1)
    return out


PLACES = (1 / 2, 1 / 6, 5 / 6, 1 / 3, 2 / 3, 1 / 12, 11 / 12, 1 / 4, 3 / 4)
"""Where in all tokens, by length, the batches stand that are taken first: any few of them in this
order are spread evenly."""


def spread(sizes: Sequence[int]) -> list[int]:
    """Positions of batches, longest first, in the order in which they are taken: the first, which
    shows whether memory does; then some from all lengths, so that their times tell that of the
    rest; then the rest.

    `sizes`: tokens of each, padding counted.
    """
    ends = list(accumulate(sizes))
    first = [0, *(bisect(ends, place * ends[-1]) for place in PLACES)] if ends else []
    return list(dict.fromkeys([*first, *range(len(sizes))]))
