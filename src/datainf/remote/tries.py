"""Requests to object storage: tried again where that may help, and told of where it does not.

The libraries try each request some times by themselves. What still fails is tried again here, after
`WAITS`, but for what waiting does not mend: permission, missing keys, a bucket that is not there.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from datainf.errors import DatainfError, StoreError, WriteError
from datainf.redaction import redacted

T = TypeVar("T")

WAITS = (1.0, 4.0, 15.0, 60.0)
"""Seconds before a second try, a third and so on; there are five in all."""
LASTING = (DatainfError, PermissionError, FileNotFoundError, FileExistsError, ImportError)
LONGEST = 300
"""Characters of what a library says."""


def tried(request: Callable[[], T]) -> T:
    """What a request gives, at the latest after all waits. Raises what its last try did."""
    for wait in WAITS:
        try:
            return request()
        except Exception as error:
            if is_lasting(error):
                raise
            time.sleep(wait)
    return request()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the storage's refusals to read into a `StoreError` that says what to do; that there is
    no such object, or no room here for it, is for the caller to say."""
    try:
        yield
    except (DatainfError, FileNotFoundError):
        raise
    except Exception as error:
        if _is_full(error):
            raise
        raise unreadable(path, error) from None


def refused(path: Path, error: Exception) -> WriteError:
    """What to raise where an object cannot be written."""
    tries = "" if is_lasting(error) else f", tried {len(WAITS) + 1} times"
    return WriteError(
        f"cannot write {path}{tries}: {_told(error)}. What was finished before is kept",
        remedy=_remedy(error),
    )


def unreadable(path: Path, error: Exception) -> StoreError:
    """What to raise where an object cannot be read, or not even its bucket is there."""
    return StoreError(f"cannot read {path}: {_told(error)}", remedy=_remedy(error))


def is_lasting(error: Exception) -> bool:
    """Whether another try would fail in the same way."""
    return _is_full(error) or isinstance(error, LASTING) or _lacks_keys(error)


def _is_full(error: Exception) -> bool:
    """Of a disk of this machine: object storage has no end."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _lacks_keys(error: Exception) -> bool:
    return isinstance(error, PermissionError) or "Credential" in type(error).__name__


def _told(error: Exception) -> str:
    """What a library says, in a line, without secrets."""
    first = (str(error).strip().splitlines() or [""])[0]
    return redacted(first)[:LONGEST] or type(error).__name__  # half a secret is not known as one


def _remedy(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "make the bucket, or check its name and the endpoint (AWS_ENDPOINT_URL)"
    if _lacks_keys(error):
        return "keys that may read and write there (AWS_ACCESS_KEY_ID, AWS_PROFILE, …)"
    return "the same command when the storage can be reached; it goes on from here"
