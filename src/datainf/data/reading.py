"""Reading while something else is written: an error then says which of the two it is of."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datainf.errors import DataError

BLOCK = 2**20
_REMEDIES = {
    errno.ENOENT: "put it back, or read the data anew from where they are now",
    errno.EACCES: "a file that you may read",
    errno.EPERM: "a file that you may read",
}


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the system's refusals to read at `path` into a `DataError` that names it, or what within
    it is meant. Within `datainf.files.writing` they would be taken for those of the disk that is
    written to."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot read {error.filename or path}: {error.strerror or error}",
            remedy=_REMEDIES.get(error.errno or 0, "try once more; look after the disk"),
        ) from error


def copy_file(source: Path, target: Path) -> None:
    """Write a file's bytes to another place.

    Raises `DataError` if they cannot be read, and what the system raises if they cannot be written:
    `shutil.copyfile` names both files whichever it is.
    """
    with target.open("wb") as out:
        for block in _blocks(source):
            out.write(block)


def _blocks(path: Path) -> Iterator[bytes]:
    # A generator: what fails where the blocks go to is not raised in here.
    with reading(path), path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block
