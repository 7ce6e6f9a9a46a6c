"""datainf collect: gradients only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from datainf.cli import options as o
from datainf.cli.console import progress, say
from datainf.config import RunConfig
from datainf.data import load
from datainf.models import candidates
from datainf.runs import collect_drawn, collect_stores, load_model_and_task


@o.with_shared_options
def collect(
    data: Annotated[str, typer.Option(help=f"Data: {o.DATA}.", show_default=False)],
    out: Annotated[str, typer.Option(help="Folder of the store.", show_default=False)],
    model: o.Model = None,
    adapter: o.Adapter = None,
    task: o.TaskOption = None,
    trainable: o.Trainable = None,
    device: o.Device = None,
    dtype: o.Dtype = None,
    batch_tokens: o.BatchTokens = None,
    seed: o.Seed = None,
    split: Annotated[
        str | None, typer.Option(help="Split of --data.", rich_help_panel=o.DATA_PANEL)
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Take the first rows only.", rich_help_panel=o.DATA_PANEL)
    ] = None,
    curvature_rows: Annotated[
        int | None,
        typer.Option(
            help="Collect instead so many gradients of targets that the model draws for the "
            "data: for --curvature of `datainf score`.",
        ),
    ] = None,
    *,
    shared: dict[str, Any],
) -> None:
    """Collect the per-example gradients of a data set into a store, for `datainf score`.

    Killed, the same command goes on from its last finished shard.
    """
    own = {name: value for name, value in locals().items() if name != "shared"}
    values = o.given(own) | shared
    source, rows, part = values.pop("data"), values.pop("limit", None), values.pop("split", None)
    settings = RunConfig.from_values({**values, "train": source, "query": source}, "collect")
    examples = load(
        source,
        settings.task,
        model=None if settings.task else candidates(settings.model, settings.adapter),
        columns=settings.columns,
        split=part,
        limit=rows,
    )
    with progress() as bars:
        if settings.curvature_rows is None:
            collect_stores(settings, {Path(out): examples}, progress=bars, say=say)
            return
        found, named = load_model_and_task(settings, examples, say)
        collect_drawn(settings, found, named, examples, Path(out), bars, say)
