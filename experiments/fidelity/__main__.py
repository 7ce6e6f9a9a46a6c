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
def export(
    name: Annotated[str, typer.Argument(help="One of the tasks.")],
    to: Annotated[Path, typer.Option(help="Folder for adapter and rows.")],
    data: Annotated[Path, typer.Option(help="Folder of data sets.")] = Path(),
) -> None:
    """A fine-tuning as files, for another tool; see peers/README.md."""
    from experiments.fidelity.peers.export import export as write
    from experiments.fidelity.problems import problem

    torch.set_num_threads(1)
    write(problem(name, data), to)


@app.command()
def peers(
    name: Annotated[str, typer.Argument(help="One of the tasks.")],
    scores: Annotated[Path, typer.Option(help="Folder of another tool's scores.")],
    data: Annotated[Path, typer.Option(help="Folder of data sets.")] = Path(),
    out: Out = OUT,
) -> None:
    """Judge another tool's scores by the trainings that are known."""
    from experiments.fidelity.peers.judge import judge_peers
    from experiments.fidelity.problems import problem

    torch.set_num_threads(1)
    judge_peers(problem(name, data), scores, out)
    report(out)


@app.command()
def report(out: Out = OUT) -> None:
    """Write FIDELITY.md from the results."""
    from experiments.fidelity.report import write

    console().print(f"wrote {write(out)}")


if __name__ == "__main__":
    app()
