"""Where a store is: a folder of this machine, or a URL of object storage."""

from __future__ import annotations

import os
import re
from os import PathLike
from pathlib import Path
from typing import Any, cast

from datainf.errors import OptionError

TAKES_URLS = (
    "datainf collect --out, datainf score --train, --query and --curvature, and datainf verify"
)
"""Of the command line."""
URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
MANGLED = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/([^/].*)", re.DOTALL)
"""What `pathlib` makes of a URL: one slash is gone."""
CHAIN = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+:/.*::[A-Za-z]|::[A-Za-z][A-Za-z0-9+.-]+:/", re.DOTALL)
BUCKETS = ("s3", "s3a", "gs", "gcs")
"""Protocols whose first part is a bucket, in whose name no @ can be."""


def is_remote(path: object) -> bool:
    """Whether a path that `place` made is in object storage."""
    return not isinstance(path, Path)


def place(given: str | PathLike[str]) -> Path:
    """A folder's path; of a URL, one that answers as a path does, by universal-pathlib. That
    library's own paths are taken by their URLs, for what is asked of URLs here.

    What names the storage's keys has no place in a URL: libraries find it where they always do, in
    the environment or in files of their own.

    Raises `OptionError` for a URL that holds a password, a key or a query; for one whose library is
    not installed; for a `Path` that was made of a URL, and has lost a slash; for a path with
    options of its own; and for an empty one, which would be the folder that one stands in.
    """
    options = getattr(given, "storage_options", None)  # of a path by universal-pathlib
    text = os.fspath(given) if options is None else str(given)
    if not text:
        raise OptionError("a path is empty", remedy="the folder's; for the one you are in, .")
    _forbid_chain(text)
    match = URL.fullmatch(text)
    if match is None:
        forbid_url(text, "what pathlib makes of a URL, with a slash too few,")
        return Path(text)
    protocol, rest = match[1].lower(), match[2].rstrip("/")
    _require_no_secrets(protocol, rest)
    if protocol == "file":
        return Path(rest.removeprefix("localhost") or "/")
    if not rest:
        raise OptionError(f"{text} names no bucket", remedy=f"{protocol}://BUCKET/FOLDER")
    found = _upath(protocol, f"{protocol}://{rest}")
    if dropped := sorted((options or {}).keys() - found.storage_options.keys()):
        raise OptionError(
            f"{text} was given with options of its own: {', '.join(dropped)}",
            remedy="the URL; the options in the environment (AWS_ENDPOINT_URL, …) or in the "
            "storage's own settings",
        )
    return cast(Path, found)


def _upath(protocol: str, url: str) -> Any:
    """A path that remembers no listing: other processes write there too."""
    try:
        from fsspec import get_filesystem_class
        from upath import UPath

        get_filesystem_class(protocol)
        return UPath(url, use_listings_cache=False)
    except ImportError as error:
        raise OptionError(
            f"{url}: this needs a library that is not installed ({error})",
            remedy="pip install 'datainf[remote]' for s3://, 'datainf[gs]' for gs://",
        ) from None
    except ValueError as error:
        raise OptionError(f"{url}: {error}", remedy="s3://BUCKET/FOLDER") from None


def forbid_url(given: object, what: str) -> None:
    """Raise `OptionError` for a URL where a folder of this machine is needed."""
    text = str(given)
    _forbid_chain(text)
    match = URL.fullmatch(text)
    if match is None and not Path(text).exists():
        match = MANGLED.fullmatch(text)
    if match is None:
        return
    shown = text.partition("?")[0]  # of users and passwords no error tells
    raise OptionError(
        f"{shown}: {what} is on this machine; stores alone may be in object storage",
        remedy=f"a folder. URLs are taken by {TAKES_URLS}",
    )


def _forbid_chain(text: str) -> None:
    """Raises `OptionError` for fsspec's `one::other://…`, of which nothing but the first is said:
    what comes after may hold secrets, and no rule here would find them."""
    if CHAIN.search(text):
        raise OptionError(
            f"a URL that begins with {text.partition(':')[0]}: names several protocols (::)",
            remedy="one alone, such as s3://BUCKET/FOLDER: copies are kept on this machine anyway",
        )


def _require_no_secrets(protocol: str, rest: str) -> None:
    """Raises `OptionError`, which does not repeat them."""
    before, _, query = rest.partition("?")
    user, at, host = before.partition("/")[0].rpartition("@")
    if at and (protocol in BUCKETS or ":" in user):  # abfs://container@account is no secret
        shown, what = f"{host}/…", "a user or a password"
    elif query:
        shown, what = before, "a query"
    else:
        return
    raise OptionError(
        f"{protocol}://{shown} was given with {what} in it, which would be written to logs",
        remedy="the URL alone; the keys in the environment (AWS_ACCESS_KEY_ID, …) or in the "
        "storage's own settings",
    )
