"""In how many bytes gradients can be stored: what `--store` and `--project` make of a store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from datainf.gradients import PendingStore
from datainf.gradients.layout import laid_out
from datainf.gradients.sample import in_full, sampled_rows
from datainf.projection import Projection
from datainf.store import Index
from datainf.store.encoding import stored_dtype
from datainf.store.shards import missing_bytes

Ids = list[int | str]


@dataclass(frozen=True)
class Compression:
    """What the two options say; `project` is None without a projection."""

    store: str = "float32"
    project: int | None = None

    @classmethod
    def of(cls, index: Index) -> Self:
        """That of a store."""
        return cls(index.dtype, None if index.projection is None else index.projection["ratio"])

    @property
    def options(self) -> str:
        """As they are written: "--store int8 --project 16"."""
        project = [] if self.project is None else [f"--project {self.project}"]
        store = [] if project and self.store == "float32" else [f"--store {self.store}"]
        return " ".join(store + project)

    def index(self, other: Index, shard_rows: int | None = None) -> Index:
        """Of the same gradients so compressed."""
        projection = None if self.project is None else Projection(self.project)
        return laid_out(other, stored_dtype(self.store), projection, shard_rows=shard_rows)

    def rows(self, pending: PendingStore) -> list[StoreRows]:
        """Of a pending store, were it so compressed."""
        return rows_of(pending, self.index(pending.index, pending.shard_rows))


CHOICES = (
    Compression(),
    Compression("bfloat16"),
    Compression("int8"),
    Compression(project=16),
    Compression(project=64),
    Compression("int8", 16),
)
"""That are worth a look, in the order in which they are named where the disk is too small."""


@dataclass(frozen=True)
class StoreRows:
    """A store's index, and the ids of all its rows."""

    index: Index
    ids: Ids

    @property
    def is_missing(self) -> bool:
        """Whether some of them are."""
        return self.index.rows_done < self.index.n

    def missing_bytes(self, pending: PendingStore) -> int:
        """Of the files that the store lacks: shards, and Adam's second moments. index.json, some
        hundred bytes a tensor and a shard, is left out."""
        moments = {} if self.index.shards else pending.moments or {}
        return missing_bytes(self.index, self.ids) + sum(4 * v.numel() for v in moments.values())


def rows_of(pending: PendingStore, index: Index) -> list[StoreRows]:
    """A pending store by the index that it has or might have, and, where that makes it smaller, the
    store in it that keeps some examples in full."""
    ids = pending.survey.ids
    found = [StoreRows(index, ids)]
    if index.is_smaller and pending.sample is not None:
        some = [ids[row] for row in sampled_rows(index)]
        found.append(StoreRows(in_full(index, pending.full_dtype), some))
    return found
