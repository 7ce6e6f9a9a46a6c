"""Tables of scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from datainf import words
from datainf.cli.console import plain
from datainf.runs import Run, describe, entries

TEXT = 300
"""Characters of an example's text shown in a table."""
DIGITS = 4
"""Of a column's largest score."""
PLAIN = range(-3, 6)
"""Powers of ten of a column's largest score at which it is written without an exponent."""


def print_query(out: Console, run: Run, row: int, k: int) -> None:
    """One query with its most helpful and most harmful training examples."""
    identifier = plain(_one_line(str(run.scores.query_ids[row])))
    text = plain(_one_line(describe(run.describe, run.query, row)), TEXT)
    about = f"loss {float(run.query_losses[row]):.3f}"
    if row in run.query_skipped:
        about = f"skipped: {run.query_skipped[row]}"
    out.print(f"\n[bold]query {escape(identifier)}[/] ({about})  {escape(text)}")
    _print_ends(out, run, row, k)


def print_mean(out: Console, run: Run, k: int) -> None:
    """The training examples that helped and hurt all queries together, by their mean score."""
    loss = float(run.query_losses.double().nanmean())
    queries = words.count(len(run.scores.query_ids), "query", "queries")
    out.print(f"\n[bold]mean over {queries}[/] (mean loss {loss:.3f})")
    _print_ends(out, run, None, k)


def _print_ends(out: Console, run: Run, row: int | None, k: int) -> None:
    for largest, title in ((True, "helpful"), (False, "harmful")):
        found = entries(run, row, k, largest=largest)
        # A row with k or fewer training examples has no other end to show.
        shown = [entry for entry in found if entry["score"] * (1 if largest else -1) > 0]
        if shown:
            out.print(_table(shown, title))
        else:
            out.print(f"  no {title} example: no score is {'above' if largest else 'below'} 0")


def _table(found: list[dict[str, Any]], title: str) -> Table:
    table = Table(title=f"most {title}", title_justify="left", title_style="italic")
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("id", overflow="fold", max_width=36)
    table.add_column("loss", justify="right", no_wrap=True)
    table.add_column("training example", overflow="fold")
    for score, entry in zip(column([entry["score"] for entry in found]), found, strict=True):
        table.add_row(
            score,
            escape(plain(str(entry["train_id"]))),
            "nan" if entry["loss"] is None else f"{entry['loss']:.3f}",
            escape(plain(_one_line(entry["text"]), TEXT)),
        )
    return table


def column(scores: Sequence[float]) -> list[str]:
    """Scores, all written in the same way: with as many decimals as the largest needs; with an
    exponent where that is out of the ordinary, or a thousand times the smallest."""
    sizes = [abs(score) for score in scores if score] or [1.0]
    power = math.floor(math.log10(max(sizes)))
    if power not in PLAIN or max(sizes) > 10 ** (DIGITS - 1) * min(sizes):
        return [f"{score:+.{DIGITS - 1}e}" for score in scores]
    return [f"{score:+.{max(0, DIGITS - 1 - power)}f}" for score in scores]


def _one_line(text: str) -> str:
    return " ⏎ ".join(part for part in text.splitlines() if part.strip())
