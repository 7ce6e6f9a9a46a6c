"""A shard: one safetensors file, each of whose tensors can be read and checked alone.

The header's metadata holds a digest of every tensor, and the index one of the header: so a tensor
is known to be as it was written without reading the rest of the file, and a store far larger than
memory is read once and not twice.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import save_file
from torch import Tensor

from datainf.errors import StoreCorruptError
from datainf.files import writing_aside
from datainf.fingerprint import bytes_digest, tensor_bytes
from datainf.store.index import Index, Shard

IDS, LOSSES, SQ_NORMS, SCALES = "meta/ids", "meta/losses", "meta/sq_norms", "meta/scales"
"""Tensors of a shard beside its blocks; no parameter's name holds a slash."""
DIGESTS = "digests"
HEADER_LENGTH = 8
"""Bytes at the start of a safetensors file that tell how long its header is."""


def write_shard(path: Path, tensors: Mapping[str, Tensor]) -> tuple[int, str]:
    """Write a shard, in full or not at all; its bytes and its header's digest.

    Raises `WriteError` if the disk refuses.
    """
    digests = {name: bytes_digest(tensor_bytes(t)) for name, t in tensors.items()}
    with writing_aside(path) as aside:
        _save(tensors, aside, {DIGESTS: json.dumps(digests, sort_keys=True)})
        size, checksum = aside.stat().st_size, bytes_digest(_header(aside))
    return size, checksum


def _save(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    try:
        save_file(dict(tensors), path, metadata=metadata)
    except safetensors.SafetensorError as error:  # which keeps the system's number in its text
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


@dataclass
class ShardFile:
    """One shard of a store, opened for reading. Its tensors are mapped, not copied, and the
    mapping lives no longer than they do: what was read of a store is not kept in memory."""

    folder: Path
    shard: Shard
    index: Index
    _digests: dict[str, str] | None = None
    _sound: set[str] = field(default_factory=set)

    def tensor(self, name: str) -> Tensor:
        """A tensor of the shard, checked when it is first read.

        Raises `StoreCorruptError` if its bytes are not the ones that were written.
        """
        if self._digests is None:
            self._digests = self._read_digests()
        try:
            file: Any = safetensors.safe_open(self.path, framework="pt")
            tensor: Tensor = file.get_tensor(name)
        except (safetensors.SafetensorError, OSError) as error:
            raise StoreCorruptError(f"{self.path}: {error}", remedy=AGAIN) from None
        if name not in self._sound:
            if bytes_digest(tensor_bytes(tensor)) != self._digests.get(name):
                raise self._corrupt(name)
            if len(tensor) != self.shard.rows and name != IDS:
                raise StoreCorruptError(f"{self.path}: {name} has {len(tensor)} rows")
            self._sound.add(name)
        return tensor

    @property
    def path(self) -> Path:
        return self.folder / self.shard.file

    def check(self) -> None:
        """Raise `StoreCorruptError` if any byte of the shard is not the one that was written."""
        check_size(self.folder, self.shard)
        self._digests = self._read_digests()
        for name in self._digests:
            self.tensor(name)

    def _read_digests(self) -> dict[str, str]:
        try:
            header = _header(self.path)
        except OSError as error:
            raise StoreCorruptError(f"{self.path}: {error.strerror}", remedy=AGAIN) from None
        if bytes_digest(header) != self.shard.checksum:
            raise self._corrupt("its header")
        metadata = json.loads(header[HEADER_LENGTH:])["__metadata__"]
        digests: dict[str, str] = json.loads(metadata[DIGESTS])
        return digests

    def _corrupt(self, what: str) -> StoreCorruptError:
        return StoreCorruptError(
            f"{self.path}: the bytes are not the ones that were written (the checksum of {what} "
            "differs)",
            remedy=AGAIN,
        )


def check_size(folder: Path, shard: Shard) -> None:
    """Raise `StoreCorruptError` if a shard is missing or has another size than was written."""
    path = folder / shard.file
    if not path.is_file():
        raise StoreCorruptError(f"{path} is missing", remedy=AGAIN)
    if (size := path.stat().st_size) != shard.bytes:
        raise StoreCorruptError(
            f"{path} has {size} bytes; {shard.bytes} were written", remedy=AGAIN
        )


def _header(path: Path) -> bytes:
    """A safetensors file's header with its length before it; no more bytes than the file has."""
    with path.open("rb") as file:
        length = file.read(HEADER_LENGTH)
        rest = min(int.from_bytes(length, "little"), path.stat().st_size)
        return length + file.read(rest)


AGAIN = "run the same datainf collect again: it keeps the shards before this one"
