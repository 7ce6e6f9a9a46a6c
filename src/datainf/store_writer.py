"""Writing a gradient store, shard by shard, from the start or from where a killed run left it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from datainf.errors import StoreCorruptError, StoreError, StoreMismatchError
from datainf.files import locked, make_folder, write_atomically
from datainf.fingerprint import bytes_digest
from datainf.store import (
    IDS,
    INDEX,
    LOSSES,
    SQ_NORMS,
    Index,
    Shard,
    check_checksum,
    check_size,
)


class StoreWriter:
    """Appends shards to a store. Get one from `writer`."""

    def __init__(self, path: Path, index: Index) -> None:
        self.path = path
        self.index = index

    def missing(self) -> Iterator[range]:
        """The rows of each shard still to be written, in order."""
        start = self.index.rows_done
        while start < self.index.n:
            stop = min(self.index.n, start + self.index.shard_rows)
            yield range(start, stop)
            start = stop

    def append(self, gradients: Mapping[str, Tensor], ids: list[int | str], losses: Tensor) -> None:
        """Write the next shard: gradients [rows, d_l] a block, in the order of the data set.

        Raises `WriteError` if the disk refuses; the shards before it stay.
        """
        stored = {
            block.name: gradients[block.name].to(self.index.torch_dtype).contiguous()
            for block in self.index.blocks
        }
        # Of the rows as stored, so that every product sees the same numbers.
        sq_norms = torch.stack(
            [rows.to(torch.float64).square().sum(dim=1).float() for rows in stored.values()], dim=1
        )
        data = save(
            {
                **stored,
                IDS: torch.tensor(list(json.dumps(ids).encode()), dtype=torch.uint8),
                LOSSES: losses.float(),
                SQ_NORMS: sq_norms,
            }
        )
        name = f"shard-{len(self.index.shards):05d}.safetensors"
        write_atomically(self.path / name, data)
        start = self.index.rows_done
        self.index.shards.append(Shard(name, start, len(ids), len(data), bytes_digest(data)))
        self.index.save(self.path)


@contextmanager
def writer(path: Path, wanted: Index) -> Iterator[StoreWriter]:
    """Begin a store at `path`, or go on with the one that is there if it was made for the same
    request.

    Raises `StoreMismatchError` naming the difference if it was not, `StoreBusyError` if another
    process is writing to it, `WriteError` if the disk refuses.
    """
    make_folder(path)
    with locked(path):
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
        yield StoreWriter(path, index)


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
    for what in ("n", "dtype"):
        if (old := getattr(found, what)) != (new := getattr(wanted, what)):
            differences.append(
                f"{'the number of examples' if what == 'n' else what} ({old}, {new})"
            )
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
            check_size(path, shard)
            check_checksum(path, shard)
        except StoreCorruptError:
            break
        sound.append(shard)
    return sound
