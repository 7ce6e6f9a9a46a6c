"""Shards of object storage, whole, in a folder of this machine.

The folder is DATAINF_CACHE, or `datainf` in the user's cache folder. It holds at most
DATAINF_CACHE_GB, 20 by default, and those that were not used for longest go first: a store that is
larger than that is fetched anew for each pass over it.

A file's name tells its URL and the checksum of its header, which holds those of all tensors: an
object that was written anew has another name, and none is served in its place. Processes share the
folder, since a file gets its name when it is whole; one that is mapped can be removed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datainf.errors import OptionError, WriteError
from datainf.remote import objects

FOLDER, GIGABYTES = "DATAINF_CACHE", "DATAINF_CACHE_GB"
DEFAULT_GIGABYTES = 20.0
COPY, DRAFT = ".safetensors", ".draft"
DAY = 24 * 3600
"""Seconds after which a draft that nobody wrote to is one that nobody goes on with."""


def folder() -> Path:
    """Where the copies are; made if it is not there. Raises `WriteError`."""
    named = os.environ.get(FOLDER)
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = Path(named) if named else users / "datainf"
    with _writing(found):
        found.mkdir(mode=0o700, parents=True, exist_ok=True)  # gradients tell of data
    return found


def limit() -> int:
    """Bytes. Raises `OptionError` for what is no number."""
    told = os.environ.get(GIGABYTES)
    try:
        gigabytes = DEFAULT_GIGABYTES if told is None else float(told)
        return int(max(0.0, gigabytes) * 1e9)
    except (ValueError, OverflowError):
        raise OptionError(f"{GIGABYTES} is {told!r}", remedy="a number, such as 20") from None


def copy_of(path: Path, checksum: str, size: int) -> Path:
    """A file of this machine with the bytes of a shard, fetched if none is there.

    Raises `FileNotFoundError` if the object is gone, `StoreError` if the storage refuses,
    `WriteError` if this machine's disk does.
    """
    place = _name(path, checksum)
    try:
        if place.stat().st_size == size:
            os.utime(place)
            return place
    except FileNotFoundError:
        pass
    _require_room(place.parent, size)
    aside = place.with_name(f"{place.stem}-{secrets.token_hex(4)}{DRAFT}")
    with _writing(aside):
        try:
            objects.fetch(path, aside)
            aside.replace(place)
        finally:
            aside.unlink(missing_ok=True)
    _evict(place)
    return place


def draft(path: Path) -> Path:
    """Where a shard is written before it is put in its place. The same for the same shard: what a
    killed run left there is written over. Raises `OptionError` for a limit that is no number: not
    only when there is something to keep."""
    limit()
    return folder() / f"{_digest(str(path))}{DRAFT}"


def keep(written: Path, path: Path, checksum: str) -> None:
    """Make of a draft that was put in its place the copy of it."""
    place = _name(path, checksum)
    with _writing(place):
        written.replace(place)
    _evict(place)


def forget(path: Path, checksum: str) -> None:
    """Have the next who asks for a shard fetch it."""
    _name(path, checksum).unlink(missing_ok=True)


def _name(path: Path, checksum: str) -> Path:
    return folder() / f"{_digest(str(path), checksum)}{COPY}"


def _digest(*told: str) -> str:
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:32]


def _evict(spared: Path) -> None:
    """Remove what was not used for longest, until the rest is within the limit; never what is about
    to be read."""
    found, forgotten = [], time.time() - DAY
    for path in spared.parent.iterdir():
        try:
            stat = path.stat()
        except FileNotFoundError:  # another process was faster
            continue
        if path.suffix == COPY or (path.suffix == DRAFT and stat.st_mtime < forgotten):
            found.append((stat.st_mtime_ns, stat.st_size, path))
    total, most = sum(size for _, size, _ in found), limit()
    for _, size, path in sorted(found):
        if total <= most:
            return
        if path != spared:
            path.unlink(missing_ok=True)
            total -= size


def _require_room(folder: Path, size: int) -> None:
    if shutil.disk_usage(folder).free < size:
        with _writing(folder):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn the refusals of this machine's disk into a `WriteError`."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise WriteError(
            f"cannot write {path}, a copy of what is in object storage: {error.strerror or error}",
            remedy=f"free some space, or {FOLDER}=another folder",
        ) from error
