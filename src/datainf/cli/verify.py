"""datainf verify: whether what is on the disk is what was written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datainf import words
from datainf.cli.console import console, plain, progress, say

if TYPE_CHECKING:
    from datainf.applications.verify import Fault, Verified
    from datainf.config import RunConfig


def verify(
    folder: Annotated[
        str,
        typer.Argument(help="A run's folder, or a store's; or a store's URL.", show_default=False),
    ],
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Of a run: take the gradients of damaged shards again, and of no others, and "
            "score again; the data and the model have to be where they were. A store of the run's "
            "own whose index is damaged goes aside, and is made anew; its page is written again. "
            "What other commands made stays, and what to do about it is said; nothing is made "
            "again where that would replace sound scores of another command.",
        ),
    ] = False,
) -> None:
    """Read every byte of a run's stores and scores against their checksums.

    Tables, the page and what `datainf select` wrote are read against provenance.jsonl, the record
    of the commands.
    Names each file that is damaged or missing, and the rows that are lost with it. The exit code is
    1 if there is one, and with --repair if there is one still.
    """
    from datainf.applications.verify import verify as read
    from datainf.remote import place

    with progress() as bars:
        found = read(folder, bars)
    _print(found)
    if not found.faults or not repair:
        raise typer.Exit(1 if found.faults else 0)
    config = _repair(place(folder), found.faults)
    with progress() as bars:
        left = read(folder, bars)
    _print(left)
    _say_what_is_left(place(folder), config, left.faults)
    raise typer.Exit(1 if left.faults else 0)


def _print(found: Verified) -> None:
    shown, faults = console(), found.faults
    for fault in faults:
        shown.print(plain(str(fault)), markup=False, soft_wrap=True)
    wrong = words.count(len(faults), "fault") if faults else "all as they were written"
    shown.print(f"{words.count(found.files, 'file')}, {words.size(found.bytes)}: {wrong}")


def _repair(folder: Path, faults: list[Fault]) -> RunConfig:
    """The run's own command again, and then its pages; the run's settings."""
    from datainf.applications.repair import repair
    from datainf.report.again import write_again

    with progress() as bars:
        config = repair(folder, faults, progress=bars, say=say)
        write_again(folder, config, faults, progress=bars, say=say)
    return config


def _say_what_is_left(folder: Path, config: RunConfig, faults: list[Fault]) -> None:
    from datainf.applications.repair import left_alone

    for line in left_alone(folder, config, faults):
        say(line)
