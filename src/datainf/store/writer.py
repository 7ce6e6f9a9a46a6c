"""Writing a gradient store, shard by shard, from the start or from where a killed run left it.

A shard is written by a thread of its own while the next one is computed. One is in hand at most,
so that two shards' rows are in memory and not more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from datainf.errors import StoreCorruptError, StoreError, StoreMismatchError
from datainf.files import locked, make_folder
from datainf.store.encoding import Encoded, encode
from datainf.store.index import INDEX, Index, Shard
from datainf.store.shards import IDS, LOSSES, SCALES, SQ_NORMS, ShardFile, write_shard


class ShardRows:
    """The rows of one shard while they are collected: as stored, in the order of the data set."""

    def __init__(self, rows: int, index: Index) -> None:
        self.dtype, self.names = index.torch_dtype, [block.name for block in index.blocks]
        self.tensors = {
            block.name: torch.empty((rows, block.columns), dtype=self.dtype)
            for block in index.blocks
        }
        self.losses = torch.empty(rows)
        self.sq_norms = torch.empty((rows, len(index.blocks)))
        self.scales = torch.ones((rows, len(index.blocks))) if self.dtype == torch.int8 else None

    def put(self, places: Sequence[int], gradients: Mapping[str, Tensor], losses: Tensor) -> Tensor:
        """Store rows at `places`: gradients [rows, columns] a block, on any device.

        Returns which of them are finite, [rows, blocks] with the loss's last.
        """
        encoded = [encode(gradients[name], self.dtype) for name in self.names]
        squares = torch.stack([rows.sq_norms() for rows in encoded], dim=1)
        at = torch.as_tensor(places)
        stored = _on_host([rows.stored for rows in encoded])
        for name, rows in zip(self.names, stored, strict=True):
            self.tensors[name].index_copy_(0, at, rows)
        if self.scales is not None:
            scales = [rows.scale for rows in encoded if rows.scale is not None]
            self.scales[at] = torch.stack(scales, dim=1).cpu()
        beside = torch.cat([squares, losses[:, None].to(squares)], dim=1).cpu()
        self.sq_norms[at], self.losses[at] = beside[:, :-1].float(), beside[:, -1].float()
        return beside.isfinite()

    def row(self, place: int) -> tuple[Tensor, dict[str, Tensor]]:
        """One row's loss, a scalar, and gradient as stored, block name → [columns], float32 or
        better."""
        found = {}
        for position, (name, rows) in enumerate(self.tensors.items()):
            scale = None if self.scales is None else self.scales[place : place + 1, position]
            found[name] = Encoded(rows[place : place + 1], scale).decoded()[0]
        return self.losses[place], found


def _on_host(rows: Sequence[Tensor]) -> Sequence[Tensor]:
    """Blocks of one dtype in the CPU's memory; from another device by one copy, since each waits
    until that device has done all before."""
    if rows[0].device.type == "cpu":
        return rows
    return torch.split(torch.cat(list(rows), dim=1).cpu(), [block.shape[1] for block in rows], 1)


class StoreWriter:
    """Appends shards to a store. Get one from `writer`."""

    def __init__(self, path: Path, index: Index, thread: ThreadPoolExecutor) -> None:
        self.path = path
        self.index = index
        self._thread = thread
        self._in_hand: Future[None] | None = None

    def missing(self) -> Iterator[range]:
        """The rows of each shard still to be written, in order."""
        start = self.index.rows_done
        while start < self.index.n:
            stop = min(self.index.n, start + self.index.shard_rows)
            yield range(start, stop)
            start = stop

    def shard(self, rows: int) -> ShardRows:
        """Room for the next shard's rows."""
        return ShardRows(rows, self.index)

    def append(self, gradients: Mapping[str, Tensor], ids: list[int | str], losses: Tensor) -> None:
        """Write the next shard: gradients [rows, columns] a block, float32 or better, in the order
        of the data set. As `write`."""
        rows = self.shard(len(ids))
        rows.put(range(len(ids)), gradients, losses)
        self.write(rows, ids)

    def write(self, rows: ShardRows, ids: list[int | str]) -> None:
        """Have the next shard written; the rows belong to the writer from then on.

        Raises `WriteError` if the disk refused the one before; what was finished stays.
        """
        self.finish()
        self._in_hand = self._thread.submit(self._write, rows, ids)

    def finish(self) -> None:
        """Wait until the shard in hand is written. Raises `WriteError` if the disk refuses."""
        in_hand, self._in_hand = self._in_hand, None
        if in_hand is not None:
            in_hand.result()

    def _write(self, rows: ShardRows, ids: list[int | str]) -> None:
        encoded_ids = torch.tensor(list(json.dumps(ids).encode()), dtype=torch.uint8)
        tensors = {**rows.tensors, IDS: encoded_ids, LOSSES: rows.losses, SQ_NORMS: rows.sq_norms}
        if rows.scales is not None:
            tensors[SCALES] = rows.scales
        name = f"shard-{len(self.index.shards):05d}.safetensors"
        size, checksum = write_shard(self.path / name, tensors)
        start = self.index.rows_done
        self.index.shards.append(Shard(name, start, len(ids), size, checksum))
        self.index.save(self.path)


@contextmanager
def writer(path: Path, wanted: Index) -> Iterator[StoreWriter]:
    """Begin a store at `path`, or go on with the one that is there if it was made for the same
    request. The shard in hand is finished on the way out, after an error too.

    Raises `StoreMismatchError` naming the difference if it was not, `StoreBusyError` if another
    process is writing to it, `WriteError` if the disk refuses.
    """
    make_folder(path)
    with locked(path), ThreadPoolExecutor(1, "datainf-writer") as thread:
        if (path / INDEX).exists():
            index = Index.load(path)
            _require_same_request(path, index, wanted)
            index.shards = _sound_prefix(path, index)
        else:
            if any(path.glob("*.safetensors")):
                raise StoreError(
                    f"{path} holds safetensors files but no {INDEX}: it is not a gradient store",
                    remedy="an empty or new folder",
                )
            index = wanted
            index.save(path)
        store = StoreWriter(path, index, thread)
        yield store
        store.finish()


def _require_same_request(path: Path, found: Index, wanted: Index) -> None:
    meanings = {
        "base": "the base model's weights or configuration",
        "adapter": "the adapter's (trainable) weights or scaling",
        "data": "the data set",
        "task": "the task's settings",
    }
    differences = [
        meaning
        for key, meaning in meanings.items()
        if found.fingerprints.get(key) != wanted.fingerprints[key]
    ]
    if found.task != wanted.task and meanings["task"] in differences:
        keys = [key for key in wanted.task if found.task.get(key) != wanted.task[key]]
        differences[differences.index(meanings["task"])] += f" ({', '.join(keys)})"
    named = {"n": "the number of examples", "dtype": "dtype", "projection": "projection"}
    for what, name in named.items():
        if (old := getattr(found, what)) != (new := getattr(wanted, what)):
            differences.append(f"{name} ({old}, {new})")
    if found.blocks != wanted.blocks:
        differences.append(
            f"the trainable tensors ({len(found.blocks)} there, {len(wanted.blocks)} asked for)"
        )
    if differences:
        raise StoreMismatchError(
            f"{path} holds a store that was made for something else. What differs: "
            f"{'; '.join(differences)}",
            remedy="another output folder, or delete this one",
        )


def _sound_prefix(path: Path, index: Index) -> list[Shard]:
    """The leading shards whose bytes are as written; those after are made again."""
    sound = []
    for shard in index.shards:
        try:
            ShardFile(path, shard, index).check()
        except StoreCorruptError:
            break
        sound.append(shard)
    return sound
