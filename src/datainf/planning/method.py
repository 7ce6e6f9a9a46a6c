"""What scores a run's settings ask for, and by which other settings they would fit."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from datainf import words
from datainf.attribution import DEFAULT_METHOD
from datainf.config import RunConfig
from datainf.errors import OptionError
from datainf.estimators import from_name
from datainf.gradients.curvature import MOST, default_rows
from datainf.memory import for_each
from datainf.planning.compression import Compression
from datainf.planning.costs import Scoring
from datainf.planning.disk import KEEP
from datainf.planning.plan import Problem, ScoringPlan
from datainf.store import Index
from datainf.views import Options, grouped

CPU = torch.device("cpu")
"""Where scores are computed."""
SMALLER: tuple[dict[str, Any], ...] = (
    {"blocks": "tensor"},
    {"curvature_rows": MOST},
    {"method": "cg", "steps": None},
    {"project": 16},
    {"keep": KEEP},
)
"""Settings by which scoring takes less memory: a smaller matrix or none, or not all scores; in the
order in which they are named. Of each the first is the option, and others go with it."""


@dataclass(frozen=True)
class Sizes:
    """n, m and c; the index of the training store as it is asked for; whether targets can be drawn
    for a curvature."""

    examples: int
    queries: int
    checkpoints: int
    index: Index
    can_draw: bool


def scoring_of(config: RunConfig, sizes: Sizes) -> Scoring:
    """By a run's settings, whose method is known."""
    estimator = from_name(config.method or DEFAULT_METHOD, steps=config.steps)
    options = Options.of(estimator, config.normalize, config.metric, config.blocks)
    drawn = config.takes_curvature(estimator.name)
    rows = config.curvature_rows or default_rows(sizes.examples) if drawn else sizes.examples
    groups = grouped(sizes.index.blocks, options.blocks).values()
    return Scoring(
        method=estimator.name,
        n=sizes.examples,
        N=rows,
        m=sizes.queries,
        widths=tuple(sum(tensor.columns for tensor in group) for group in groups),
        steps=getattr(estimator, "steps", 0),
        drawn=drawn,
        keep=None if config.keep is None else min(config.keep, sizes.examples),
        checkpoints=sizes.checkpoints,
        passes=(options.metric != "none") + (options.metric in ("fisher", "auto")),
        cores=torch.get_num_threads(),
    )


def told(config: RunConfig, scoring: Scoring, in_use: int, available: int) -> ScoringPlan:
    estimator = from_name(scoring.method)
    options = Options.of(estimator, config.normalize, config.metric, config.blocks)
    return ScoringPlan(
        method=scoring.method,
        blocks=options.blocks,
        curvature_rows=scoring.N if scoring.drawn else None,
        in_use=in_use,
        workers=scoring.workers,
        matrix=scoring.matrix_bytes(scoring.largest),
        rows=scoring.rows_bytes(scoring.largest),
        solve=scoring.solve_bytes(scoring.largest),
        scores=scoring.scores_bytes,
        peak=in_use + scoring.peak_bytes,
        available=available,
    )


def problem_of(
    config: RunConfig, sizes: Sizes, available: int, bound: Collection[str] = ()
) -> Problem | None:
    """Why the scores that are asked for do not fit in memory; None if they do. `bound`: settings
    that other stores would be made by than those that stand in the folder."""
    scoring = scoring_of(config, sizes)
    if scoring.peak_bytes <= available:
        return None
    remedies = [*_fitting(config, sizes, available, bound)]
    counts = range(1, scoring.m + 1)
    if most := bisect(counts, available, key=lambda m: replace(scoring, m=m).peak_bytes):
        remedies.append(_option("query_limit", most, bound))
    return Problem(
        f"{_what(scoring, available)}; {words.size(available)} of memory are left{for_each(CPU)}",
        " or ".join(remedies) or "a machine with more memory",
    )


def _what(scoring: Scoring, available: int) -> str:
    block, whole = scoring.largest, words.size(scoring.peak_bytes)
    if scoring.scores_bytes > available:
        return (
            f"the scores of {words.count(scoring.m, 'query', 'queries')} and "
            f"{words.count(scoring.n, 'training example')} take {words.size(scoring.scores_bytes)}"
        )
    if scoring.matrix_bytes(block) > scoring.solve_bytes(block):
        return (
            f"{scoring.method} makes a matrix of {block.s:,} × {block.s:,}, which takes "
            f"{words.size(scoring.matrix_bytes(block))} of {whole} in all"
        )
    return f"scoring by {scoring.method} takes {whole}"


def _option(name: str, value: Any, bound: Collection[str]) -> str:
    elsewhere = " in another --out" if name in bound else ""
    return f"--{name.replace('_', '-')} {value}{elsewhere}"


def _fitting(
    config: RunConfig, sizes: Sizes, available: int, bound: Collection[str]
) -> Iterator[str]:
    """The settings of `SMALLER` that would fit, as options."""
    for changed in SMALLER:
        name, value = next(iter(changed.items()))
        if name == "curvature_rows" and not sizes.can_draw:
            continue
        try:
            other = replace(config, **changed)
        except OptionError:  # the rest of the settings does not go with it
            continue
        index = sizes.index
        if name == "project":
            index = Compression(index.dtype, value).index(index)
        if scoring_of(other, replace(sizes, index=index)).peak_bytes <= available:
            yield _option(name, value, bound)
