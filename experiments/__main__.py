"""python -m experiments: run the paper's experiments, see what is left, write the report.

    python -m experiments plan                          what is done, how long the rest will take
    python -m experiments run mislabeled --data FOLDER --out MINE
                                                        one experiment, then the report
    python -m experiments run --scale quick             a cut of each, on data that is made up
    python -m experiments report                        RESULTS.md, from the finished cells alone

A run that was stopped goes on from its last finished cell. The desk's cells are finished, and
committed: without --out there is nothing left to run of them.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments.cells import SCALES
from experiments.plan import COMMITTED, Plan, duration
from experiments.report import EXPERIMENTS, needs, write
from experiments.workers import work

app = typer.Typer(
    help=__doc__, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)
console = Console(highlight=False)
Scale = StrEnum("Scale", list(SCALES))

Names = Annotated[
    list[str] | None, typer.Argument(help=f"Of {', '.join(EXPERIMENTS)}; all if none is named.")
]
ScaleOption = Annotated[
    Scale, typer.Option(help="desk: two cores; quick: minutes; paper: a GPU and the hub.")
]
Data = Annotated[
    Path | None,
    typer.Option(help="Folder with glue/ and emoji_styles/; not needed for quick and paper."),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder of ledgers and report; experiments/results/SCALE if not given."),
]
Jobs = Annotated[int, typer.Option(min=1, help="Cells side by side, sharing the cores.")]
Minutes = Annotated[
    float | None, typer.Option(help="Start no cell that is not expected to end by then.")
]


@app.command()
def plan(
    names: Names = None, scale: ScaleOption = Scale.desk, out: Out = None, jobs: Jobs = 2
) -> None:
    """Cells, those that are done, and the time that the rest is expected to take."""
    made = Plan(needs(_known(names), scale, None), scale, _folder(out, scale))
    console.print(made.table(jobs))


@app.command()
def run(
    names: Names = None, scale: ScaleOption = Scale.desk, data: Data = None, out: Out = None,
    jobs: Jobs = 2, minutes: Minutes = None,
) -> None:  # fmt: skip
    """Run what is left of the experiments, then write their report."""
    folder = _folder(out, scale)
    made = Plan(needs(_known(names), scale, data), scale, folder)
    console.print(made.table(jobs))
    if scale == Scale.desk and data is None and (without := made.studies_with("data")):
        raise typer.BadParameter(
            f"{', '.join(without)} read local files here; experiments/README.md says which",
            param_hint="--data",
        )
    failures = work(made, jobs=jobs, minutes=minutes, say=console.print)
    console.print(f"wrote {write(folder, scale)}")
    for failure in failures:
        console.print(
            f"\nFAILED: {failure.cell.study.name} {failure.cell.key}\n{failure.error}", markup=False
        )
    if made.pending and not failures:
        left = made.time_left(jobs)
        rest = "" if left is None else f", about {duration(left)}"
        console.print(f"{len(made.pending)} cells left{rest}: the same command goes on")
    raise typer.Exit(1 if failures else 0)


@app.command()
def report(scale: ScaleOption = Scale.desk, out: Out = None) -> None:
    """Write the report from the finished cells."""
    console.print(f"wrote {write(_folder(out, scale), scale)}")


def _folder(out: Path | None, scale: Scale) -> Path:
    return COMMITTED / scale if out is None else out


def _known(names: list[str] | None) -> list[str]:
    for name in names or []:
        if name not in EXPERIMENTS:
            raise typer.BadParameter(f"{name}: not one of {', '.join(EXPERIMENTS)}")
    return names or list(EXPERIMENTS)


if __name__ == "__main__":
    app()
