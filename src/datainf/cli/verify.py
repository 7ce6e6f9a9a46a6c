"""datainf verify: whether what is on the disk is what was written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from datainf import words
from datainf.cli.console import console, plain, progress, say


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
            "score again; the data and the model have to be where they were. A store whose index "
            "is damaged goes aside, and is made anew.",
        ),
    ] = False,
) -> None:
    """Read every byte of a run's stores and scores against their checksums.

    Tables and pages are read against provenance.jsonl, the record of the commands.
    Names each file that is damaged or missing, and the rows that are lost with it. The exit code is
    1 if there is one, and with --repair if there is one still.
    """
    from datainf.applications.verify import verify as read
    from datainf.remote import place

    with progress() as bars:
        found = read(folder, bars)
    _print([str(fault) for fault in found.faults], found.files, found.bytes)
    if not found.faults or not repair:
        raise typer.Exit(1 if found.faults else 0)
    _repair(place(folder))
    with progress() as bars:
        left = read(folder, bars)
    _print([str(fault) for fault in left.faults], left.files, left.bytes)
    raise typer.Exit(1 if left.faults else 0)


def _print(faults: list[str], files: int, size: int) -> None:
    shown = console()
    for fault in faults:
        shown.print(plain(fault), markup=False, soft_wrap=True)
    wrong = words.count(len(faults), "fault") if faults else "all as they were written"
    shown.print(f"{words.count(files, 'file')}, {words.size(size)}: {wrong}")


def _repair(folder: Path) -> None:
    """The run's own command again: it takes what its stores lack."""
    from datainf.applications.verify import put_aside
    from datainf.config import RunConfig, read_config
    from datainf.errors import OptionError
    from datainf.remote import is_remote
    from datainf.run_stores import SETTINGS
    from datainf.runs import run

    if is_remote(folder) or not (folder / SETTINGS).is_file():
        raise OptionError(
            f"{folder} is no run, and does not say how it was made",
            remedy="the command that made it again: it makes damaged shards anew",
        )
    config = RunConfig.from_values(read_config(folder / SETTINGS), str(folder / SETTINGS))
    config = replace(config, out=str(folder))  # it may have been moved
    put_aside(folder, say)
    with progress() as bars:
        run(config, progress=bars, say=say)
