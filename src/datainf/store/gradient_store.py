"""GradientStore: a finished store, opened for reading."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from datainf.errors import NonFiniteError, StoreIncompleteError, StoreMismatchError
from datainf.linalg import ChunkedMatrix, GradientMatrix, RowScaled, accumulate_dtype
from datainf.remote import place
from datainf.remote.tries import reading
from datainf.second_moments import load_moments
from datainf.store.encoding import Encoded
from datainf.store.html import store_html
from datainf.store.index import Block, Index, difference, projected_by
from datainf.store.shards import LOSSES, SCALES, SQ_NORMS, ShardFile, ShardPart, check_sizes

SAMPLE = "sample"
"""The folder in a store of smaller rows that keeps some of them in full."""


class GradientStore:
    """A finished store, opened for reading; see `open`."""

    def __init__(
        self, path: Path, index: Index, files: Sequence[ShardFile | ShardPart] | None = None,
        ids: list[int | str] | None = None, checksums: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """`ids`: other ones than the shards have; `checksums`: those of the indices that it was
        put together from."""
        self.path = path
        self.index = index
        self.checksums = checksums or [index.checksum]
        if ids is not None:
            self.ids = ids
        if files is None:
            files = [ShardFile(path, shard, index) for shard in index.shards]
        self._files = files

    @classmethod
    def open(cls, path: str | PathLike[str]) -> GradientStore:
        """Open a store, by its folder or its URL; its shards are mapped into memory while they are
        read, those of a URL from this machine's copies, see `datainf.remote.cache`.

        Raises `StoreError` if `path` is no store, `StoreIncompleteError` if its collection has
        not finished, `StoreCorruptError` if a shard is missing or has another size.
        """
        path = place(path)
        index = Index.load(path)
        if index.rows_done < index.n:
            raise StoreIncompleteError(
                f"{path} holds {index.rows_done} of {index.n} examples",
                remedy=index.how_to_finish(),
            )
        check_sizes(path, index.shards)
        return cls(path, index)

    @cached_property
    def blocks(self) -> Mapping[str, GradientMatrix]:
        """Block name → its gradients [n, d_l], rows in the order of `ids`."""
        return {b.name: self._matrix(b, place) for place, b in enumerate(self.index.blocks)}

    def _matrix(self, block: Block, place: int) -> GradientMatrix:
        offsets = [*(shard.start for shard in self.index.shards), self.index.n]
        sq_norms, scales = self.sq_norms[:, place], self._scales
        as_precise = sq_norms if self.index.torch_dtype != torch.float64 else None
        rows = ChunkedMatrix(
            [partial(file.rows, block.name) for file in self._files],
            offsets,
            block.columns,
            accumulate_dtype(self.index.torch_dtype),
            as_precise if scales is None else None,
            parameters=block.width,
        )
        return rows if scales is None else RowScaled(rows, scales[:, place], sq_norms)

    @cached_property
    def _scales(self) -> Tensor | None:
        """What each row of each block is multiplied by, [n, number of blocks]; None for 1."""
        if self.index.torch_dtype != torch.int8:
            return None
        return torch.cat([file.tensor(SCALES) for file in self._files])

    @cached_property
    def ids(self) -> list[int | str]:
        """The examples' ids: the data's own, or their row numbers."""
        return [identifier for file in self._files for identifier in file.ids]

    @cached_property
    def losses(self) -> Tensor:
        """Each example's loss, [n], float32."""
        return torch.cat([file.tensor(LOSSES) for file in self._files])

    @cached_property
    def sq_norms(self) -> Tensor:
        """‖g_i,l‖² of every example and block, [n, number of blocks], float32."""
        return torch.cat([file.tensor(SQ_NORMS) for file in self._files])

    @cached_property
    def skipped(self) -> Mapping[int, str]:
        """Rows whose losses or gradients were not finite, and what was not: they are stored as
        zeros, and have no part in anything. Their losses are as they were."""
        return self.index.skipped()

    def keep_open(self) -> None:
        """For who reads the store over and over: its files are mapped once, not for each reading,
        and what was read stays in memory until the system needs that for something else."""
        for file in self._files:
            file.keep_open()

    @cached_property
    def sound(self) -> GradientStore:
        """The examples that were not skipped; the store itself where none was.

        Raises `NonFiniteError` if none is left.
        """
        if not self.skipped:
            return self
        ids = [own for row, own in enumerate(self.ids) if row not in self.skipped]
        if not ids:
            raise NonFiniteError(
                f"{self.path}: all of its examples were skipped. Of the first, {self.skipped[0]}",
                remedy="check the adapter's weights for NaN, and --dtype",
            )
        return self.pick(ids)

    @cached_property
    def second_moments(self) -> dict[str, Tensor] | None:
        """Adam's v̂ by block [d_l], of the training that led to the weights; None if the store was
        collected without."""
        return load_moments(self.path)

    @cached_property
    def sample(self) -> GradientStore | None:
        """Some of the examples in full, where the store is made smaller; None if there are none."""
        with reading(self.path):
            is_there = (self.path / SAMPLE).exists()
        return GradientStore.open(self.path / SAMPLE) if is_there else None

    def pick(self, ids: Collection[int | str]) -> GradientStore:
        """These examples alone, in the store's order, as stored and read where they lie.

        Raises `StoreMismatchError` for ids that the store does not have.
        """
        wanted, files, start = set(ids), list[ShardFile | ShardPart](), 0
        own = [row for row, known in enumerate(self.ids) if known in wanted]
        for file in self._files:
            first = file.shard.start
            some = slice(*(bisect_left(own, end) for end in (first, first + file.shard.rows)))
            places = [row - first for row in own[some]]
            if places:
                new = {place: at for at, place in enumerate(places)}
                skipped = tuple(
                    (new[place], why) for place, why in file.shard.skipped if place in new
                )
                shard = replace(file.shard, start=start, rows=len(places), skipped=skipped)
                files.append(ShardPart.of(file, places, shard))
                start += len(places)
        if start < len(wanted):
            raise StoreMismatchError(
                f"{self.path} has {start} of the {len(wanted)} examples that were asked for"
            )
        index = replace(self.index, n=start, shards=[file.shard for file in files], parts=[])
        names = [self.ids[row] for row in own]
        return GradientStore(self.path, index, files, names, self.checksums)

    @property
    def files(self) -> Sequence[ShardFile | ShardPart]:
        """Its shards, in the order of the rows."""
        return self._files

    def example(self, row: int) -> tuple[Tensor, dict[str, Tensor]]:
        """One example's loss, a scalar, and gradient as stored, block name → [columns], float32
        or better; of an unfinished store too.

        Raises `IndexError` for a row that the store does not have, or not yet.
        """
        for file in self._files:
            at = row - file.shard.start
            if 0 <= at < file.shard.rows:
                is_scaled = self.index.torch_dtype == torch.int8
                scales = file.tensor(SCALES)[at] if is_scaled else None
                found = {}
                for place, block in enumerate(self.index.blocks):
                    scale = None if scales is None else scales[place : place + 1]
                    encoded = Encoded(file.tensor(block.name)[at : at + 1], scale)
                    found[block.name] = encoded.decoded()[0]
                return file.tensor(LOSSES)[at], found
        raise IndexError(f"row {row} of {self.index.rows_done}")

    def __len__(self) -> int:
        return self.index.n

    def require_same_model(self, other: GradientStore) -> None:
        """Raise `StoreMismatchError` unless both have the same weights and blocks."""
        for what in ("base", "adapter"):
            if self.index.fingerprints[what] != other.index.fingerprints[what]:
                raise StoreMismatchError(
                    f"{self.path} and {other.path} come from different weights or settings of "
                    f"the {what}",
                    remedy="collect both stores with the same model and adapter",
                )
        self.require_same_blocks(other)
        moments = [store.index.fingerprints.get("moments") for store in (self, other)]
        if moments[0] != moments[1]:
            raise StoreMismatchError(
                f"{self.path} and {other.path} are projected in the metric of different second "
                "moments",
                remedy="collect both stores with those of the same optimizer",
            )

    def require_same_blocks(self, other: GradientStore) -> None:
        """Raise `StoreMismatchError` unless both are of the same parameters, made smaller in the
        same way."""
        if self.index.projection != other.index.projection:
            ways = [projected_by(store.index.projection) for store in (self, other)]
            raise StoreMismatchError(
                f"{self.path} and {other.path} are projected in different ways: "
                f"--project {ways[0]}, and {ways[1]}",
                remedy="collect both stores with the same --project",
            )
        if self.index.blocks != other.index.blocks:
            raise StoreMismatchError(
                f"{self.path} and {other.path} hold different blocks: "
                f"{difference(self.index.blocks, other.index.blocks)}",
                remedy="collect both stores with the same --trainable, from adapters of the same "
                "rank; pictures with the same --timestep-gradients",
            )

    def require_same_examples(self, other: GradientStore) -> None:
        """Raise `StoreMismatchError` unless both were collected from the same data and task."""
        for what in ("data", "task"):
            if self.index.fingerprints[what] != other.index.fingerprints[what]:
                raise StoreMismatchError(
                    f"{self.path} and {other.path} were collected from different {what}",
                    remedy="the same data and settings for every checkpoint",
                )

    def _repr_html_(self) -> str:
        return store_html(self)

    def __repr__(self) -> str:
        return (
            f"GradientStore({str(self.path)!r}, examples={len(self)}, "
            f"blocks={len(self.index.blocks)}, "
            f"parameters={sum(block.width for block in self.index.blocks)})"
        )
