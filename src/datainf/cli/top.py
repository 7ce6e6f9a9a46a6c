"""datainf top: the most helpful and most harmful examples of one query of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datainf.cli.console import console
from datainf.cli.tables import print_query
from datainf.runs import open_run


def top(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)],
    query: Annotated[
        str | None, typer.Option("--query", "-q", help="Id of the query; the first by default.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Examples to show of each end.")] = 10,
) -> None:
    """Show the top training examples of one query of a run."""
    finished = open_run(run)
    row = 0 if query is None else finished.scores.query_row(query)
    print_query(console(), finished, row, k)
