"""datainf mislabeled: the training examples that look wrong, and what speaks for it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from datainf import words
from datainf.cli import options as o
from datainf.cli.console import console, plain, progress, say
from datainf.errors import in_a_line

if TYPE_CHECKING:
    from datainf.applications.mislabeled import Suspects
    from datainf.report.readers import Said
    from datainf.report.subject import Subject
    from datainf.runs import Run


def mislabeled(
    run: Annotated[
        Path,
        typer.Argument(
            help="Folder of a run whose queries are right: a clean validation set.",
            show_default=False,
            callback=o.finished,
        ),
    ],
    scores: Annotated[
        Path | None,
        typer.Option(
            help="Folder that `datainf score` wrote for the run's stores, to rank by those scores.",
        ),
    ] = None,
    query_store: o.QueryStore = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Suspects to print.")] = 20,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File for all examples by suspicion: .csv, .jsonl or .parquet.",
            show_default=False,
        ),
    ] = None,
    review: Annotated[
        bool,
        typer.Option(
            "--review/--no-review",
            help="Write review.html beside the scores, where suspects are ticked off.",
        ),
    ] = True,
    reviewed: Annotated[int, typer.Option(min=1, help="Suspects on that page.")] = 300,
    model: Annotated[
        bool,
        typer.Option(
            "--model/--no-model",
            help="Whether to load the model, for what it says to the suspects on that page.",
        ),
    ] = True,
) -> None:
    """Rank the training examples by suspicion: harmful to the queries, and badly fitted.

    The run's queries are taken to be right. Prints the first, with the evidence, and writes a page
    on which each can be kept, dropped or relabelled; `datainf select RUN --decisions FILE` then
    writes the cleaned data.
    """
    from datainf.applications.mislabeled import mislabeled as find
    from datainf.applications.suspects_file import check_ending, is_suspects, write_suspects
    from datainf.provenance import recorder
    from datainf.report.readers import Said
    from datainf.report.review import REVIEW, write_review
    from datainf.report.subject import Subject

    if out is not None:
        check_ending(out)
    note, wrote = recorder(run), list[Path]()
    subject = Subject.open(run, scores, query_store)
    if out is not None:
        subject.require_free(out, is_suspects)
    with progress() as bars:
        found = find(subject.scores, subject.stores.train, subject.stores.weights, progress=bars)
    if out is not None:
        write_suspects(out, found, subject.run.train, subject.run.describe)
        wrote.append(out)
        say(f"{words.count(len(found.combined), 'example')} by suspicion are in {out}")
    said = _said(subject, found.order[:reviewed]) if model and review else Said()
    print_suspects(console(), subject.run, found, said, k)
    if review:
        path = write_review(subject, found, said, subject.scored / REVIEW, reviewed)
        wrote.append(path)
        say(f"to look at, and to decide: {path}")
    note(wrote)


def _said(subject: Subject, rows: list[int]) -> Said:
    """What the model says to these rows, if it can be loaded and says labels."""
    from datainf.report.readers import Said, labels_said

    try:
        return labels_said(subject, rows)
    except Exception as error:  # no base, no memory: the evidence is still worth a page
        say(f"what the model says is left out: {in_a_line(error)}")
        return Said()


def print_suspects(shown: Console, run: Run, found: Suspects, said: Said, k: int) -> None:
    """The k most suspect, with each signal and, where it is known, what the model says."""
    from datainf.runs import describe

    table = Table(title=f"the {min(k, len(found.combined)):,} most suspect", title_justify="left")
    table.add_column("suspicion", justify="right", no_wrap=True)
    for name in found.signals:
        table.add_column(name, justify="right", no_wrap=True)
    if said.answers:
        table.add_column("model says", overflow="fold")
    table.add_column("id", overflow="fold")
    table.add_column("where", overflow="fold")
    table.add_column("example", overflow="fold")
    for row in found.order[:k]:
        text = " ".join(describe(run.describe, run.train, row).split())
        table.add_row(
            f"{math.floor(1000 * float(found.combined[row])) / 10:.1f} %",  # never 100
            *(f"{float(values[row]):.3g}" for values in found.signals.values()),
            *([_answer(said, row)] if said.answers else []),
            escape(plain(str(run.train.ids[row]))),
            escape(plain(run.train.where(row))),
            escape(plain(text, 160)),
        )
    shown.print(table)


def _answer(said: Said, row: int) -> str:
    answer = said.answers.get(row)
    return "" if answer is None else escape(plain(" ".join(answer.text.split()), 40))
