"""datainf top: the most helpful and most harmful examples of a query of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datainf.cli import options as o
from datainf.cli.console import console
from datainf.errors import OptionError


def top(
    run: o.Run,
    query: Annotated[
        str | None, typer.Option("--query", "-q", help="Id of the query; the first by default.")
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(help="Folder that `datainf score` wrote for the run's stores, to show those."),
    ] = None,
    query_store: o.QueryStore = None,
    mean: Annotated[
        bool, typer.Option("--mean", help="What helped or hurt all queries, by the mean score.")
    ] = False,
    k: Annotated[
        int | None,
        typer.Option(
            "-k",
            min=1,
            help="Examples to show of each end. (default: 10, or as many as --keep kept)",
        ),
    ] = None,
) -> None:
    """Show the top training examples of one query of a run, or of all together."""
    from datainf.cli.tables import print_mean, print_query
    from datainf.runs import open_run

    if mean and query is not None:
        raise OptionError("--mean is over all queries; --query names one", remedy="one of the two")
    finished = open_run(run, scores, query_store)
    row = None if mean else 0 if query is None else finished.scores.query_row(query)
    shown = finished.scores.count(row, k)  # refused before anything is printed
    if row is None:
        print_mean(console(), finished, shown)
    else:
        print_query(console(), finished, row, shown)
