"""Where a store is: a folder of this machine, or a URL of object storage."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path
from typing import Any, cast

from datainf.errors import OptionError

TAKES_URLS = (
    "datainf collect --out, datainf score --train, --query and --curvature, and datainf verify"
)
"""Of the command line."""
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_MANGLED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/[^/]")
"""What `pathlib` makes of a URL: one slash is gone."""
_USERINFO = re.compile(r"//[^/@\s]*:[^/@\s]*@")
_QUERY = re.compile(r"\?[^\s'\"]*")
BUCKETS = ("s3", "s3a", "gs", "gcs")
"""Protocols whose first part is a bucket, in whose name no @ can be."""


def is_remote(path: object) -> bool:
    """Whether a path that `place` made is in object storage."""
    return not isinstance(path, Path)


def place(given: str | PathLike[str]) -> Path:
    """A folder's path; of a URL, one that answers as a path does, by universal-pathlib.

    What names the storage's keys has no place in a URL: libraries find it where they always do, in
    the environment or in files of their own.

    Raises `OptionError` for a URL that holds a password, a key or a query; for one whose library is
    not installed; and for a `Path` that was made of a URL, and has lost a slash.
    """
    if not isinstance(given, str | Path):
        return cast(Path, given)  # a path in object storage already
    text = str(given)
    match = _URL.fullmatch(text)
    if match is None:
        path = Path(text)
        if _MANGLED.match(text) and not path.exists():
            raise OptionError(
                f"{text} is a URL with a slash too few", remedy="it as text, with two"
            )
        return path
    protocol, rest = match[1].lower(), match[2].rstrip("/")
    _require_no_secrets(text, protocol, rest)
    if protocol == "file":
        return Path(rest.removeprefix("localhost") or "/")
    if not rest:
        raise OptionError(f"{text} names no bucket", remedy=f"{protocol}://BUCKET/FOLDER")
    return cast(Path, _upath(f"{protocol}://{rest}"))


def _upath(url: str) -> Any:
    """A path that remembers no listing: other processes write there too."""
    try:
        from upath import UPath

        found = UPath(url, use_listings_cache=False)
        found.fs  # noqa: B018 - imports the protocol's library
    except ImportError as error:
        raise OptionError(
            f"{url}: this needs a library that is not installed ({error})",
            remedy="pip install 'datainf[remote]', which is for s3://; for gs:// gcsfs beside it",
        ) from None
    except ValueError as error:
        raise OptionError(f"{url}: {without_secrets(str(error))}", remedy="s3://…") from None
    return found


def _require_no_secrets(url: str, protocol: str, rest: str) -> None:
    """Raises `OptionError`, which does not repeat them."""
    user, at, host = rest.partition("/")[0].rpartition("@")
    if at and (protocol in BUCKETS or ":" in user):  # abfs://container@account is no secret
        shown, what = f"{protocol}://{host}/…", "a user or a password"
    elif "?" in rest:
        shown, what = url.partition("?")[0], "a query"
    else:
        return
    raise OptionError(
        f"{shown} was given with {what} in it, which would be written to logs",
        remedy="the URL alone; the keys in the environment (AWS_ACCESS_KEY_ID, …) or in the "
        "storage's own settings",
    )


def without_secrets(text: str) -> str:
    """A library's message without passwords and queries of the URLs in it."""
    return _QUERY.sub("?…", _USERINFO.sub("//…@", text))


def forbid_url(given: object, what: str) -> None:
    """Raise `OptionError` for a URL where a folder of this machine is needed."""
    text = str(given)
    if _URL.fullmatch(text) or (_MANGLED.match(text) and not Path(text).exists()):
        raise OptionError(
            f"{without_secrets(text)}: {what} is on this machine; stores alone may be in object "
            "storage",
            remedy=f"a folder. URLs are taken by {TAKES_URLS}",
        )
