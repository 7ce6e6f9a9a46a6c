"""What the store of a data set will hold, at every checkpoint, and what of it is there already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch

from datainf.files import has_file
from datainf.gradients import PendingStore
from datainf.gradients.batches import batches
from datainf.gradients.collector import CHECKED, max_rows
from datainf.planning.compression import StoreRows, rows_of
from datainf.remote import is_remote
from datainf.store import SAMPLE, Index
from datainf.store.index import INDEX
from datainf.store.writer import begun, with_noted

OF_WEIGHTS = ("base", "adapter")
"""Fingerprints that differ from checkpoint to checkpoint: the base's too, where a part of what was
trained is left out of the attribution."""


class Batch(NamedTuple):
    """Examples, tokens of the longest, and bytes that the gradients of each take."""

    rows: int
    tokens: int
    row_bytes: int

    @property
    def padded(self) -> int:
        """Tokens, padding counted."""
        return self.rows * self.tokens


@dataclass(frozen=True)
class StorePlan:
    """Of a data set: its examples, how many of them are kept in full beside a smaller store, their
    tokens, those of the longest, and a shard's examples; and over all checkpoints how many examples
    are done, and the bytes of all files and of those that are to be written."""

    name: str
    examples: int
    in_full: int
    tokens: int
    longest: int
    shard_rows: int
    done: int
    bytes: int
    missing_bytes: int


@dataclass(frozen=True)
class Stores:
    """A data set's store, prepared at the first checkpoint, with the folders for it at all of them;
    None for one that is nowhere yet.

    Raises `StoreMismatchError` for a store of something else in the place of one of them; at other
    checkpoints that is of other data or settings, since of their weights nothing is known yet.
    `NonFiniteError` for one that has skipped examples, where none is to be.
    """

    pending: PendingStore
    folders: Sequence[Path | None]

    def __post_init__(self) -> None:
        for folder in filter(None, self.folders):
            weights = () if folder == self.pending.out else OF_WEIGHTS
            there = begun(folder, self.pending.index, but=weights)
            if there is not None:
                self.pending.collector.require_none_skipped(folder, there)

    @cached_property
    def there(self) -> list[list[StoreRows]]:
        """What stands in each folder: the store's rows, and those of the one in full in it."""
        return [self._in(folder) for folder in self.folders]

    @property
    def is_missing(self) -> bool:
        return any(rows.is_missing for found in self.there for rows in found)

    @property
    def is_begun(self) -> bool:
        """Whether a store stands in some folder; without any row it is compared all the same."""
        return any(folder is not None and has_file(folder / INDEX) for folder in self.folders)

    @property
    def missing_shards(self) -> list[range]:
        """Rows that the store lacks at some checkpoint, those of the one in full left out."""
        return [shard for found in self.there for shard in found[0].index.missing()]

    @property
    def leftover_bytes(self) -> int:
        """Of shards that a killed run left unfinished, whose files the next one truncates."""
        local = [folder for folder in self.folders if folder and not is_remote(folder)]
        folders = [path for folder in local for path in (folder, folder / SAMPLE)]
        return sum(path.stat().st_size for folder in folders for path in folder.glob("*.tmp"))

    @property
    def notes(self) -> dict[str, Any]:
        """Of the store at the first checkpoint, if it was begun."""
        return dict(self.there[0][0].index.notes)

    def plan(self, name: str) -> StorePlan:
        lengths = self.pending.survey.lengths
        whole = rows_of(self.pending, self.pending.index)
        return StorePlan(
            name=name,
            examples=self.pending.index.n,
            in_full=sum(rows.index.n for rows in whole[1:]),
            tokens=sum(lengths),
            longest=max(lengths),
            shard_rows=self.there[0][0].index.shard_rows,
            done=sum(found[0].index.rows_done for found in self.there),
            bytes=len(self.there) * sum(rows.missing_bytes(self.pending) for rows in whole),
            missing_bytes=sum(
                rows.missing_bytes(self.pending) for found in self.there for rows in found
            ),
        )

    def batches(self, budget: int | None = None) -> list[Batch]:
        """Every batch to come, at the settled budget or at another."""
        if not self.is_missing:
            return []
        budget = budget or self.pending.collector.budget
        return [batch for found in self.there for batch in self._batches(budget, *found)]

    def checked(self, budget: int | None = None) -> Batch:
        """The examples that every start compares with autograd, none of whose gradients is made
        smaller."""
        collector, lengths = self.pending.collector, self.pending.survey.lengths
        rows = 1 if (budget or collector.budget) == 1 else min(CHECKED, len(lengths))
        return Batch(rows, max(1, *lengths), self._full_row_bytes)

    @property
    def _full_row_bytes(self) -> int:
        index = self.pending.index
        return self.pending.full_dtype.itemsize * sum(block.width for block in index.blocks)

    def _batches(
        self, budget: int, rows: StoreRows, sample: StoreRows | None = None
    ) -> list[Batch]:
        lengths, row_bytes = self.pending.survey.lengths, self.pending.collector.row_bytes
        device = self.pending.collector.gradients.device
        found = [
            batch
            for shard in rows.index.missing()
            for batch in _planned(lengths[shard.start : shard.stop], budget, row_bytes, device)
        ]
        if sample is not None:
            known = dict(zip(rows.ids, lengths, strict=True))
            mine = [known[sample.ids[row]] for part in sample.index.missing() for row in part]
            found += _planned(mine, budget, self._full_row_bytes, device)
        return found

    def _in(self, folder: Path | None) -> list[StoreRows]:
        found = rows_of(self.pending, self.pending.index)
        if folder is None:
            return found
        return [
            replace(rows, index=_begun(place, rows.index))
            for place, rows in zip([folder, folder / SAMPLE], found, strict=False)
        ]


def _begun(folder: Path, index: Index) -> Index:
    """With the shards and the notes that are there; a shard that is only noted will be entered."""
    if not has_file(folder / INDEX):
        return index
    known = with_noted(folder)
    shard_rows = known.shard_rows if known.shards else index.shard_rows
    return replace(index, shards=known.shards, shard_rows=shard_rows, notes=known.notes)


def _planned(
    lengths: Sequence[int], budget: int, row_bytes: int, device: torch.device
) -> list[Batch]:
    """The batches of rows of these lengths."""
    found = batches(lengths, budget, max_rows(row_bytes, device))
    return [Batch(len(places), max(1, lengths[places[0]]), row_bytes) for places in found]
