"""What made a file: in it, the versions of what computed it; beside it, the command and its times.

Nothing that is written into a store, scores, a table or a page tells the time, so that the same
command gives the same bytes twice. A folder's `provenance.jsonl` has a line for each command that
wrote into it: what was asked for, when, by which versions and on what machine, and the digests of
the files that it left.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path, PurePath
from typing import Any

import datainf
from datainf.errors import WriteError
from datainf.files import has_file, make_folder, read_file, write_atomically
from datainf.fingerprint import bytes_digest, file_digest
from datainf.launch import launch
from datainf.redaction import noted
from datainf.remote import is_remote

RECORD = "provenance.jsonl"
PAGE = "page"
"""In the line of a page: what it was asked to show."""
PACKAGES = (
    "torch", "transformers", "peft", "accelerate", "datasets", "diffusers", "numpy", "safetensors",
)  # fmt: skip
"""That numbers may depend on."""
MODULE = ("datainf", "__main__.py")
"""The end of what `python -m datainf` is called by; other packages have such a file too."""


@cache
def versions() -> dict[str, str]:
    """Of datainf, of Python, and of the packages that are installed among `PACKAGES`."""
    found = {"datainf": datainf.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def in_a_line() -> str:
    """The versions as people read them."""
    return ", ".join(f"{name} {version}" for name, version in versions().items())


def recorder(folder: Path, **known: Any) -> Callable[[Iterable[Path]], None]:
    """Begin to note what is made in a folder; call it with the files in the end. `known`: plain
    values that decide the result, such as seeds and the digests of data.

    A file that was not written is left out, and nothing is noted where there is none.
    """
    started = datetime.now(UTC)

    def note(files: Iterable[Path]) -> None:
        found = {name_in(folder, path): digest_of(path) for path in files if has_file(path)}
        if not found:
            return
        line = {
            "command": command(),
            "started": started.isoformat(timespec="seconds"),
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            "machine": machine(),
            **known,
            "files": found,
        }
        try:
            _append(folder / RECORD, _in_json(line))
        except WriteError:
            if any(map(is_within, found)):
                raise  # of a folder that may only be read, with all files elsewhere, none is due

    return note


def is_within(name: str) -> bool:
    """Whether it is of a file in the folder: a record may be of elsewhere, and lead anywhere."""
    path = PurePath(name)
    return not path.is_absolute() and ".." not in path.parts and "://" not in name


def command() -> list[str] | None:
    """The arguments that the program was started with, without secrets, but for paths of what is
    there; None in a program of a person's own."""
    program, *arguments = sys.argv or [""]
    if Path(program).name != "datainf" and Path(program).parts[-2:] != MODULE:
        return None
    return ["datainf", *map(_noted, arguments)]


def _noted(argument: str) -> str:
    """Of `--option=value` the value may be a path."""
    option, equals, value = argument.partition("=")
    if equals and option.startswith("-"):
        return f"{option}={noted(value)}" if value else argument
    return noted(argument)


def machine() -> dict[str, Any]:
    """What of it floating point may depend on."""
    import torch

    return {
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": launch().count,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def digest_of(path: Path) -> str:
    """As a record has it."""
    return bytes_digest(read_file(path)) if is_remote(path) else file_digest(path)


def name_in(folder: Path, path: Path) -> str:
    """As a folder's record has it: within the folder, or in full where it is elsewhere."""
    if not is_remote(path):
        path, folder = path.absolute(), folder.absolute()
    return str(path.relative_to(folder)) if folder in path.parents else str(path)


def _in_json(line: dict[str, Any]) -> bytes:
    """Letters as they are; but where a name is not in UTF-8, all escaped: by another name its file
    would not be found."""
    try:
        return json.dumps(line, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(line).encode()


def _append(path: Path, line: bytes) -> None:
    """In full or not at all: what was noted before stays, but not what a link leads to: it was not
    noted here, and may be anybody's."""
    make_folder(path.parent)
    is_link = not is_remote(path) and path.is_symlink()
    before = read_file(path) if has_file(path) and not is_link else b""
    write_atomically(path, before + line + b"\n")
