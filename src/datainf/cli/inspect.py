"""datainf inspect: a store's blocks, norms and damping."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from datainf.cli.console import console, plain

if TYPE_CHECKING:
    from datainf.applications.inspect import BlockReport
    from datainf.store import GradientStore


def inspect(
    store: Annotated[
        Path,
        typer.Argument(
            help="A gradient store; of a run's folder, the training store of the last weights.",
            show_default=False,
        ),
    ],
    damping: Annotated[
        str, typer.Option(help="λ to show: 0.1, trace:0.02, rows:20 or abs:1e-3.")
    ] = "0.1",
) -> None:
    """Show a store's blocks: norms with quantiles and outliers, λ, effective rank.

    Warns where a method is outside what it assumes.
    """
    from datainf.applications.inspect import inspect as inspect_store
    from datainf.linalg import Damping
    from datainf.run_folder import is_run
    from datainf.run_stores import RunStores, in_words
    from datainf.store import GradientStore

    opened = RunStores.open(store).train[-1] if is_run(store) else GradientStore.open(store)
    report = inspect_store(opened, Damping.parse(damping))
    shown = console()
    shown.print(f"{in_words(opened)}; {_form(opened)}", markup=False)
    _print_blocks(shown, report.blocks)
    largest = ", ".join(f"{plain(str(name))} ({norm:.3g})" for name, norm in report.largest)
    shown.print(f"largest gradients, by id: {escape(largest)}")
    for warning in report.warnings:
        shown.print(f"[yellow]warning:[/] {escape(plain(warning))}")


def _form(store: GradientStore) -> str:
    """How rows are stored, by the options that ask for it."""
    from datainf.store.index import projected_by

    index = store.index
    project = projected_by(index.projection)
    return f"--store {index.dtype}" + ("" if project == "none" else f" --project {project}")


def _print_blocks(shown: Console, blocks: list[BlockReport]) -> None:
    table = Table(title="blocks (norms ‖g‖ over the examples)", title_justify="left")
    table.add_column("block", overflow="fold", min_width=24)
    for column in ("d", "λ", "5 %", "median", "95 %", "largest", "outliers", "eff. rank"):
        table.add_column(column, justify="right", no_wrap=True)
    for block in blocks:
        whole = block.columns == block.width
        table.add_row(
            escape(block.name),
            f"{block.width:,}" if whole else f"{block.columns:,} of {block.width:,}",
            f"{block.damping_lambda:.2g}",
            *(f"{value:.3g}" for value in block.quantiles),
            str(block.outliers),
            f"{block.effective_rank:.1f}",
        )
    shown.print(table)
