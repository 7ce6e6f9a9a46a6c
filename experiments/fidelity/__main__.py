"""python -m experiments.fidelity: do scores foretell what training again does?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from datainf.cli.console import console, progress
from experiments.fidelity.settings import SETTINGS, TASKS

OUT = Path(__file__).parents[1] / "results/desk/fidelity"
Out = Annotated[Path, typer.Option(help="Folder of trainings and results.")]
app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command()
def run(
    names: Annotated[list[str] | None, typer.Argument(help="By default the five tasks.")] = None,
    data: Annotated[Path, typer.Option(help="Folder of data sets; see experiments/README.md")] = (
        Path()
    ),
    out: Out = OUT,
) -> None:
    """Train again, score and compare; what is trained already is not trained again."""
    from experiments.fidelity.study import run as study

    torch.set_num_threads(1)
    for name in names or list(TASKS):
        if name not in SETTINGS:
            raise typer.BadParameter(f"{name}: not one of {'; '.join(SETTINGS)}")
        with progress() as bars:
            study(name, data, out, bars)
        console().print(f"{name}: done")
        report(out)


@app.command()
def report(out: Out = OUT) -> None:
    """Write FIDELITY.md from the results."""
    from experiments.fidelity.report import write

    console().print(f"wrote {write(out)}")


if __name__ == "__main__":
    app()
