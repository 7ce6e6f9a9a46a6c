"""The file of scores: one safetensors file with tensors and ids, all else as metadata. No pickle.

Its metadata have one entry, named after the kind of scores, with plain values, a checksum of these
and one of all the rest: so the values can be read alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from datainf.errors import StoreCorruptError, StoreError, first_line
from datainf.files import make_folder, write_atomically
from datainf.fingerprint import digest
from datainf.redaction import beginning

Kind = Literal["datainf-scores-1", "datainf-top-scores-1"]
QUERY_IDS, TRAIN_IDS = "query_ids", "train_ids"
ABOUT_CHECKSUM = "about_checksum"
AGAIN = "datainf score makes it anew from the stores"

Ids = list[int | str]


@dataclass(frozen=True)
class Contents:
    """What a file of scores holds: plain values by name, and its kind's tensors."""

    kind: Kind
    about: Mapping[str, Any]
    query_ids: Ids
    train_ids: Ids
    tensors: Mapping[str, Tensor]


def write(path: str | Path, contents: Contents) -> None:
    """Write a file and its folder, in full or not at all. Raises `WriteError`."""
    path = Path(path)
    make_folder(path.parent)
    tensors = {name: tensor.contiguous() for name, tensor in contents.tensors.items()}
    tensors[QUERY_IDS] = _as_bytes(contents.query_ids)
    tensors[TRAIN_IDS] = _as_bytes(contents.train_ids)
    text = json.dumps(contents.about, sort_keys=True)
    # One entry: the order of several in a safetensors header changes from run to run.
    own = digest(text)
    entry = {"about": text, ABOUT_CHECKSUM: own, "checksum": _checksum(own, tensors)}
    write_atomically(path, save(tensors, metadata={contents.kind: json.dumps(entry)}))


def read(path: str | Path) -> Contents:
    """Read a file; its tensors are mapped into memory, and every byte is read for its checksum.

    Raises `StoreError` if there is none, or it is of something else; `StoreCorruptError` if its
    bytes are not the ones that were written.
    """
    path = Path(path)
    with reading(path):
        kind, written, file = _opened(path)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
        about = _about(path, written)
        # Files of older versions have no checksum of the values alone.
        if written["checksum"] != _checksum(written.get(ABOUT_CHECKSUM, written["about"]), tensors):
            raise _differs(path)
        queries, examples = (_ids(tensors.pop(name)) for name in (QUERY_IDS, TRAIN_IDS))
    return Contents(kind, about, queries, examples, tensors)


def read_about(path: str | Path) -> Mapping[str, Any]:
    """What a file says beside its tensors, which are not read. Raises as `read`."""
    path = Path(path)
    with reading(path):
        _, written, _ = _opened(path)
        if ABOUT_CHECKSUM in written:
            return _about(path, written)
    return read(path).about


def _about(path: Path, written: Mapping[str, Any]) -> Mapping[str, Any]:
    """The plain values of a file's entry, checked by their own checksum if it has one."""
    if written.get(ABOUT_CHECKSUM) not in (None, digest(written["about"])):
        raise _differs(path)
    found: dict[str, Any] = json.loads(written["about"])
    for name, kind in (("method", str), ("settings", dict), ("diagnostics", dict)):
        if not isinstance(found[name], kind):
            raise TypeError(f"its {name} is {beginning(found[name])!r}")
    return found


def _ids(stored: Tensor) -> Ids:
    found = json.loads(bytes(stored.tolist()))
    if not isinstance(found, list) or not all(isinstance(one, int | str) for one in found):
        raise TypeError("its ids are no list of numbers and texts")
    return found


def _differs(path: Path) -> StoreCorruptError:
    return StoreCorruptError(
        f"{path}: the bytes are not the ones that were written (its checksum differs)",
        remedy=AGAIN,
    )


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Turn what a damaged file brings about into a `StoreCorruptError`."""
    try:
        yield
    except StoreError:
        raise
    except (
        safetensors.SafetensorError, ValueError, LookupError, TypeError, AttributeError, OSError,
        RecursionError,
    ) as error:  # fmt: skip
        raise StoreCorruptError(
            f"{path} is not a whole scores file ({first_line(error)})", remedy=AGAIN
        ) from None


def _opened(path: Path) -> tuple[Kind, dict[str, Any], Any]:
    """A file's kind, its entry in the metadata, and the open file."""
    if not path.is_file():
        raise StoreError(f"there is no scores file {path}", remedy="datainf score makes one")
    file: Any = safetensors.safe_open(path, framework="pt")
    metadata = file.metadata() or {}
    for kind in get_args(Kind):
        if kind in metadata:
            return kind, json.loads(metadata[kind]), file
    if QUERY_IDS in file.keys():  # noqa: SIM118 - no dict
        raise LookupError("its kind is not one that this version of datainf knows")
    raise StoreError(
        f"{path} is no scores file", remedy="the scores.safetensors that datainf score writes"
    )


def _checksum(about: str, tensors: Mapping[str, Tensor]) -> str:
    return digest([about, [[name, tensors[name]] for name in sorted(tensors)]])


def _as_bytes(ids: Ids) -> Tensor:
    return torch.frombuffer(bytearray(json.dumps(ids).encode()), dtype=torch.uint8)
