"""Batches of like lengths under a token budget."""

from __future__ import annotations

from collections.abc import Sequence


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
