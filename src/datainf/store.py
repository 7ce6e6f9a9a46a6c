"""GradientStore: per-example gradients on disk, in append-only shards with an index.

    store/
    ├── index.json               schema, block table, fingerprints; each shard's rows and checksum
    ├── shard-00000.safetensors  a tensor [rows, d_l] a block, ids, losses, squared norms
    └── …

A shard is written aside, synced, renamed, then entered in the index, which is itself replaced in
one step: a kill at any moment loses at most the shard in hand. Rows stand in the order of the
data set. Opening maps the shards into memory; nothing is read before it is needed, and a shard's
checksum is checked when it is first read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Self

import safetensors
import torch
from torch import Tensor

from datainf.errors import (
    StoreCorruptError,
    StoreError,
    StoreIncompleteError,
    StoreMismatchError,
)
from datainf.files import write_atomically
from datainf.fingerprint import file_digest
from datainf.linalg import ChunkedMatrix, GradientMatrix, accumulate_dtype
from datainf.second_moments import load_moments

SCHEMA = 1
INDEX = "index.json"
IDS, LOSSES, SQ_NORMS = "meta/ids", "meta/losses", "meta/sq_norms"
"""Tensors of a shard beside its blocks; no parameter's name holds a slash."""


@dataclass(frozen=True)
class Block:
    """One trainable tensor: its name in `model.named_parameters()`, its shape, and the module
    whose tensors are taken together under `blocks="module"`."""

    name: str
    shape: tuple[int, ...]
    module: str

    @property
    def width(self) -> int:
        """d_l, the number of entries."""
        return prod(self.shape)


@dataclass(frozen=True)
class Shard:
    """Rows start … start+rows-1 of the store, in one file."""

    file: str
    start: int
    rows: int
    bytes: int
    checksum: str


@dataclass
class Index:
    """What index.json holds. `fingerprints` tells base, adapter, data and task; `task` and
    `notes` are plain JSON values for people and for opening the store again."""

    n: int
    dtype: str
    blocks: list[Block]
    fingerprints: dict[str, str]
    shard_rows: int
    task: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    shards: list[Shard] = field(default_factory=list)
    schema: int = SCHEMA

    @property
    def rows_done(self) -> int:
        return sum(shard.rows for shard in self.shards)

    @property
    def torch_dtype(self) -> torch.dtype:
        dtype = getattr(torch, self.dtype, None)
        if not isinstance(dtype, torch.dtype):
            raise StoreCorruptError(f"the index names an unknown dtype, {self.dtype!r}")
        return dtype

    def save(self, folder: Path) -> None:
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        write_atomically(folder / INDEX, text.encode())

    @classmethod
    def load(cls, folder: Path) -> Self:
        path = folder / INDEX
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise StoreError(
                f"{folder} is not a gradient store: it has no {INDEX}",
                remedy="datainf collect makes one; check the path",
            ) from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise StoreCorruptError(f"{path} cannot be read: {error}") from None
        if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
            found = raw.get("schema") if isinstance(raw, dict) else None
            raise StoreError(
                f"{path} has schema {found!r}; this version of datainf reads schema {SCHEMA}",
                remedy="collect the store again, or use the version of datainf that made it",
            )
        try:
            raw["blocks"] = [
                Block(block["name"], tuple(block["shape"]), block["module"])
                for block in raw["blocks"]
            ]
            raw["shards"] = [Shard(**shard) for shard in raw["shards"]]
            index = cls(**{name.name: raw[name.name] for name in fields(cls)})
        except (KeyError, TypeError) as error:
            raise StoreCorruptError(f"{path} is damaged: {error}") from None
        index._check(path)
        return index

    def _check(self, path: Path) -> None:
        start = 0
        for shard in self.shards:
            if shard.start != start or Path(shard.file).name != shard.file:
                raise StoreCorruptError(f"{path} is damaged: shard {shard.file!r} is out of place")
            start += shard.rows
        if start > self.n:
            raise StoreCorruptError(f"{path} is damaged: {start} rows, {self.n} expected")


class GradientStore:
    """A finished store, opened for reading; see `open`."""

    def __init__(self, path: Path, index: Index) -> None:
        self.path = path
        self.index = index
        self._files = [_ShardFile(path, shard, index) for shard in index.shards]

    @classmethod
    def open(cls, path: str | Path) -> GradientStore:
        """Open a store, memory-mapped.

        Raises `StoreError` if `path` is no store, `StoreIncompleteError` if its collection has
        not finished, `StoreCorruptError` if a shard is missing or has another size.
        """
        path = Path(path)
        index = Index.load(path)
        if index.rows_done < index.n:
            raise StoreIncompleteError(
                f"{path} holds {index.rows_done} of {index.n} examples",
                remedy="run the same datainf collect again: it goes on from there",
            )
        for shard in index.shards:
            check_size(path, shard)
        return cls(path, index)

    @cached_property
    def blocks(self) -> Mapping[str, GradientMatrix]:
        """Block name → its gradients [n, d_l], rows in the order of `ids`."""
        offsets = [*(shard.start for shard in self.index.shards), self.index.n]
        dtype = accumulate_dtype(self.index.torch_dtype)
        return {
            block.name: ChunkedMatrix(
                [file.reader(block.name) for file in self._files],
                offsets,
                block.width,
                dtype,
                self.sq_norms[:, position],
            )
            for position, block in enumerate(self.index.blocks)
        }

    @cached_property
    def ids(self) -> list[int | str]:
        """The examples' ids: the data's own, or their row numbers."""
        return [
            identifier
            for file in self._files
            for identifier in json.loads(bytes(file.tensor(IDS).tolist()))
        ]

    @cached_property
    def losses(self) -> Tensor:
        """Each example's loss, [n], float32."""
        return torch.cat([file.tensor(LOSSES) for file in self._files])

    @cached_property
    def sq_norms(self) -> Tensor:
        """‖g_i,l‖² of every example and block, [n, number of blocks], float32."""
        return torch.cat([file.tensor(SQ_NORMS) for file in self._files])

    @cached_property
    def second_moments(self) -> dict[str, Tensor] | None:
        """Adam's v̂ by block [d_l], of the training that led to the weights; None if the store was
        collected without."""
        return load_moments(self.path)

    def example(self, row: int) -> tuple[Tensor, dict[str, Tensor]]:
        """One example's loss, a scalar, and gradient, block name → [d_l] in the dtype of the
        store; of an unfinished store too."""
        for file in self._files:
            at = row - file.shard.start
            if 0 <= at < file.shard.rows:
                gradient = {b.name: file.tensor(b.name)[at] for b in self.index.blocks}
                return file.tensor(LOSSES)[at], gradient
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

    def require_same_blocks(self, other: GradientStore) -> None:
        """Raise `StoreMismatchError` unless both are of the same parameters."""
        if self.index.blocks != other.index.blocks:
            difference = {block.name for block in self.index.blocks} ^ {
                block.name for block in other.index.blocks
            }
            raise StoreMismatchError(
                f"{self.path} and {other.path} hold different blocks: {_first(sorted(difference))}",
                remedy="collect both stores with the same --trainable",
            )

    def require_same_examples(self, other: GradientStore) -> None:
        """Raise `StoreMismatchError` unless both were collected from the same data and task."""
        for what in ("data", "task"):
            if self.index.fingerprints[what] != other.index.fingerprints[what]:
                raise StoreMismatchError(
                    f"{self.path} and {other.path} were collected from different {what}",
                    remedy="the same data and settings for every checkpoint",
                )

    def __repr__(self) -> str:
        return (
            f"GradientStore({str(self.path)!r}, examples={len(self)}, "
            f"blocks={len(self.index.blocks)}, "
            f"parameters={sum(block.width for block in self.index.blocks)})"
        )


@dataclass
class _ShardFile:
    """One shard, mapped when first read."""

    folder: Path
    shard: Shard
    index: Index

    def reader(self, name: str) -> Any:
        return lambda: self.tensor(name)

    def tensor(self, name: str) -> Tensor:
        """A tensor of the shard, mapped, not copied."""
        tensor: Tensor = self._handle.get_tensor(name)
        if len(tensor) != self.shard.rows and name != IDS:
            raise StoreCorruptError(f"{self._path}: {name} has {len(tensor)} rows")
        return tensor

    @property
    def _path(self) -> Path:
        return self.folder / self.shard.file

    @cached_property
    def _handle(self) -> Any:
        check_checksum(self.folder, self.shard)
        return safetensors.safe_open(self._path, framework="pt")


def check_size(folder: Path, shard: Shard) -> None:
    """Raise `StoreCorruptError` if a shard is missing or has another size than was written."""
    path = folder / shard.file
    if not path.is_file():
        raise StoreCorruptError(f"{path} is missing", remedy=_AGAIN)
    if (size := path.stat().st_size) != shard.bytes:
        raise StoreCorruptError(
            f"{path} has {size} bytes; {shard.bytes} were written", remedy=_AGAIN
        )


def check_checksum(folder: Path, shard: Shard) -> None:
    """Raise `StoreCorruptError` if a shard's bytes are not the ones that were written."""
    if file_digest(folder / shard.file) != shard.checksum:
        raise StoreCorruptError(
            f"{folder / shard.file}: the bytes are not the ones that were written "
            "(its checksum differs)",
            remedy=_AGAIN,
        )


_AGAIN = "run the same datainf collect again: it keeps the shards before this one"


def _first(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
