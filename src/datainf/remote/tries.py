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
GOOGLE = "gcloud auth application-default login, GOOGLE_APPLICATION_CREDENTIALS, …"
AMAZON = "AWS_ACCESS_KEY_ID, AWS_PROFILE, …"
KEYS = {"s3": AMAZON, "s3a": AMAZON, "gs": GOOGLE, "gcs": GOOGLE}
"""Where the storages' libraries find what lets them in, by protocol."""
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
        remedy=_remedy(path, error),
    )


def unreadable(path: Path, error: Exception) -> StoreError:
    """What to raise where an object cannot be read, or not even its bucket is there."""
    return StoreError(f"cannot read {path}: {_told(error)}", remedy=_remedy(path, error))


def is_lasting(error: Exception) -> bool:
    """Whether another try would fail in the same way."""
    return _is_full(error) or isinstance(error, LASTING) or _lacks_keys(error)


def _is_full(error: Exception) -> bool:
    """Of a disk of this machine: object storage has no end."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _lacks_keys(error: Exception) -> bool:
    kind, code = type(error).__name__, getattr(error, "code", None)
    return (
        isinstance(error, PermissionError)
        or "Credential" in kind
        # gcsfs's: an OSError without a number, a login that has expired, one that was not renewed.
        or str(error).startswith("Forbidden:")
        or code == 401
        or kind == "NonRetryableError"
    )


def _told(error: Exception) -> str:
    """What a library says, in a line, without secrets."""
    told = " ".join(str(error).split())
    if isinstance(error, FileNotFoundError) and " " not in told:
        told = f"not found: {told}"  # gcsfs names the address alone
    return redacted(told)[:LONGEST] or type(error).__name__  # half a secret is not known as one


def _remedy(path: Path, error: Exception) -> str:
    protocol = getattr(path, "protocol", "")
    if isinstance(error, FileNotFoundError):
        endpoint = " and the endpoint (AWS_ENDPOINT_URL)" if KEYS.get(protocol) == AMAZON else ""
        return f"make the bucket, or check its name{endpoint}"
    if _lacks_keys(error):
        found = f" ({KEYS[protocol]})" if protocol in KEYS else ""
        return f"keys that may read and write there{found}"
    return "the same command when the storage can be reached; it goes on from here"
