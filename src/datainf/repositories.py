"""Repositories of others, on the hub or in a folder: which commit is taken, and none of their code.

A hub id may name a revision, `owner/name@revision`: a commit, a tag or a branch. What was taken is
noted as a commit: branches move.

transformers asks on the terminal whether to run the code that a repository brings, and does so for
a "y" on stdin; so it is told not to wherever it could ask.
"""

from __future__ import annotations

import re
from pathlib import Path

from datainf.errors import ModelError, first_line
from datainf.redaction import beginning

NO_CODE = {"trust_remote_code": False}
"""For whatever of transformers could run a repository's code."""
ATTENTIONS = (None, "eager", "sdpa", "flex_attention")
"""For which no code is taken from the hub."""
REVISION = re.compile(r"(?P<name>[\w.-]+(/[\w.-]+)?)@(?P<revision>[\w./-]+)")
COMMIT = re.compile(r"[/\\]([0-9a-f]{40})[/\\]")


def at(name: str) -> tuple[str, str | None]:
    """A name and the revision that it asks for, if it is no path and asks for one."""
    match = None if Path(name).exists() else REVISION.fullmatch(name)
    return (name, None) if match is None else (match["name"], match["revision"])


def commit_of(name: str, file: str) -> str | None:
    """The commit at which a hub id's `file` lies in the cache, by the revision that it names; None
    for a path, and for what was not taken from the hub."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if Path(name).exists():
        return None
    repository, revision = at(name)
    try:
        found = try_to_load_from_cache(repository, file, revision=revision)
    except (HFValidationError, ValueError):
        return None
    return commit_in(found) if isinstance(found, str) else None


def commit_in(path: str) -> str | None:
    """The commit that a path within a cache is of."""
    match = COMMIT.search(path)
    return None if match is None else match[1]


def pinned(name: str, commit: str | None) -> str:
    """A name that says at which commit it was taken, if that is known; a data set's split stays."""
    if commit is None:
        return name
    repository, colon, split = name.partition(":")
    return f"{at(repository)[0]}@{commit}{colon}{split}"


def unloadable(what: str, name: str, error: Exception, remedy: str | None) -> ModelError:
    """Why something of a repository cannot be loaded; where it is that code of its own would have
    to be run, with what to do then."""
    if "trust_remote_code" not in str(error):
        return ModelError(f"cannot load {what} from {name}: {first_line(error)}", remedy=remedy)
    return ModelError(
        f"{what} of {name} needs code that the repository brings (auto_map), and datainf runs no "
        "such code",
        remedy="a model whose class transformers has itself; or, once you have read that code and "
        "trust it, load the model yourself and call datainf.collect(model, …) from Python",
    )


def refuse_kernels(name: str, config: object) -> None:
    """Raises `ModelError` for what a config.json says, if it anywhere asks for another attention
    than torch's own: by a name with a slash transformers takes compiled code from the hub, and for
    flash_attention_2 too, where it is not installed."""
    if isinstance(config, list):
        for value in config:
            refuse_kernels(name, value)
    if not isinstance(config, dict):
        return
    for key, value in config.items():
        if "attn_implementation" not in key:
            refuse_kernels(name, value)
            continue
        for asked in value.values() if isinstance(value, dict) else [value]:  # of parts, by name
            if asked not in ATTENTIONS:
                raise ModelError(
                    f"the config.json of {name} asks for {beginning(asked, 100)!r} as its "
                    "attention, which may be code from the hub, and datainf runs no such code",
                    remedy='attn_implementation "sdpa" or "eager" there, or none',
                )
