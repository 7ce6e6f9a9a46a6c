"""datainf score: two stores in, scores out; no model and no backward pass."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datainf.attribute import sweep
from datainf.cli import options as o
from datainf.cli.console import progress, say
from datainf.errors import OptionError
from datainf.runs import write_scores
from datainf.store import GradientStore


def score(
    train: Annotated[
        list[Path],
        typer.Option(
            help="Training store; of several checkpoints, once for each.", show_default=False
        ),
    ],
    query: Annotated[
        list[Path],
        typer.Option(help="Query store, as often as --train.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for scores.safetensors and scores.parquet; with several --damping, one "
            "folder each below it.",
            show_default=False,
        ),
    ],
    curvature: Annotated[
        list[Path] | None,
        typer.Option(
            help="Store whose rows stand for the curvature, as often as --train; RUN/curvature "
            "of a run. (default: the training store; gauss-newton needs one)",
        ),
    ] = None,
    method: o.Method = None,
    steps: o.Steps = None,
    damping: Annotated[
        list[str] | None,
        typer.Option(
            help="As for attribute; give it several times to score by each (exact then factors "
            "once). (default: the method's own)",
            rich_help_panel=o.METHOD_PANEL,
        ),
    ] = None,
    normalize: o.NormalizeOption = None,
    metric: o.MetricOption = None,
    blocks: o.BlocksOption = None,
    weight: Annotated[
        list[float] | None,
        typer.Option(
            help="What a checkpoint counts, once for each: the sum of the learning rates of the "
            "steps that it stands for. (default: all the same)",
            rich_help_panel=o.METHOD_PANEL,
        ),
    ] = None,
) -> None:
    """Score a training store against a query store: new methods and dampings at no new gradients.

    The stores in a run's folder, RUN/train and RUN/query, can be used here too.
    """
    dampings: list[str | None] = [*damping] if damping else [None]
    if len(set(dampings)) < len(dampings):
        raise OptionError("the same --damping was given twice")
    with progress() as bars:
        found = sweep(
            [GradientStore.open(path) for path in train],
            [GradientStore.open(path) for path in query],
            method,
            curvature=[GradientStore.open(path) for path in curvature or ()] or None,
            steps=steps,
            dampings=dampings,
            weights=weight or None,
            progress=bars,
            **o.given({"normalize": normalize, "metric": metric, "blocks": blocks}),
        )
    for name, scores in zip(dampings, found, strict=True):
        folder = out if len(dampings) == 1 else out / f"damping-{str(name).replace(':', '-')}"
        write_scores(scores, folder)
        say(f"{folder}: {scores}")
        for warning in _unconverged(scores.diagnostics):
            say(warning)


def _unconverged(diagnostics: object) -> list[str]:
    told = diagnostics if isinstance(diagnostics, dict) else {}
    residuals = {
        name: trace["residual"]
        for one in told.get("checkpoints", [told])
        for name, trace in one.get("blocks", {}).items()
        if trace["residual"] is not None
    }
    if not residuals:
        return []
    worst = max(residuals, key=lambda name: residuals[name])
    return [f"largest relative residual of a block: {residuals[worst]:.2g} ({worst})"]
