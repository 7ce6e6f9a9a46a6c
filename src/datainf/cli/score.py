"""datainf score: stores in, scores out; no model and no backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from datainf.cli import options as o
from datainf.cli.console import progress, say
from datainf.errors import OptionError


def score(
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for scores.safetensors and scores.parquet; with several --damping, one "
            "folder each below it.",
            show_default=False,
        ),
    ],
    run: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of a run, whose stores are scored anew, checkpoints as they counted there."
        ),
    ] = None,
    train: Annotated[
        list[Path] | None,
        typer.Option(help="Without a run: the training store; of several checkpoints each."),
    ] = None,
    query: Annotated[
        list[Path] | None,
        typer.Option(
            help="Query store, as often as there are checkpoints; or a folder with one for each, "
            "as `datainf collect RUN` leaves it. (default: the run's)"
        ),
    ] = None,
    curvature: Annotated[
        list[Path] | None,
        typer.Option(
            help="Store whose rows stand for the curvature, as often as there are checkpoints. "
            "(default: the run's for gauss-newton, else the training store)",
        ),
    ] = None,
    method: o.Method = None,
    steps: o.Steps = None,
    damping: Annotated[
        list[str] | None,
        typer.Option(
            help="As for attribute; give it several times to score by each (exact then factors "
            "once, but for --keep). (default: the method's own)",
            rich_help_panel=o.METHOD_PANEL,
        ),
    ] = None,
    normalize: o.NormalizeOption = None,
    metric: o.MetricOption = None,
    blocks: o.BlocksOption = None,
    keep: o.Keep = None,
    weight: Annotated[
        list[float] | None,
        typer.Option(
            help="What a checkpoint counts, once for each: the sum of the learning rates of the "
            "steps that it stands for. (default: all the same)",
            rich_help_panel=o.METHOD_PANEL,
        ),
    ] = None,
) -> None:
    """Score the stores of a run, or any two, with no new gradients.

    A run is scored by its own method and options, or by another method with that one's own.
    """
    from datainf.attribution import attribute_top, sweep
    from datainf.run_stores import ASKED, SCORES, RunStores, opened
    from datainf.runs import say_what_is_replaced, told, write_scores
    from datainf.scores import AnyScores

    if len(set(damping or ())) < len(damping or ()):
        raise OptionError("the same --damping was given twice")
    options = o.given({"normalize": normalize, "metric": metric, "blocks": blocks, "steps": steps})
    trains, queries, drawn = (
        [store for path in paths or () for store in opened(path)]
        for paths in (train, query, curvature)
    )
    weights, rate_sum = weight or None, None
    if run is not None:
        if trains or weights:
            raise OptionError(f"--train and --weight are those of the run {run}", remedy="neither")
        stores = RunStores.open(run)
        trains, queries = stores.train, queries or stores.query
        drawn = drawn or stores.curvature_for(method)
        weights, rate_sum = stores.weights, stores.rate_sum
        keep = keep or stores.config.keep
        if method is None:
            method, options = stores.config.method, stores.config.method_options | options
    own = options.pop("damping", None)
    dampings: list[str | None] = [*damping] if damping else [own]
    if not trains or not queries:
        raise OptionError("nothing to score was named", remedy="a run; or --train and --query")
    options |= {"curvature": drawn or None, "weights": weights, "rate_sum": rate_sum}
    found: Sequence[AnyScores]
    with progress() as bars:
        options["progress"] = bars
        if keep is None:
            found = sweep(trains, queries, method, dampings=dampings, **options)
        else:
            found = [
                attribute_top(trains, queries, method, k=keep, damping=one, **options)
                for one in dampings
            ]
    if run is not None and query:  # so that `top` finds their texts
        asked = {ASKED: str(queries[-1].path.absolute())}
        found = [replace(s, diagnostics={**s.diagnostics, **asked}) for s in found]
    for name, scores in zip(dampings, found, strict=True):
        folder = out if len(dampings) == 1 else out / f"damping-{str(name).replace(':', '-')}"
        say_what_is_replaced(folder / SCORES, scores, say)
        write_scores(scores, folder)
        say(f"{folder}: {scores}")
        say(told(scores))
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
