"""datainf demo: the main job on an embedded default."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from datainf.cli import options as o
from datainf.cli.console import console, progress, say
from datainf.errors import OptionError

if TYPE_CHECKING:
    import numpy as np

    from datainf.demos.demo import DemoResult


def demo(
    what: Annotated[
        Literal["text", "labels", "images"],
        typer.Argument(
            help="text: what taught a language model each of ten transformations; labels: which of "
            "some handwritten digits have wrong labels; images: which emoji taught a text-to-image "
            "model what it draws."
        ),
    ] = "text",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to work in. (default: datainf-demo, and -labels or -images)"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Of text: a causal LM, folder or hub id, in place of the tiny one."),
    ] = None,
    hard: Annotated[
        bool,
        typer.Option("--hard", help="Of text: leave the transformation's name out of the prompts."),
    ] = False,
    seed: o.Seed = None,
) -> None:
    """Train a tiny model on made-up work, and ask which examples taught it what.

    Needs no network, and ends in a page to look at. Of text: 900 training and 100 test examples;
    for each test example a good method ranks the 90 training examples of the same transformation
    first. Of labels: 697 digits, a tenth of them with a wrong label, which are to be found. Of
    images: 36 emoji of three kinds, and which of them taught the model to draw twelve others.
    """
    if what != "text" and (model is not None or hard):
        raise OptionError("--model and --hard are of the text demo", remedy="neither")
    if what == "labels":
        _labels(out or Path("datainf-demo-labels"), seed or 0)
        return
    if what == "images":
        _images(out or Path("datainf-demo-images"), seed or 0)
        return
    _text(out or Path("datainf-demo"), model, hard, seed or 0)


def _text(out: Path, model: str | None, hard: bool, seed: int) -> None:
    from datainf.cli.tables import print_query
    from datainf.demos.demo import run_demo

    say(
        "1. write 900 training and 100 test examples of ten sentence transformations\n"
        "2. fine-tune a small language model on them with LoRA\n"
        "3. collect the gradient of every example, and score every pair\n"
        "4. see whether the scores find each test example's own transformation"
    )
    with progress() as bars:
        result = run_demo(out, model=model, hard=hard, seed=seed, progress=bars, say=say)
    shown = console()
    shown.print(_table(result))
    shown.print("Some test examples, and the training examples that moved the model most on them:")
    classes = result.query_classes
    for kind in list(dict.fromkeys(classes))[:7:3]:  # the first, the fourth and the seventh
        print_query(shown, result.run, classes.index(kind), 3)
    shown.print(
        f"\nEverything is in {out}. To look at: {result.report}. More: datainf top {out}/run "
        "--query ID",
        markup=False, soft_wrap=True,
    )  # fmt: skip


def _labels(out: Path, seed: int) -> None:
    from datainf.cli.mislabeled import print_suspects
    from datainf.demos.labels import run_labels_demo

    say(
        "1. train a small vision transformer on one half of scikit-learn's digits\n"
        "2. train a LoRA on it with the other half, a tenth of whose labels are wrong\n"
        "3. collect the gradient of every digit, and score it for 200 digits that are right\n"
        "4. rank the digits by suspicion"
    )
    with progress() as bars:
        result = run_labels_demo(out, seed=seed, progress=bars, say=say)
    shown = console()
    print_suspects(shown, result.subject.run, result.suspects, result.said, 15)
    flipped, n = sum(result.flipped), len(result.flipped)
    found = result.found_among(flipped)
    shown.print(
        f"{flipped} of the {n} labels are wrong. Of the {flipped} most suspect digits {found} are "
        f"among them; by chance it would be {flipped * flipped / n:.0f}.\n"
        f"To look at: {result.report}; to decide: {result.review}; then: datainf select {out}/run "
        "--decisions decisions.json --out cleaned",
        markup=False, soft_wrap=True,
    )  # fmt: skip


def _images(out: Path, seed: int) -> None:
    from datainf.demos.images import run_images_demo

    say(
        "1. tune a small text-to-image model on 36 emoji: faces, fruit, vehicles\n"
        "2. collect the gradient of every picture, at five timesteps of the same noise\n"
        "3. score every picture for twelve others of the same kinds\n"
        "4. see whether the scores find each one's own kind"
    )
    with progress() as bars:
        result = run_images_demo(out, seed=seed, progress=bars, say=say)
    shown, found = console(), result.detection
    table = Table(title="the twelve training pictures of a query's own kind", title_justify="left")
    for name in ("query", "kind", "AUC", "among the first 12", "most helpful"):
        table.add_column(name)
    run = result.run
    for row, kind in enumerate(result.query_kinds):
        best = ", ".join(str(one.train_id) for one in run.scores.top(row, 4))
        share = f"{12 * found.recall[row]:.0f}"
        table.add_row(str(run.scores.query_ids[row]), kind, f"{found.auc[row]:.2f}", share, best)
    table.add_row("mean", "", f"{found.auc.mean():.2f}", f"{12 * found.recall.mean():.1f}", "",
                  style="bold")  # fmt: skip
    shown.print(table)
    shown.print(f"By chance 4 of 12. To look at: {result.report}", markup=False, soft_wrap=True)


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
