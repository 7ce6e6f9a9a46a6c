"""Files that are either there in full or not at all; and what a name was meant for that is not.

What a store is written and read by does the same in object storage, where a path `is_remote`.
"""

from __future__ import annotations

import difflib
import errno
import fcntl
import fnmatch
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from datainf.errors import StoreBusyError, WriteError
from datainf.remote import cache, forbid_url, is_remote, lock, objects

_REMEDIES = {
    errno.ENOSPC: "free some space or name another folder; the same command then goes on from here",
    errno.EDQUOT: "raise the quota or name another folder; the same command then goes on from here",
    errno.EROFS: "a folder on a file system that can be written to",
    errno.EACCES: "a folder that you may write to",
    errno.EPERM: "a folder that you may write to",
    errno.ENOTDIR: "a folder's path; a file stands in its place",
    errno.EEXIST: "a folder's path; a file stands in its place",
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusals to write at `path` into a `WriteError` that says what to do."""
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"cannot write {path}: {error.strerror or error}. What was finished before is kept",
            remedy=_REMEDIES.get(error.errno or 0),
        ) from error


def make_folder(path: Path) -> None:
    """Make a folder and its parents; it may be there already. Object storage has none to make."""
    if is_remote(path):
        return
    forbid_url(path, "what is written there")
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


def near(path: Path, fits: Callable[[Path], bool] | None = None) -> Path | None:
    """What stands in a path's folder by a name much like its own. `fits` says what could be meant
    at all: if there is some, and none by such a name, the first of it."""
    names = sorted(entry.name for entry in path.parent.iterdir() if fits is None or fits(entry))
    close = difflib.get_close_matches(path.name, names, 1)
    if not close and fits is not None:
        close = names[:1]
    return path.parent / close[0] if close else None


def suggestion(path: Path, fits: Callable[[Path], bool] | None = None) -> str:
    """How a message goes on that says of a path that it is not there; see `near`."""
    if not path.parent.is_dir():
        return f"; there is no folder {path.parent} either"
    meant = near(path, fits)
    if meant is None:
        return ""
    is_like = difflib.get_close_matches(path.name, [meant.name])
    return f"; did you mean {meant}?" if is_like else f"; there is {meant}"


def free_bytes(folder: Path) -> int:
    """What the disk of a folder has left, or of the one that it would be made in. Object storage
    has no end that it tells of."""
    if is_remote(folder):
        return sys.maxsize
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


@contextmanager
def locked(folder: Path) -> Iterator[lock.Held | None]:
    """One writer at a time. The system holds the lock, and lets it go with the process; for object
    storage see `datainf.remote.lock`, and what is held is for `heeding` by others.

    Raises `StoreBusyError` if another process has it.
    """
    if is_remote(folder):
        with lock.locked(folder) as held:
            yield held
        return
    with writing(folder):
        # A link that somebody put there leads to a file that is not ours to empty.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        handle = os.fdopen(os.open(folder / ".lock", flags, 0o666), "r+")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreBusyError(
                f"another process is writing to {folder}", remedy="wait for it, or another folder"
            ) from None
        except OSError:
            pass  # a file system without locks: go on as if alone
        yield None


def heeding(folder: Path, held: lock.Held | None) -> AbstractContextManager[None]:
    """Where this process writes under the lock of another: no more once that has lost it, which is
    a `StoreBusyError`."""
    return nullcontext() if held is None else lock.heeded(folder, held)


@contextmanager
def writing_aside(path: Path) -> Iterator[Path]:
    """A path to write to, which then is synced and takes the place of `path`: after a crash that is
    the old file or the new one, whole. Of a link the link is replaced, not what it leads to.

    Raises `WriteError`; the file aside is removed then.
    """
    aside = path.with_name(path.name + ".tmp")
    with writing(path):
        aside.unlink(missing_ok=True)  # it may be a link, which would be written through
        try:
            yield aside
            sync_file(aside)
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file's bytes, in full or not at all. Raises `WriteError`."""
    if is_remote(path):
        objects.put(path, data)
        return
    with writing_aside(path) as aside:
        aside.write_bytes(data)


def read_file(path: Path) -> bytes:
    """A file's bytes. Raises `FileNotFoundError`; of object storage `StoreError` too."""
    if not is_remote(path):
        return path.read_bytes()
    return objects.read(path)


def has_file(path: Path) -> bool:
    """Whether there is such a file. Raises `StoreError` if object storage does not say."""
    return size_of(path) is not None


def size_of(path: Path) -> int | None:
    """A file's bytes; None if there is none. Raises as `has_file`."""
    if not is_remote(path):
        return path.stat().st_size if path.is_file() else None
    return objects.size_of(path)


def sizes_of(folder: Path, names: Iterable[str]) -> dict[str, int | None]:
    """The same of several files in a folder: of object storage by one listing."""
    if not is_remote(folder):
        return {name: size_of(folder / name) for name in names}
    found = objects.sizes(folder)
    return {name: found.get(name) for name in names}


def files_in(folder: Path, pattern: str) -> list[Path]:
    """Those in a folder whose name fits a shell pattern, in order. Raises as `has_file`."""
    if not is_remote(folder):
        return sorted(folder.glob(pattern))
    return [folder / name for name in sorted(fnmatch.filter(objects.sizes(folder), pattern))]


def files_below(folder: Path, name: str) -> list[Path]:
    """Those of a name in a folder and in all below it, in order. Raises as `has_file`."""
    return objects.below(folder, name) if is_remote(folder) else sorted(folder.rglob(name))


def remove(path: Path) -> None:
    """Take a file away. Raises `FileNotFoundError`; of object storage only `WriteError`."""
    if not is_remote(path):
        path.unlink()
        return
    objects.remove(path)


@contextmanager
def on_this_machine(path: Path) -> Iterator[Path]:
    """A file that can be mapped: the one at `path`, or what was fetched of it, for as long.

    Raises `StoreError` if object storage refuses, `FileNotFoundError` if it has no such file,
    `WriteError` if there is no room here for what is fetched.
    """
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        fetched = Path(folder) / path.name
        try:
            objects.fetch(path, fetched)
        except FileNotFoundError:
            raise
        except OSError as error:
            with writing(fetched):
                raise error
        yield fetched


def draft_of(path: Path, size: int) -> Path:
    """Where to write so many bytes that `put_in_place` then puts at `path`: beside it, or on this
    machine. Raises `WriteError` if that has no room."""
    if not is_remote(path):
        return path.with_name(path.name + ".tmp")
    return cache.draft(path, size)


def put_in_place(draft: Path, path: Path, checksum: str) -> None:
    """Make a shard's draft, which is on the disk, the shard; its checksum is its header's.

    Raises `WriteError` if object storage refuses. What was put there stays as a copy.
    """
    if not is_remote(path):
        draft.replace(path)
        return
    objects.put_file(draft, path)
    cache.keep(draft, path, checksum)


def allocate(handle: int, size: int) -> None:
    """Ask the disk for room now, where it can tell; raises its `OSError` if there is none."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise


def sync_file(path: Path) -> None:
    """Have the disk hold what was written to a file on this machine."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make a rename durable; not every file system can."""
    if is_remote(folder):
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
