"""Copies on this machine of a shard in object storage: of all of it, or of tensors alone.

A shard is fetched whole, by one request for all its tensors. Where copies do not stay, of a store
that is larger than the cache or read beside others, each tensor would fetch all of them again: a
shard whose copy has gone is read tensor by tensor from then on, by ranges of its bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TypeVar

from datainf.remote import cache, objects
from datainf.store.header import LENGTH_BYTES, Extent
from datainf.store.index import Index, Shard

T = TypeVar("T")


class ShardCopies:
    """Of one shard. `opening` maps a copy; `checking` does it with one that was just fetched, and
    raises if that is not what was written."""

    def __init__(self, path: Path, shard: Shard, index: Index) -> None:
        self.path, self.shard, self.index = path, shard, index
        self._had_one = False
        self._one_at_a_time = Lock()

    def whole(self, opening: Callable[[Path], T], checking: Callable[[Path], T]) -> T | None:
        """What is made of a copy of the shard, which is fetched if it can be expected to stay; None
        if not."""
        with self._one_at_a_time:  # of several threads one fetches
            checksum, size = self.shard.checksum, self.shard.bytes
            found = cache.held(self.path, checksum, size=size, opening=opening)
            if found is None and not self._had_one and self._has_room():
                found = self.fetched(checking)
            self._had_one |= found is not None
            return found

    def fetched(self, checking: Callable[[Path], T]) -> T:
        """The same of what is there now."""
        return cache.fetched(
            self.path, self.shard.checksum, size=self.shard.bytes,
            fetch=lambda local: objects.fetch(self.path, local), opening=checking,
        )  # fmt: skip

    def part(
        self, name: str, extent: Extent, opening: Callable[[Path], T],
        checking: Callable[[Path], T],
    ) -> T:  # fmt: skip
        """The same of a copy of a tensor's bytes alone."""
        key, size = (self.shard.checksum, name), extent.size
        found = cache.held(self.path, *key, size=size, opening=opening)
        if found is not None:
            return found

        def fetch(local: Path) -> None:
            local.write_bytes(objects.read(self.path, extent.start, extent.start + size))

        return cache.fetched(self.path, *key, size=size, fetch=fetch, opening=checking)

    def header(self) -> bytes:
        """The shard's header with its length before it, of the object."""
        length = int.from_bytes(objects.read(self.path, 0, LENGTH_BYTES), "little")
        return objects.read(self.path, 0, min(LENGTH_BYTES + length, self.shard.bytes))

    def forget(self, name: str) -> None:
        """Have the shard, or a tensor of it, fetched anew."""
        self._had_one = False
        cache.forget(self.path, self.shard.checksum)
        cache.forget(self.path, self.shard.checksum, name)

    def _has_room(self) -> bool:
        return sum(shard.bytes for shard in self.index.shards) <= cache.limit()
