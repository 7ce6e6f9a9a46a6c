"""datainf plan: what a run would take, before it is done."""

from __future__ import annotations

import json as to_json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from datainf import words
from datainf.cli import options as o
from datainf.cli.attribute import attribute, settings_of
from datainf.cli.console import console, progress, say

if TYPE_CHECKING:
    from datainf.planning.plan import Plan


@o.with_options_of(attribute, without="report")
def plan(
    out: Annotated[
        str | None,
        typer.Option(
            help="Folder that the run would have. Its disk is looked at, by default this folder's, "
            "and what is finished there counts as done."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    *,
    settings: dict[str, Any],
) -> None:
    """What will `datainf attribute` with these options take of disk, memory and time?

    Put plan in the place of attribute: it reads the data, loads the model, takes a few batches, and
    writes nothing. A run that there is no room for is refused, and the option named that would make
    it fit; attribute and collect refuse it in the same words. The page comes on top of it: up to
    300 training examples are read again for their tokens, and the file has up to 20 MB.
    """
    from datainf.run_plan import plan_run

    named = out is not None or "config" in settings
    config = settings_of({**o.given({"out": out}), **settings}, "plan", out=".")
    with progress() as bars:
        found = plan_run(config, begun=named, progress=bars, say=say)
    if json:
        typer.echo(to_json.dumps(found.to_json()))
    else:
        _print(found)
    for problem in found.problems[1:]:  # the first is the error
        say(f"{problem.what}; try: {problem.remedy}")
    found.require_fit()


def _print(plan: Plan) -> None:
    shown = console()
    times = f", at {plan.checkpoints} checkpoints" if plan.checkpoints > 1 else ""
    shown.print(
        f"{words.count(plan.parameters, 'parameter')} in {words.count(plan.tensors, 'tensor')}, "
        f"{words.size(plan.row_bytes)} a gradient{times}"
    )
    for table in (_stores(plan), _forms(plan), _takes(plan)):
        shown.print(table)
    if plan.fits:
        shown.print("It fits.")


def _stores(plan: Plan) -> Table:
    table = Table(title="gradients", title_justify="left")
    table.add_column("of", no_wrap=True)
    for name in ("examples", "done", "tokens", "longest", "rows a shard", "to write"):
        table.add_column(name, justify="right", no_wrap=True)
    for store in plan.stores:
        numbers = (store.examples, store.done, store.tokens, store.longest, store.shard_rows)
        cells = [f"{number:,}" for number in numbers]
        table.add_row(escape(store.name), *cells, words.size(store.missing_bytes))
    return table


def _forms(plan: Plan) -> Table:
    table = Table(title="all gradients, by how they are stored", title_justify="left")
    table.add_column("option", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("examples in full beside", justify="right", no_wrap=True)
    for form in plan.forms:
        asked = " (as asked)" if form.asked else ""
        table.add_row(f"{form.options}{asked}", words.size(form.bytes), f"{form.in_full:,}")
    return table


def _takes(plan: Plan) -> Table:
    table = Table(title="what it takes", title_justify="left")
    table.add_column("of", no_wrap=True)
    for name in ("takes", "there is"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("made up of", overflow="fold")
    for row in (*_space(plan), *_times(plan)):
        table.add_row(*map(escape, row))
    return table


Row = tuple[str, str, str, str]


def _space(plan: Plan) -> Iterator[Row]:
    disk, taken, scored = plan.disk, plan.collecting, plan.scoring
    yield (
        f"disk of {disk.folder}",
        words.size(disk.needed),
        words.size(disk.free),
        _sizes(gradients=disk.stores, scores=disk.scores),
    )
    if taken is not None:
        yield (
            f"memory for gradients, {taken.device}",
            words.size(taken.peak),
            words.size(taken.in_use + taken.available),
            f"{_sizes(in_use=taken.in_use)} (weights {words.size(taken.weights)}), "
            f"{_sizes(libraries=taken.libraries)}, and twice what the largest batch keeps: "
            f"{_sizes(activations=taken.activations, gradients=taken.gradients)}",
        )
    if scored is not None:
        yield (
            "memory for scores, cpu",
            words.size(scored.peak),
            words.size(scored.in_use + scored.available),
            _sizes(
                in_use=scored.in_use,
                matrix=scored.matrix,
                rows=scored.rows,
                solving=scored.solve,
                scores=scored.scores,
            )
            + (f"; {scored.workers} blocks at one time" if scored.workers > 1 else ""),
        )


def _times(plan: Plan) -> Iterator[Row]:
    taken, time, scored = plan.collecting, plan.collecting_time, plan.scoring
    if taken is not None and time is not None:
        rate = words.size(plan.disk.stores / max(time.seconds, 0.1))
        yield (
            "time for gradients",
            str(time),
            "",
            f"{words.count(taken.batches, 'batch', 'batches')} of up to {taken.batch_tokens:,} "
            f"tokens, {time.batches} of them measured; {rate} a second for the disk to write",
        )
    if scored is not None and plan.scoring_seconds is not None:
        yield (
            "time for scores",
            words.duration(plan.scoring_seconds),
            "",
            f"{scored.method}, blocks {scored.blocks}; gradients read from memory",
        )


def _sizes(**parts: int) -> str:
    """Those that are more than nothing."""
    told = {name.replace("_", " "): size for name, size in parts.items() if size}
    return ", ".join(f"{name} {words.size(size)}" for name, size in told.items())
