"""Objects, put and fetched whole.

A put, or the end of a put in parts, is one step for those who read: an object is there whole, or as
it was before. Its size is asked for afterwards, and it counts only then.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from datainf.errors import DatainfError
from datainf.remote.tries import reading, refused, tried, unreadable

FENCES: dict[str, Callable[[], None]] = {}
"""By a folder's URL, what raises where no more may be written to it; see `datainf.remote.lock`."""


def put(path: Path, data: bytes) -> None:
    """Write an object. Raises `WriteError`; `StoreBusyError` where the store was taken over."""
    there: Any = path
    _put(path, len(data), lambda: there.fs.pipe_file(there.path, data))


def put_file(local: Path, path: Path) -> None:
    """Write an object from a file of this machine. Raises as `put`."""
    there: Any = path
    _put(path, local.stat().st_size, lambda: there.fs.put_file(str(local), there.path))


def _put(path: Path, size: int, send: Callable[[], object]) -> None:
    def once() -> None:
        FENCES.get(str(path.parent), lambda: None)()
        send()
        if (found := _size(path)) != size:
            raise OSError(f"{size} bytes were sent, and {found} are there")

    try:
        tried(once)
    except DatainfError:
        raise
    except Exception as error:
        raise refused(path, error) from error


def read(path: Path, start: int | None = None, end: int | None = None) -> bytes:
    """An object's bytes, or those from `start` to before `end`. Raises `FileNotFoundError` if there
    is none, `StoreError` if the storage refuses, or says that it has no such bucket."""
    there: Any = path
    with reading(path):
        try:
            data: bytes = tried(lambda: there.fs.cat_file(there.path, start=start, end=end))
        except FileNotFoundError as error:
            if "specified bucket" in str(error):  # S3's words: it is not there
                raise unreadable(path, error) from None
            raise
    return data


def fetch(path: Path, local: Path) -> None:
    """Write an object to a file of this machine. Raises as `read`, and the system's `OSError` for
    want of room here."""
    there: Any = path
    with reading(path):
        tried(lambda: there.fs.get_file(there.path, str(local)))


def remove(path: Path) -> None:
    """Raises `WriteError`. None that is gone already is an error."""
    there: Any = path
    try:
        tried(lambda: there.fs.rm_file(there.path))
    except FileNotFoundError:
        pass
    except Exception as error:
        raise refused(path, error) from error


def size_of(path: Path) -> int | None:
    """Of an object, in bytes; None if there is none. Raises `StoreError` if the storage refuses."""
    with reading(path):
        return tried(lambda: _size(path))


def _size(path: Path) -> int | None:
    there: Any = path
    try:
        found = there.fs.info(there.path)
    except FileNotFoundError:
        return None
    return int(found["size"]) if found["type"] == "file" else None


def sizes(folder: Path) -> dict[str, int]:
    """Name → bytes of the objects in a folder, by one listing; none of a folder that is not there.
    Raises `StoreError` if the storage refuses."""
    with reading(folder):
        return tried(lambda: listed(folder))


def listed(folder: Path) -> dict[str, int]:
    """The same, asked once. Raises what the library does."""
    there: Any = folder
    try:
        found = there.fs.ls(there.path, detail=True)
    except FileNotFoundError:
        return {}
    return {
        one["name"].rstrip("/").rpartition("/")[2]: int(one["size"])
        for one in found
        if one["type"] == "file"
    }


def below(folder: Path, name: str) -> list[Path]:
    """Those of a name in a folder and in all below it, in order. Raises as `read`."""
    there: Any = folder
    with reading(folder):
        try:
            found = tried(lambda: there.fs.find(there.path))
        except FileNotFoundError as error:
            raise unreadable(folder, error) from None
    start = len(there.path.rstrip("/")) + 1
    return [folder / path[start:] for path in sorted(found) if path.rpartition("/")[2] == name]
