"""datainf demo: the main job on an embedded default."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from datainf.cli import options as o
from datainf.cli.console import console, progress, say

if TYPE_CHECKING:
    import numpy as np

    from datainf.demos.demo import DemoResult


def demo(
    out: Annotated[Path, typer.Option(help="Folder to work in.")] = Path("datainf-demo"),
    model: Annotated[
        str | None,
        typer.Option(help="A causal LM, folder or hub id, in place of the tiny one shipped."),
    ] = None,
    hard: Annotated[
        bool, typer.Option("--hard", help="Leave the transformation's name out of the prompts.")
    ] = False,
    seed: o.Seed = None,
) -> None:
    """Fine-tune a tiny model on ten sentence transformations and ask which examples taught it.

    Needs no network. 900 training and 100 test examples; for each test example, a good method
    ranks the 90 training examples of the same transformation first.
    """
    from datainf.cli.tables import print_query
    from datainf.demos.demo import run_demo

    say(
        "1. write 900 training and 100 test examples of ten sentence transformations\n"
        "2. fine-tune a small language model on them with LoRA\n"
        "3. collect the gradient of every example, and score every pair\n"
        "4. see whether the scores find each test example's own transformation"
    )
    with progress() as bars:
        result = run_demo(out, model=model, hard=hard, seed=seed or 0, progress=bars, say=say)
    shown = console()
    shown.print(_table(result))
    shown.print("Some test examples, and the training examples that moved the model most on them:")
    for row in (0, 30, 60):
        print_query(shown, result.run, row, 3)
    shown.print(f"\nEverything is in {out}. More: datainf top {out}/run --query ID", markup=False)


def _table(result: DemoResult) -> Table:
    import numpy as np

    table = Table(
        title="AUC / recall of the same transformation (mean over its 10 test examples)",
        title_justify="left",
    )
    table.add_column("transformation", no_wrap=True)
    for name in result.methods:
        table.add_column(name, justify="right", no_wrap=True)
    classes = np.asarray(result.query_classes)
    for label in dict.fromkeys(result.query_classes):
        mine = classes == label
        table.add_row(label, *_cells(result, mine))
    table.add_section()
    table.add_row("all", *_cells(result, np.ones(len(classes), dtype=bool)), style="bold")
    table.add_row(
        "scoring, seconds", *(f"{found.seconds:.2f}" for found in result.methods.values())
    )
    return table


def _cells(result: DemoResult, mine: np.ndarray) -> list[str]:
    return [
        f"{found.detection.auc[mine].mean():.3f} / {found.detection.recall[mine].mean():.3f}"
        for found in result.methods.values()
    ]
