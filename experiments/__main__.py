"""python -m experiments: run the paper's experiments, see what is left, write the report.

\b
    python -m experiments plan                          what is done, how long the rest will take
    python -m experiments run mislabeled --data FOLDER --out MINE
                                                        one experiment, then the report
    python -m experiments run --scale quick             a cut of each, on data that is made up
    python -m experiments report                        RESULTS.md, from the finished cells alone
    python -m experiments check norms --data FOLDER     some finished cells again: the same figures?

A run that was stopped goes on from its last finished cell. The desk's cells are finished, and
committed: without --out there is nothing left to run of them.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from datainf.errors import DatainfError
from datainf.files import locked, make_folder
from experiments.cells import Ledger, Scale, name
from experiments.check import Comparison, compare, sample
from experiments.finished import EXPERIMENTS, needs, read
from experiments.local_files import missing
from experiments.plan import COMMITTED, Plan, duration
from experiments.report import write
from experiments.workers import LOG, Failure, work

app = typer.Typer(
    help=__doc__, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)
console = Console(highlight=False)

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
    typer.Option(
        file_okay=False,
        help="Folder of ledgers and report; experiments/results/SCALE if not given.",
    ),
]
Jobs = Annotated[int, typer.Option(min=1, help="Cells side by side, sharing the cores.")]
Minutes = Annotated[
    float | None, typer.Option(help="Start no cell that is not expected to end by then.")
]

Cells = Annotated[int, typer.Option(min=1, help="Of each study that does not time.")]
Seed = Annotated[int, typer.Option(help="Which cells are drawn.")]


@app.command()
def plan(
    names: Names = None, scale: ScaleOption = Scale.desk, out: Out = None, jobs: Jobs = 2
) -> None:
    """Cells, those that are done, and the time that the rest is expected to take."""
    _show(Plan(needs(_known(names), scale, None), scale, _folder(out, scale)), jobs)


@app.command()
def run(
    names: Names = None, scale: ScaleOption = Scale.desk, data: Data = None, out: Out = None,
    jobs: Jobs = 2, minutes: Minutes = None,
) -> None:  # fmt: skip
    """Run what is left of the experiments, then write their report."""
    folder = _folder(out, scale)
    if minutes is not None and not 0 <= minutes < float("inf"):
        raise typer.BadParameter(f"{minutes} is no time to end in", param_hint="--minutes")
    make_folder(folder)
    with locked(folder):
        made = Plan(needs(_known(names), scale, data), scale, folder)
        failed = _work(made, scale, data, jobs, minutes)
        if made.done:
            console.print(f"wrote {write(folder, scale)}")
    if made.pending and not failed:
        left = made.time_left(jobs)
        rest = "" if left is None else f", about {duration(left)}"
        console.print(f"{len(made.pending)} cells left{rest}: the same command goes on")
    raise typer.Exit(1 if failed else 0)


@app.command()
def report(scale: ScaleOption = Scale.desk, out: Out = None) -> None:
    """Write the report from the finished cells."""
    folder = _folder(out, scale)
    if not any(ledger.lines for ledger in read(folder, scale).ledgers.values()):
        raise typer.BadParameter(
            f"{folder} has no finished cells of the scale {scale.value}", param_hint="--out"
        )
    console.print(f"wrote {write(folder, scale)}")


@app.command()
def check(
    names: Names = None, scale: ScaleOption = Scale.desk, data: Data = None, out: Out = None,
    jobs: Jobs = 2, cells: Cells = 1, seed: Seed = 0,
) -> None:  # fmt: skip
    """Run some finished cells again, aside, and compare their figures with the ledger's."""
    wanted = needs(_known(names), scale, data)
    known = {study.name: Ledger.of(study, _folder(out, scale)) for study, _ in wanted}
    chosen = sample(wanted, known, cells, seed)
    with tempfile.TemporaryDirectory(prefix="experiments-check-") as aside:
        made = Plan(chosen, scale, Path(aside))
        failed = _work(made, scale, data, jobs, None)
        for study, keys in chosen:
            again = Ledger.of(study, Path(aside))
            for key in (key for key in keys if key in again):
                old, new = known[study.name].line(key)["result"], again.line(key)["result"]
                compared = compare(key, study.name, old, new)
                failed |= bool(compared.different)
                console.print(_in_words(compared), markup=False)
    raise typer.Exit(1 if failed else 0)


def _work(made: Plan, scale: Scale, data: Path | None, jobs: int, minutes: float | None) -> bool:
    """Run a plan's cells and say how it went; whether any of them failed."""
    _show(made, jobs)
    if scale == Scale.desk:
        _require_files(made, data)
    try:
        failures = work(made, jobs=jobs, minutes=minutes, say=console.print)
    except KeyboardInterrupt:
        console.print(
            f"stopped: {made.done} of {made.total} cells are finished, and kept in {made.folder}; "
            "the same command goes on",
            markup=False,
        )
        raise typer.Exit(130) from None
    alike: dict[tuple[str, str], list[Failure]] = defaultdict(list)
    for failure in failures:
        alike[failure.cell.study.name, failure.cause].append(failure)
    for (study, _), found in alike.items():
        cells = ", ".join(name(failure.cell.key) for failure in found)
        console.print(f"\nFAILED: {study} {cells}\n{found[0].error}", markup=False)
    if failures:
        console.print(f"what was said before: {made.folder / LOG}", markup=False)
    return bool(failures)


def _show(made: Plan, jobs: int) -> None:
    console.print(made.table(jobs))
    for line in made.broken:
        console.print(f"{line}: cannot be read, and does not count", markup=False)


def _require_files(made: Plan, data: Path | None) -> None:
    """What the cells that are left read is there."""
    if data is None and (without := made.studies_with("data")):
        raise typer.BadParameter(
            f"{', '.join(without)} read local files here; experiments/README.md says which",
            param_hint="--data",
        )
    left = [(cell.study, cell.key) for cell in made.pending]
    if data is not None and (gone := missing(left, data)):
        raise typer.BadParameter(
            f"there is no {', no '.join(map(str, gone))}; experiments/README.md says what is read",
            param_hint="--data",
        )


def _in_words(compared: Comparison) -> str:
    if compared.worst is None:
        return f"{compared.cell}: all {compared.figures} figures are the same"
    path, size = compared.worst
    return (
        f"{compared.cell}: {len(compared.different)} of {compared.figures} figures differ, most by "
        f"{size:.1g} of the larger: {path}"
    )


def _folder(out: Path | None, scale: Scale) -> Path:
    return COMMITTED / scale if out is None else out


def _known(names: list[str] | None) -> list[str]:
    for asked in names or []:
        if asked not in EXPERIMENTS:
            raise typer.BadParameter(f"{asked}: not one of {', '.join(EXPERIMENTS)}")
    return names or list(EXPERIMENTS)


def main() -> None:
    try:
        app()
    except DatainfError as error:
        console.print(str(error), markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
