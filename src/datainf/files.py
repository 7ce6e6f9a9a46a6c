"""Files that are either there in full or not at all; and what a name was meant for that is not."""

from __future__ import annotations

import difflib
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from datainf.errors import StoreBusyError, WriteError

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
    """Make a folder and its parents; it may be there already."""
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
    return "" if meant is None else f"; did you mean {meant}?"


def free_bytes(folder: Path) -> int:
    """What the disk of a folder has left, or of the one that it would be made in."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One writer at a time. The system holds the lock, and lets it go with the process.

    Raises `StoreBusyError` if another process has it.
    """
    with writing(folder):
        handle = (folder / ".lock").open("w")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreBusyError(
                f"another process is writing to {folder}", remedy="wait for it, or another folder"
            ) from None
        except OSError:
            pass  # a file system without locks: go on as if alone
        yield


@contextmanager
def writing_aside(path: Path) -> Iterator[Path]:
    """A path to write to, which then is synced and takes the place of `path`: after a crash that is
    the old file or the new one, whole.

    Raises `WriteError`; the file aside is removed then.
    """
    aside = path.with_name(path.name + ".tmp")
    with writing(path):
        try:
            yield aside
            with aside.open("rb") as file:
                os.fsync(file.fileno())
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file's bytes, in full or not at all. Raises `WriteError`."""
    with writing_aside(path) as aside:
        aside.write_bytes(data)


def allocate(handle: int, size: int) -> None:
    """Ask the disk for room now, where it can tell; raises its `OSError` if there is none."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise


def sync_folder(folder: Path) -> None:
    """Make a rename durable; not every file system can."""
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
