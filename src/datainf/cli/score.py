"""datainf score: stores in, scores out; no model and no backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datainf import words
from datainf.cli import options as o
from datainf.cli.console import console, progress, say
from datainf.errors import OptionError
from datainf.remote import forbid_url

if TYPE_CHECKING:
    from datainf.scores import AnyScores


def score(
    run: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of a run, whose stores are scored anew, checkpoints as they counted there."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Required, except with --check, which writes nothing without it: folder for "
            "scores.safetensors and scores.parquet; with several --damping, one each below it.",
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Of stores made smaller by --store or --project: score the examples that they "
            "keep in full both ways, and say how far the ranks agree. The exit status is 0 whether "
            "they do or not.",
        ),
    ] = False,
    train: Annotated[
        list[str] | None,
        typer.Option(
            help="Without a run: the training store, a folder or a URL; several of the same "
            "weights are as one, and of several checkpoints each is given."
        ),
    ] = None,
    query: Annotated[
        list[str] | None,
        typer.Option(
            help="Query store, as often as there are checkpoints; or a folder with one for each, "
            "as `datainf collect RUN` leaves it. (default: the run's)"
        ),
    ] = None,
    curvature: Annotated[
        list[str] | None,
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
            help="As for attribute; give it several times to score by each. What does not depend "
            "on it is then done once for all; with --keep it is done anew for each. (default: the "
            "method's own)",
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
    if len(set(damping or ())) < len(damping or ()):
        raise OptionError("the same --damping was given twice")
    if out is not None:
        forbid_url(out, "what is written of scores")
    options = o.given({"normalize": normalize, "metric": metric, "blocks": blocks, "steps": steps})
    asked, kept = _asked(run, train, query, curvature, weight, method, damping, options)
    if out is None and not check:
        raise _nowhere(run, method)
    if check:
        _check(asked)
    if out is not None:
        ends = kept if keep is None else keep
        _write(out, asked, ends, elsewhere=run is not None and bool(query))
        if not check and _has_smaller(asked):
            say(f"{o.SMALLER}: the same command with --check says whether the scores survive it")


def _nowhere(run: Path | None, method: str | None) -> OptionError:
    folder = (run or Path()) / (method or "scores")
    return OptionError(
        "nowhere to write the scores was named",
        remedy=f"--out {folder}; only --check does without",
    )


def _asked(
    run: Path | None, train: list[str] | None, query: list[str] | None,
    curvature: list[str] | None, weights: list[float] | None, method: str | None,
    dampings: list[str] | None, options: dict[str, Any],
) -> tuple[dict[str, Any], int | None]:  # fmt: skip
    """The arguments of `datainf.sweep`, and how many ends of every query's order the run keeps."""
    from datainf.remote import place
    from datainf.run_stores import RunStores, opened

    trains, queries, drawn = (
        [store for path in paths or () for store in opened(place(path))]
        for paths in (train, query, curvature)
    )
    rate_sum, kept = None, None
    if run is not None:
        if trains or weights:
            raise OptionError(f"--train and --weight are those of the run {run}", remedy="neither")
        stores = RunStores.open(run)
        trains, queries = stores.train, queries or stores.query
        drawn = drawn or stores.curvature_for(method)
        weights, rate_sum = stores.weights, stores.rate_sum
        kept = stores.config.keep
        if method is None:
            method, options = stores.config.method, stores.config.method_options | options
    if not trains or not queries:
        raise OptionError("nothing to score was named", remedy="give a RUN, or --train and --query")
    own = options.pop("damping", None)
    asked = {
        "train": trains, "query": queries, "method": method, "curvature": drawn or None,
        "weights": weights or None, "rate_sum": rate_sum, "dampings": dampings or [own], **options,
    }  # fmt: skip
    return asked, kept


def _has_smaller(asked: dict[str, Any]) -> bool:
    stores = [*asked["train"], *asked["query"], *(asked["curvature"] or [])]
    return any(store.index.is_smaller for store in stores)


def _check(asked: dict[str, Any]) -> None:
    """Print what smaller rows cost the method."""
    from datainf.cli.compression import print_checks
    from datainf.evaluation import check_compression

    if not _has_smaller(asked):
        say("the stores hold full gradients: there is nothing to check")
        return
    with progress() as bars:
        found = check_compression(**asked, progress=bars)
    print_checks(console(), found)


def _write(out: Path, asked: dict[str, Any], keep: int | None, *, elsewhere: bool) -> None:
    """Score, and leave the files of each damping, of all scores or of the ends to keep; of queries
    from elsewhere than the run, their store is noted."""
    from datainf.provenance import recorder
    from datainf.ranks import ranks
    from datainf.run_folder import SCORES
    from datainf.run_stores import ASKED
    from datainf.runs import replace_scores, told

    note = recorder(out)
    found = _scored(asked, keep)
    if elsewhere:  # so that `top` finds their texts
        noted = {ASKED: str(asked["query"][-1].path.absolute())}
        found = [replace(s, diagnostics={**s.diagnostics, **noted}) for s in found]
    dampings = asked["dampings"]
    for name, scores in zip(dampings, found, strict=True):
        folder = out if len(dampings) == 1 else out / f"damping-{str(name).replace(':', '-')}"
        ranks().of_first(partial(replace_scores, scores, folder, say))
        queries = words.count(len(scores.query_ids), "query", "queries")
        if ranks().is_first:
            note([folder / SCORES, folder / "scores.parquet"])
        say(f"{folder}: {queries}, {words.count(len(scores.train_ids), 'training example')}")
        say(told(scores))
        for warning in _unconverged(scores.diagnostics):
            say(warning)


def _scored(asked: dict[str, Any], keep: int | None) -> Sequence[AnyScores]:
    from datainf.attribution import attribute_top, sweep

    with progress() as bars:
        if keep is None:
            return sweep(**asked, progress=bars)
        options = {name: value for name, value in asked.items() if name != "dampings"}
        return [
            attribute_top(k=keep, damping=damping, progress=bars, **options)
            for damping in asked["dampings"]
        ]


def _unconverged(diagnostics: object) -> list[str]:
    told = diagnostics if isinstance(diagnostics, dict) else {}
    residuals: dict[str, float] = {}
    for one in told.get("checkpoints", [told]):
        for name, trace in one.get("blocks", {}).items():
            if trace["residual"] is not None:
                residuals[name] = max(trace["residual"], residuals.get(name, 0.0))
    if not residuals:
        return []
    worst = max(residuals, key=lambda name: residuals[name])
    return [f"largest relative residual of a block: {residuals[worst]:.2g} ({worst})"]
