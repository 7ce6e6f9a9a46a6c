"""A shard: one safetensors file, each of whose tensors can be read and checked alone.

The header's metadata holds a digest of every tensor, and the index one of the header: so a tensor
is known to be as it was written without reading the rest of the file, and a store far larger than
memory is read once and not twice.
"""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors
import torch
import xxhash
from torch import Tensor

from datainf.errors import StoreCorruptError, first_line
from datainf.files import allocate, draft_of, put_in_place, size_of, sizes_of, sync_folder, writing
from datainf.fingerprint import READ_BYTES, bytes_digest, tensor_bytes
from datainf.remote import is_remote
from datainf.store.encoding import Encoded, encode
from datainf.store.header import LENGTH_BYTES, Extent, Header, Shapes, extents_of
from datainf.store.index import INDEX, Block, Index, Shard
from datainf.store.shard_copies import ShardCopies

IDS, LOSSES, SQ_NORMS, SCALES = "meta/ids", "meta/losses", "meta/sq_norms", "meta/scales"
"""Tensors of a shard beside its blocks; no parameter's name holds a slash."""
SYNC_BYTES = 512 * 2**20
"""After so many bytes the disk is asked to have them, while the next rows are computed: little is
then left to wait for at the end. Fewer are not worth what that takes from computing on a CPU."""


class ShardDraft:
    """A shard while its rows are computed: a file beside its place, on this machine if that is in
    object storage, to which every row is written as it comes, so that no more of a shard is in
    memory than a batch. Rows that another device computes are written while it computes the next
    ones: then it is two.

    Raises `WriteError` if the disk refuses, in the next call where it was asked meanwhile; room for
    all rows is asked for at the start.
    """

    def __init__(self, path: Path, index: Index, ids: list[int | str]) -> None:
        rows = len(ids)
        self.path = path
        self.blocks, self.dtype = index.blocks, index.torch_dtype
        self.losses = torch.empty(rows)
        self.sq_norms = torch.empty((rows, len(self.blocks)))
        self.scales = torch.ones((rows, len(self.blocks))) if self.dtype == torch.int8 else None
        self.skipped: dict[int, str] = {}
        self._ids = torch.tensor(list(_id_bytes(ids)), dtype=torch.uint8)
        self._header = Header(_shapes(index, rows, len(self._ids)))
        self.aside = draft_of(path, self._header.file_bytes)
        self._disk = self.aside if is_remote(path) else path  # as messages name it
        self._thread = ThreadPoolExecutor(1, "datainf-rows")
        self._in_hand: Future[None] | None = None
        self._sync_thread = ThreadPoolExecutor(1, "datainf-sync")
        self._syncing: Future[None] | None = None
        self._unsynced = 0
        with writing(self._disk):
            self.aside.unlink(missing_ok=True)  # it may be a link, which would be written through
            self._file = self.aside.open("x+b", buffering=0)
            try:
                allocate(self._file.fileno(), self._header.file_bytes)
            except OSError:
                self.drop()
                raise

    def put(self, places: Sequence[int], gradients: Mapping[str, Tensor], losses: Tensor) -> Tensor:
        """Store rows at `places`: gradients [rows, columns] a block, on any device.

        Returns whose squared norms are finite as stored, in float32, [rows, blocks], and with the
        loss's last.
        """
        encoded, squares, on_host = as_stored(gradients, self.blocks, self.dtype)
        if squares.device.type == "cpu":  # which has nothing else to do
            self._write(places, on_host)
        else:
            self._wait()
            self._in_hand = self._thread.submit(self._write, places, on_host)
        at = torch.as_tensor(places)
        if self.scales is not None:
            scales = [rows.scale for rows in encoded if rows.scale is not None]
            self.scales[at] = torch.stack(scales, dim=1).cpu()
        beside = torch.cat([squares, losses[:, None].to(squares)], dim=1).cpu().float()
        self.sq_norms[at], self.losses[at] = beside[:, :-1], beside[:, -1]
        self._begin_sync(sum(rows.nbytes for rows in on_host))
        return beside.isfinite()

    def skip(self, place: int, why: str) -> None:
        """Take a row that was put for none: its gradient is zero then, its loss stays."""
        self.skipped[place] = why
        zeros = {block.name: torch.zeros((1, block.columns)) for block in self.blocks}
        self._wait()
        self.put([place], zeros, self.losses[place : place + 1].clone())

    def row(self, place: int) -> tuple[Tensor, dict[str, Tensor]]:
        """One row's loss, a scalar, and gradient as stored, block name → [columns], float32 or
        better."""
        self._wait()
        found = {}
        for position, block in enumerate(self.blocks):
            start, width = self._header.offset(block.name), block.columns * self.dtype.itemsize
            stored = bytearray(os.pread(self._file.fileno(), width, start + place * width))
            scale = None if self.scales is None else self.scales[place : place + 1, position]
            rows = torch.frombuffer(stored, dtype=self.dtype)[None]
            found[block.name] = Encoded(rows, scale).decoded()[0]
        return self.losses[place], found

    def finish(self) -> tuple[int, str]:
        """Put the shard in its place, on the disk for good; its bytes and its header's digest."""
        with writing(self._disk):
            try:
                self._wait()
                for name, tensor in self._beside().items():
                    self._write_at(self._header.offset(name), tensor_bytes(tensor))
                self._sync()  # while the digests are taken
                digests = {name: self._digest(name) for name in self._header.shapes}
                self._sync_done()
                header = self._header.with_digests(digests)
                self._write_at(0, memoryview(header))
                os.fsync(self._file.fileno())
                checksum = bytes_digest(header)
                put_in_place(self.aside, self.path, checksum)
            except BaseException:
                self.drop()
                raise
            self._close()
            sync_folder(self.path.parent)
        return self._header.file_bytes, checksum

    def drop(self) -> None:
        """Leave nothing."""
        self._close()
        self.aside.unlink(missing_ok=True)

    def _beside(self) -> dict[str, Tensor]:
        tensors = {IDS: self._ids, LOSSES: self.losses, SQ_NORMS: self.sq_norms}
        return tensors if self.scales is None else {**tensors, SCALES: self.scales}

    def _wait(self) -> None:
        """Until the rows in hand are written."""
        in_hand, self._in_hand = self._in_hand, None
        if in_hand is not None:
            in_hand.result()

    def _begin_sync(self, written: int) -> None:
        """Ask the disk for what is written so far, if that is much and it is not being asked."""
        self._unsynced += written
        if self._unsynced < SYNC_BYTES or not (self._syncing is None or self._syncing.done()):
            return
        with writing(self._disk):
            self._sync()

    def _sync(self) -> None:
        """Have the disk take what is written, in a thread; after what it was asked before."""
        self._sync_done()
        self._unsynced = 0
        self._syncing = self._sync_thread.submit(os.fsync, self._file.fileno())

    def _sync_done(self) -> None:
        """Until the disk has what it was asked to have; what it refused it says once."""
        syncing, self._syncing = self._syncing, None
        if syncing is not None:
            syncing.result()

    def _close(self) -> None:
        self._thread.shutdown()
        self._sync_thread.shutdown()
        self._file.close()

    def _write(self, places: Sequence[int], stored: Sequence[Tensor]) -> None:
        with writing(self._disk):
            for block, rows in zip(self.blocks, stored, strict=True):
                self._write_rows(block.name, places, rows)

    def _write_rows(self, name: str, places: Sequence[int], rows: Tensor) -> None:
        start, width = self._header.offset(name), rows.shape[1] * rows.itemsize
        data = tensor_bytes(rows.contiguous())
        for row, place in enumerate(places):
            self._write_at(start + place * width, data[row * width : (row + 1) * width])

    def _write_at(self, offset: int, data: memoryview) -> None:
        while len(data):
            written = os.pwrite(self._file.fileno(), data, offset)
            offset, data = offset + written, data[written:]

    def _digest(self, name: str) -> str:
        """Of what the file has, without keeping it in memory."""
        state, offset, left = xxhash.xxh3_128(), *self._header.place(name)
        while left:
            piece = os.pread(self._file.fileno(), min(left, READ_BYTES), offset)
            if not piece:
                raise OSError(errno.EIO, f"{self.aside} ends too early")
            state.update(piece)
            offset, left = offset + len(piece), left - len(piece)
        return state.hexdigest()


def example_bytes(index: Index) -> int:
    """An example's on the disk: of its gradient as stored, its loss, norms and scales; without its
    id and its part of a header."""
    return _data_bytes(_shapes(index, 1, 0))


def missing_bytes(index: Index, ids: list[int | str]) -> int:
    """Of the files of the shards that an index lacks, whose rows have these ids. Headers, whose
    lengths differ by a few digits, are counted as the first of them."""
    missing = [ids[rows.start : rows.stop] for rows in index.missing()]
    if not missing:
        return 0
    texts = [len(_id_bytes(some)) for some in missing]
    first = _shapes(index, len(missing[0]), texts[0])
    header = Header(first).file_bytes - _data_bytes(first)
    return example_bytes(index) * sum(map(len, missing)) + sum(texts) + header * len(missing)


def _data_bytes(shapes: Shapes) -> int:
    return sum(dtype.itemsize * math.prod(shape) for dtype, shape in shapes.values())


def _shapes(index: Index, rows: int, id_bytes: int) -> Shapes:
    """Every tensor of a shard; all but the ids grow with its rows."""
    a_row_and_block = (torch.float32, (rows, len(index.blocks)))
    shapes: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
        block.name: (index.torch_dtype, (rows, block.columns)) for block in index.blocks
    }
    shapes |= {
        IDS: (torch.uint8, (id_bytes,)),
        LOSSES: (torch.float32, (rows,)),
        SQ_NORMS: a_row_and_block,
    }
    return shapes | {SCALES: a_row_and_block} if index.torch_dtype == torch.int8 else shapes


def _id_bytes(ids: list[int | str]) -> bytes:
    return json.dumps(ids).encode()


def as_stored(
    gradients: Mapping[str, Tensor], blocks: Sequence[Block], dtype: torch.dtype
) -> tuple[list[Encoded], Tensor, Sequence[Tensor]]:
    """Rows [rows, columns] of every block encoded; their squared norms [rows, blocks], float64; and
    what is written of them, in the CPU's memory."""
    encoded = [encode(gradients[block.name], dtype) for block in blocks]
    squares = torch.stack([rows.sq_norms() for rows in encoded], dim=1)
    return encoded, squares, _on_host([rows.stored for rows in encoded])


def _on_host(rows: Sequence[Tensor]) -> Sequence[Tensor]:
    """Blocks of one dtype in the CPU's memory, from another device by one copy, since each waits
    until that device has done all before."""
    if rows[0].device.type == "cpu":
        return rows
    whole = torch.cat([block.flatten() for block in rows])
    if whole.device.type == "cuda":  # to memory that it may write to by itself, as fast as it can
        there, whole = whole, torch.empty(whole.shape, dtype=whole.dtype, pin_memory=True)
        whole.copy_(there)
    parts = torch.split(whole.cpu(), [block.numel() for block in rows])
    return [part.view(block.shape) for part, block in zip(parts, rows, strict=True)]


@dataclass
class ShardFile:
    """One shard of a store, opened for reading, by several threads too. Its tensors are mapped, not
    copied, and the mapping lives no longer than they do, unless the file is kept open: what was
    read of a store is not kept in memory."""

    folder: Path
    shard: Shard
    index: Index
    _extents: dict[str, Extent] | None = None
    _sound: set[str] = field(default_factory=set)
    _copies: ShardCopies | None = field(init=False, default=None, compare=False)
    _stays_open: bool = field(init=False, default=False, compare=False)
    _open: Any = field(init=False, default=None, compare=False)

    def __post_init__(self) -> None:
        if is_remote(self.folder):
            self._copies = ShardCopies(self.path, self.shard, self.index)

    def tensor(self, name: str) -> Tensor:
        """A tensor of the shard, checked when it is first read.

        Raises `StoreCorruptError` if its bytes are not the ones that were written.
        """
        try:
            return self._tensor(name)
        except StoreCorruptError:
            if self._copies is None:
                raise
            self._copies.forget(name)  # it may be what is broken
            return self._tensor(name)

    def _tensor(self, name: str) -> Tensor:
        with self._reading():
            tensor = self._mapped(name)
        if name not in self._sound:
            self._check(name, tensor)
        return tensor

    def _mapped(self, name: str) -> Tensor:
        if self._copies is None:
            file = self._opened(self.path)
        else:
            file = self._copies.whole(self._opened, self._checked)
            if file is None:
                return self._part(self._copies, name)
        tensor: Tensor = file.get_tensor(name)
        return tensor

    def _opened(self, local: Path) -> Any:
        """The shard's file, or a copy of it, mapped."""
        if self._open is not None:
            return self._open
        if self._extents is None:
            self._extents = self._read_extents(_header(local))
        file = safetensors.safe_open(local, framework="pt")
        if self._stays_open:
            self._open = file
        return file

    def keep_open(self) -> None:
        """Map the file once for all that is read of it from now on: what was read then stays in
        memory until the system needs that for something else. Copies of objects come and go."""
        self._stays_open = self._copies is None

    def _checked(self, local: Path) -> Any:
        """The same after a look at every byte: those of an object may be of another than that which
        was opened, whatever was found sound before."""
        if local.stat().st_size != self.shard.bytes:
            raise self._corrupt("all of it")
        self._extents = self._read_extents(_header(local))
        file: Any = safetensors.safe_open(local, framework="pt")
        for name in self._extents:
            self._check(name, file.get_tensor(name))
        return file

    def _part(self, copies: ShardCopies, name: str) -> Tensor:
        """A tensor from a copy of its bytes alone."""
        if self._extents is None:
            self._extents = self._read_extents(copies.header())
        if (extent := self._extents.get(name)) is None:
            raise StoreCorruptError(f"{self.path}: {name} is not in it", remedy=AGAIN)
        dtype, shape = _shapes(self.index, self.shard.rows, extent.size)[name]
        if dtype.itemsize * math.prod(shape) != extent.size:
            raise self._misshapen(name, f"{extent.size} bytes")
        if extent.size == 0:  # no system maps nothing
            return torch.empty(shape, dtype=dtype)

        def opened(local: Path) -> Tensor:
            there = torch.from_numpy(np.memmap(local, mode="c"))  # and not written to
            return there.view(dtype).view(shape)

        def checked(local: Path) -> Tensor:
            if local.stat().st_size != extent.size:
                raise self._corrupt(name)
            self._check(name, tensor := opened(local))
            return tensor

        return copies.part(name, extent, opened, checked)

    def _check(self, name: str, tensor: Tensor) -> None:
        extent = (self._extents or {}).get(name)
        if extent is None or bytes_digest(tensor_bytes(tensor)) != extent.digest:
            raise self._corrupt(name)
        self._require_shape(name, tensor)
        self._sound.add(name)

    def _require_shape(self, name: str, tensor: Tensor) -> None:
        """A file from elsewhere may be whole, and not what its index says."""
        expected = _shapes(self.index, self.shard.rows, tensor.numel()).get(name)
        if (tensor.dtype, tuple(tensor.shape)) != expected:
            raise self._misshapen(name, f"shape {tuple(tensor.shape)} and {tensor.dtype}")

    def rows(self, name: str) -> Tensor:
        """The same for a `ChunkedMatrix`, which takes a few rows at a time."""
        return self.tensor(name)

    @property
    def ids(self) -> list[int | str]:
        told = self.tensor(IDS)
        try:
            found = json.loads(bytes(told.tolist()))
        except (ValueError, RecursionError) as error:
            raise StoreCorruptError(f"{self.path}: {first_line(error)}", remedy=AGAIN) from None
        if not isinstance(found, list) or not all(isinstance(one, int | str) for one in found):
            raise StoreCorruptError(f"{self.path}: its ids are no list of them", remedy=AGAIN)
        if len(found) != self.shard.rows:
            raise StoreCorruptError(f"{self.path}: {len(found)} ids", remedy=AGAIN)
        return found

    @property
    def path(self) -> Path:
        return self.folder / self.shard.file

    def check(self) -> None:
        """Raise `StoreCorruptError` if any byte of the shard is not the one that was written; in
        object storage of what is there now, not of a copy that was fetched before."""
        check_size(self.folder, self.shard)
        with self._reading():
            if self._copies is None:
                self._checked(self.path)
            else:
                self._copies.fetched(self._checked)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn what libraries and the system say of the file into a `StoreCorruptError`."""
        try:
            yield
        except (safetensors.SafetensorError, OSError) as error:
            told = getattr(error, "strerror", None) or error
            raise StoreCorruptError(f"{self.path}: {told}", remedy=AGAIN) from None

    def _read_extents(self, header: bytes) -> dict[str, Extent]:
        if bytes_digest(header) != self.shard.checksum:
            raise self._corrupt("its header")
        try:
            return extents_of(header)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise StoreCorruptError(
                f"{self.path}: its header is none ({first_line(error)})", remedy=AGAIN
            ) from None

    def _misshapen(self, name: str, how: str) -> StoreCorruptError:
        return StoreCorruptError(
            f"{self.path}: {name} is of {how}, not as {INDEX} says", remedy=AGAIN
        )

    def _corrupt(self, what: str) -> StoreCorruptError:
        return StoreCorruptError(
            f"{self.path}: the bytes are not the ones that were written (the checksum of {what} "
            "differs)",
            remedy=AGAIN,
        )


@dataclass(frozen=True)
class PickedRows:
    """Rows of a tensor, of which only those in a slice are copied when it is taken."""

    whole: Tensor
    places: list[int]

    def __getitem__(self, rows: slice) -> Tensor:
        return self.whole[self.places[rows]]


@dataclass
class ShardPart:
    """Some rows of a shard, read where they lie; `shard` says where they stand among the rows that
    were picked."""

    whole: ShardFile
    places: list[int]
    shard: Shard

    @classmethod
    def of(cls, file: ShardFile | ShardPart, places: list[int], shard: Shard) -> Self:
        """Some rows of a shard, or of the part of one."""
        if isinstance(file, ShardFile):
            return cls(file, places, shard)
        return cls(file.whole, [file.places[place] for place in places], shard)

    def keep_open(self) -> None:
        self.whole.keep_open()

    def tensor(self, name: str) -> Tensor:
        """These rows of a tensor of the shard, all of which is checked when it is first read."""
        return self.whole.tensor(name)[self.places]

    def rows(self, name: str) -> Any:
        """The same for a `ChunkedMatrix`, which takes a few of them at a time."""
        return PickedRows(self.whole.tensor(name), self.places)

    @property
    def ids(self) -> list[int | str]:
        ids = self.whole.ids
        return [ids[place] for place in self.places]


def check_size(folder: Path, shard: Shard) -> None:
    """Raise `StoreCorruptError` if a shard is missing or has another size than was written."""
    _require_size(folder / shard.file, shard, size_of(folder / shard.file))


def check_sizes(folder: Path, shards: Sequence[Shard]) -> None:
    """The same of all shards of a store."""
    found = sizes_of(folder, [shard.file for shard in shards])
    for shard in shards:
        _require_size(folder / shard.file, shard, found[shard.file])


def _require_size(path: Path, shard: Shard, size: int | None) -> None:
    if size is None:
        raise StoreCorruptError(f"{path} is missing", remedy=AGAIN)
    if size != shard.bytes:
        raise StoreCorruptError(
            f"{path} has {size} bytes; {shard.bytes} were written", remedy=AGAIN
        )


def _header(path: Path) -> bytes:
    """A safetensors file's header with its length before it; no more bytes than the file has."""
    with path.open("rb") as file:
        length = file.read(LENGTH_BYTES)
        rest = min(int.from_bytes(length, "little"), path.stat().st_size)
        return length + file.read(rest)


AGAIN = "run the same command again: it keeps the shards before this one"
