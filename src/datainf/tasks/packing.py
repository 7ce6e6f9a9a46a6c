"""Rows that hold several examples, as packing makes them: refused, never mixed into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from datainf.errors import DataError


def refuse_packed(example: Mapping[str, Any]) -> None:
    """Raises `DataError` for a tokenised row that holds more than one sequence: its gradient would
    be that of several examples at once."""
    sign = _sign_of_packing(example)
    if sign is not None:
        raise DataError(
            f"the row is packed: {sign}. What each of its examples did could not be told apart",
            remedy="give the data set as it was before packing (packing=False)",
        )


def _sign_of_packing(example: Mapping[str, Any]) -> str | None:
    ids = example.get("input_ids")
    if isinstance(ids, Sequence) and ids and isinstance(ids[0], Sequence):
        return f"its input_ids hold {len(ids)} sequences"
    lengths = example.get("seq_lengths")
    if isinstance(lengths, Sequence) and len(lengths) > 1:
        return f"its seq_lengths name {len(lengths)} sequences"
    mask = example.get("attention_mask")
    if mask is not None and max(mask, default=0) > 1:  # some packers number the sequences there
        return f"its attention_mask numbers {max(mask)} sequences"
    positions = example.get("position_ids")
    if positions is not None:
        kept = [p for p, keep in zip(positions, mask or [1] * len(positions), strict=False) if keep]
        starts = sum(after <= before for before, after in pairwise(kept))
        if starts:
            return f"its position_ids start again {starts} times"
    return None
