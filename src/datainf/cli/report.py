"""datainf report: a finished run as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datainf.cli import options as o
from datainf.cli.console import console, progress, say
from datainf.errors import OptionError

ALL = "all"


def report(
    run: o.Run,
    scores: Annotated[
        Path | None,
        typer.Option(
            help="Folder that `datainf score` wrote for the run's stores, to report on those."
        ),
    ] = None,
    query_store: o.QueryStore = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The file. (default: report.html beside the scores)"),
    ] = None,
    top: Annotated[
        int, typer.Option(min=1, help="Training examples of either end to show, a query.")
    ] = 10,
    tokens: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="How many training examples the model reads again, to see which of their tokens "
            "the scores come from: of the first queries; or all. (default 300)",
        ),
    ] = None,
    model: Annotated[
        bool,
        typer.Option(
            "--model/--no-model",
            help="Whether to load the model, for what it says to the examples and for their "
            "tokens' parts in the scores.",
        ),
    ] = True,
) -> None:
    """Write a run's page, report.html: queries, their examples, and why.

    One file that needs no network. `datainf attribute` writes it too.
    """
    from datainf.report import write_report

    read = {} if tokens is None else {"read": _number(tokens)}
    with progress() as bars:
        path = write_report(
            run,
            scored=scores,
            query_store=query_store,
            out=out,
            top=top,
            model=model,
            progress=bars,
            say=say,
            **read,
        )
    console().print(str(path), markup=False, soft_wrap=True)


def _number(text: str) -> int | None:
    if text == ALL:
        return None
    if not text.isdecimal():
        raise OptionError(f"--tokens is {text!r}", remedy=f"a number, 0 for none, or {ALL}")
    return int(text)
