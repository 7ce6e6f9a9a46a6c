"""Copies of shards of object storage, or of tensors in them, in a folder of this machine.

The folder is DATAINF_CACHE, or `datainf` in the user's cache folder. It holds at most
DATAINF_CACHE_GB, 20 by default, and those that were not used for longest go first: a store that is
larger than that is fetched anew for each pass over it.

A file's name tells the object's URL and by a key what was written there, such as its checksum: an
object that was written anew has another name, and none is served in its place. Processes share the
folder, since a file gets its name when it is whole and was checked; one that is mapped can be
removed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from datainf.errors import OptionError, WriteError

T = TypeVar("T")

FOLDER, GIGABYTES = "DATAINF_CACHE", "DATAINF_CACHE_GB"
DEFAULT_GIGABYTES = 20.0
COPY, DRAFT = ".copy", ".draft"
DAY = 24 * 3600
"""Seconds after which a draft that nobody wrote to is one that nobody goes on with."""


def folder() -> Path:
    """Where the copies are; made if it is not there. Raises `WriteError`, for a folder of others
    too."""
    named = os.environ.get(FOLDER)
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = Path(named) if named else users / "datainf"
    with _writing(found):
        found.mkdir(mode=0o700, parents=True, exist_ok=True)  # gradients tell of data
        _require_own(found)
    return found


def _require_own(folder: Path) -> None:
    """Raises `WriteError` for a folder in which others can put copies, or what is to be written."""
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise WriteError(
            f"{folder}, for copies of what is in object storage, is another user's, or others may "
            "write to it",
            remedy=f"chmod go-w {folder}; or {FOLDER}=a folder of your own",
        )


def limit() -> int:
    """Bytes. Raises `OptionError` for what is no number."""
    told = os.environ.get(GIGABYTES)
    try:
        gigabytes = DEFAULT_GIGABYTES if told is None else float(told)
        return int(max(0.0, gigabytes) * 1e9)
    except (ValueError, OverflowError):
        raise OptionError(f"{GIGABYTES} is {told!r}", remedy="a number, such as 20") from None


def held(path: Path, *key: str, size: int, opening: Callable[[Path], T]) -> T | None:
    """What `opening` makes of a copy, if there is one. It maps the file, which may be gone at once
    after: whoever needs room takes away what is mapped, too."""
    place = _name(path, *key)
    try:
        if place.stat().st_size != size:
            return None
        os.utime(place)
        return opening(place)
    except FileNotFoundError:
        return None


def fetched(
    path: Path, *key: str, size: int, fetch: Callable[[Path], None], opening: Callable[[Path], T]
) -> T:
    """The same of a new copy, which `fetch` writes. It is one when `opening` has found no fault
    with it: an object's URL and size tell nothing of its bytes.

    Raises what the two do; `WriteError` if this machine's disk refuses.
    """
    place = _name(path, *key)
    _make_room(place.parent, size)
    aside = _aside(place)
    with _writing(aside):
        try:
            fetch(aside)
            found = opening(aside)
            aside.replace(place)
        finally:
            aside.unlink(missing_ok=True)
    return found


def draft(path: Path, size: int) -> Path:
    """Where a shard is written before it is put in its place; another at each call, since two may
    write the same. Raises `OptionError` for a limit that is no number, `WriteError` where the disk
    has no room."""
    place = _name(path)
    _make_room(place.parent, size)
    return _aside(place)


def keep(written: Path, path: Path, *key: str) -> None:
    """Make of a draft that was put in its place the copy of it."""
    place = _name(path, *key)
    _make_room(place.parent, written.stat().st_size, is_written=True)
    with _writing(place):
        written.replace(place)


def forget(path: Path, *key: str) -> None:
    """Have the next who asks for a copy fetch it."""
    _name(path, *key).unlink(missing_ok=True)


def _name(path: Path, *key: str) -> Path:
    told = "\n".join((str(path), *key)).encode()
    return folder() / f"{hashlib.sha256(told).hexdigest()[:32]}{COPY}"


def _aside(place: Path) -> Path:
    return place.with_name(f"{place.stem}-{secrets.token_hex(4)}{DRAFT}")


def _make_room(folder: Path, size: int, *, is_written: bool = False) -> None:
    """Remove what was not used for longest until there is room for so many bytes more, within the
    limit and, if they are not there already, on the disk. Raises `WriteError` if there is none."""
    wanted = 0 if is_written else size
    with _writing(folder):
        copies = sorted(_copies(folder))
        total, most = size + sum(held for _, held, _ in copies), limit()
        for _, held, path in copies:
            if total <= most and shutil.disk_usage(folder).free >= wanted:
                return
            path.unlink(missing_ok=True)
            total -= held
        if shutil.disk_usage(folder).free < wanted:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _copies(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """When each was used last, its bytes, and where it is. Forgotten drafts go on the way."""
    forgotten = time.time() - DAY
    for path in folder.iterdir():
        try:
            stat = path.stat()
        except FileNotFoundError:  # another process was faster
            continue
        if path.suffix == COPY:
            yield stat.st_mtime_ns, stat.st_size, path
        elif path.suffix == DRAFT and stat.st_mtime < forgotten:
            path.unlink(missing_ok=True)


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
