"""datainf evaluate: do a run's scores foretell what training again does?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from datainf import words
from datainf.cli.console import console, progress, say
from datainf.errors import OptionError

if TYPE_CHECKING:
    from datainf.evaluation import Evaluation

FEW = 20
"""Parts below which a warning is given."""
METHODS_ARE = (
    "'this run' if its options are others, gauss-newton, ridge, datainf, 'datainf, unit', exact, "
    "'exact, model', gradient, cosine, 'representation similarity', 'own loss', 'gradient norm', "
    "chance"
)


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.", show_default=False)],
    train_command: Annotated[
        str | None,
        typer.Option(
            help="Your training as a command with {data}, {seed} and {out} in it: it trains on the "
            "rows in {data}, written as the run's training data were, and leaves the adapter in "
            "{out}. No shell is used.",
        ),
    ] = None,
    train_function: Annotated[
        str | None,
        typer.Option(
            help="The same as a Python function, train.py:train, called as train(data, seed, out)."
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Which to compare; give it several times. (default all: {METHODS_ARE}; 'unit' "
            "scales gradients to norm 1, 'model' is one block for the whole model, cosine is "
            "gradient with both at norm 1)"
        ),
    ] = None,
    parts: Annotated[int, typer.Option(help="Random parts to train on.")] = 50,
    seeds: Annotated[int, typer.Option(help="Trainings on each, with seeds 1, 2, …")] = 2,
    share: Annotated[float, typer.Option(help="Share of the rows that a part has.")] = 0.5,
    drop: Annotated[
        float,
        typer.Option(
            help="Share of the rows that removal tests leave out: each method's most helpful, and "
            "its most harmful. 0 for none."
        ),
    ] = 0.1,
    jobs: Annotated[int, typer.Option(help="Trainings side by side.")] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Where trainings and figures go. (default RUN/evaluate)")
    ] = None,
) -> None:
    """Train again on parts of the data, and see which scores foretold what came of the queries.

    Prints for each method its linear datamodeling score (LDS) with a 95 % interval: by its own
    damping, and by the one that held-out queries would choose; the ceiling that the noise from
    seed to seed leaves; and what became of the queries without each method's top rows. Killed, the
    same command goes on with the training that it was at.
    """
    from datainf.evaluation import Budget, Command, Function
    from datainf.evaluation import evaluate as evaluate_run
    from datainf.evaluation.run_evaluation import BASELINES, FOLDER, RESULT, THIS_RUN
    from datainf.evaluation.training_again import Training
    from datainf.evaluation.ways import WAYS
    from datainf.provenance import recorder

    if (train_command is None) == (train_function is None):
        raise OptionError(
            "how to train was given twice" if train_command else "how to train was not given",
            remedy='--train-command "python train.py --train {data} --seed {seed} --out {out}", '
            "or --train-function train.py:train",
        )
    training: Training = (
        Command(train_command) if train_command is not None else Function(str(train_function))
    )
    budget = Budget(parts, seeds, share, drop, jobs)
    most = budget.trainings(len(method or (THIS_RUN, *WAYS, *BASELINES)))
    on_parts = parts * seeds
    removals = f", and at most {most - on_parts} to leave rows out" if drop else ""
    say(f"{words.count(on_parts, 'training')} on random parts{removals}")
    if parts < FEW:
        say(f"fewer than {FEW} parts are too few for a figure to rely on; fifty are many")
    note = recorder(out or run / FOLDER)
    with progress() as bars:
        found = evaluate_run(
            run, training, methods=method or (), budget=budget, out=out, progress=bars, say=say
        )
    note([(out or run / FOLDER) / RESULT])
    shown = console()
    _print_lds(shown, found)
    if found.removal:
        _print_removal(shown, found)
    say(f"trainings and figures are in {out or run / 'evaluate'}")


def _print_lds(shown: Console, found: Evaluation) -> None:
    table = Table(
        title=f"LDS on {found.reported} queries (95 % interval); dampings chosen on the other "
        f"{found.queries - found.reported}",
        title_justify="left",
    )
    table.add_column("method", no_wrap=True)
    table.add_column("own damping", justify="right", no_wrap=True)
    table.add_column("best damping", justify="right", no_wrap=True)
    table.add_column("which", no_wrap=True)
    ordered = sorted(found.judged.items(), key=lambda item: -item[1].own.mean)
    for name, judged in ordered:
        best = "" if judged.best is None else str(judged.best)
        table.add_row(escape(name), str(judged.own), best, judged.damping or "")
    shown.print(table)
    shown.print("own: the damping that a method takes by itself; all are summed over checkpoints")
    if found.ceiling is not None:
        shown.print(
            f"ceiling {found.ceiling.bound:.3f}: the losses of one seed and another rank the parts "
            f"with a correlation of {found.ceiling.seed_to_seed:.3f}"
        )
    else:
        shown.print("one seed: no ceiling; the noise of training is in every figure")


def _print_removal(shown: Console, found: Evaluation) -> None:
    table = Table(
        title=f"change of the queries' mean loss without {found.dropped} rows (95 % interval): a "
        "good method's most helpful rows raise it, its most harmful lower it",
        title_justify="left",
    )
    table.add_column("named by", no_wrap=True)
    table.add_column("most helpful", justify="right", no_wrap=True)
    table.add_column("most harmful", justify="right", no_wrap=True)
    for name, removal in found.removal.items():
        table.add_row(escape(name), str(removal.helpful), str(removal.harmful))
    shown.print(table)
