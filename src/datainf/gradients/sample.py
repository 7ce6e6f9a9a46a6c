"""Some of the examples, whose gradients are kept in full beside a store of smaller ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from datainf.gradients import survey
from datainf.gradients.layout import laid_out
from datainf.store import Index

MOST_ROWS, MOST_BYTES, FEWEST_ROWS = 256, 2**30, 32
"""As many examples as fit in these bytes, between the bounds."""


def sampled_rows(index: Index) -> list[int]:
    """Rows of a store, evenly spaced."""
    row_bytes = 4 * sum(block.width for block in index.blocks)
    wanted = min(index.n, MOST_ROWS, max(FEWEST_ROWS, MOST_BYTES // row_bytes))
    return [index.n * place // wanted for place in range(wanted)]


def in_full(index: Index, dtype: torch.dtype) -> Index:
    """The index of the store of these rows, as `dtype`."""
    return laid_out(replace(index, n=len(sampled_rows(index))), dtype, None)


class Rows:
    """These rows of a data set, with the ids that they have there."""

    def __init__(self, dataset: Sequence[Any], rows: list[int], ids: list[int | str]) -> None:
        self.dataset, self.places, self.ids = dataset, rows, [ids[row] for row in rows]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, position: int) -> Any:
        return self.dataset[self.places[position]]

    def where(self, position: int) -> str:
        """An example as the data set names it."""
        return survey.where(self.dataset, self.places[position])
