"""datainf collect: gradients only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datainf.cli import options as o
from datainf.cli.console import is_leader, progress, say
from datainf.errors import OptionError

if TYPE_CHECKING:
    from datainf.config import RunConfig
    from datainf.data import Examples


@o.with_shared_options
def collect(
    data: Annotated[str, typer.Option(help=f"Data: {o.DATA}.", show_default=False)],
    out: Annotated[
        str,
        typer.Option(
            help="Folder of the store, or its URL, s3://bucket/folder; of a run over checkpoints, "
            "of one for each.",
            show_default=False,
        ),
    ],
    run: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of a run: its settings are taken, and its weights, at every checkpoint."
        ),
    ] = None,
    model: o.Model = None,
    adapter: o.Adapter = None,
    task: o.TaskOption = None,
    trainable: o.Trainable = None,
    device: o.Device = None,
    dtype: o.Dtype = None,
    batch_tokens: o.BatchTokens = None,
    store: o.Store = None,
    project: o.Project = None,
    shard_rows: o.ShardRows = None,
    on_nonfinite: o.OnNonfinite = None,
    seed: o.Seed = None,
    split: Annotated[
        str | None, typer.Option(help="Split of --data.", rich_help_panel=o.DATA_PANEL)
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Take the first rows only.", rich_help_panel=o.DATA_PANEL),
    ] = None,
    curvature_rows: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Collect instead so many gradients of targets that the model draws for the "
            "data: for --curvature of `datainf score`.",
        ),
    ] = None,
    append: Annotated[
        bool,
        typer.Option(
            "--append",
            help="Add the examples to the store that is there, whose shards stay as they are. "
            "--data is what the store was made of, with more at its end, or data of its own. "
            "Examples that are there already are refused by their ids; without ids only data that "
            "come again as a whole are known.",
        ),
    ] = False,
    *,
    shared: dict[str, Any],
) -> None:
    """Collect the per-example gradients of a data set into a store, for `datainf score`.

    Killed, the same command goes on from its last finished shard; what was done of the next, of
    up to 1,024 examples, is lost. --shard-rows makes shards smaller.
    """
    own = {name: value for name, value in locals().items() if name not in ("shared", "run")}
    from datainf.config import RunConfig
    from datainf.data import load
    from datainf.models import candidates
    from datainf.provenance import recorder
    from datainf.remote import place
    from datainf.run_checkpoints import at_each
    from datainf.run_gradients import once, prepare_drawn, prepare_stores
    from datainf.run_plan import Planner
    from datainf.store.index import INDEX

    values = o.given(own) | shared
    append = values.pop("append", False)
    if append and curvature_rows is not None:
        raise OptionError(
            "gradients of drawn targets are of all data at once: none are added to them",
            remedy="--curvature-rows without --append, in a new folder",
        )
    source, rows, part = values.pop("data"), values.pop("limit", None), values.pop("split", None)
    values |= {"train": source, "query": source}
    if run is not None and (model or adapter):
        raise OptionError(f"--model and --adapter are those of the run {run}", remedy="neither")
    settings, named_by = (
        (RunConfig.from_values(values, "collect"), None) if run is None else _of_run(run, values)
    )
    tell, forecast = once(say), None
    places = at_each(settings, place(out), tell)
    folders, last = [folder for _, folder, _ in places], places[-1][0]
    examples = load(
        source,
        settings.task,
        model=None if settings.task else candidates(last.model, last.adapter),
        columns=settings.columns,
        split=part,
        limit=rows,
    )
    others, metric = [trained for _, _, trained in places], settings.metric
    with progress() as bars:
        told = {"named_by": named_by, "progress": bars, "say": tell}
        for config, folder, trained in places:
            config = replace(config, metric=metric)
            more: Any = {"trained": trained, "others": others} | told
            if curvature_rows is None:
                prepared = prepare_stores(config, {folder: examples}, append=append, **more)
            else:
                prepared = prepare_drawn(config, examples, folder, **more)
            if forecast is None:
                how: Any = {"scored": False, "alike": run is not None}
                forecast = Planner(config, prepared, folders, **how).begin(tell)
            metric = prepared.metric
            note = recorder(folder, seed=settings.seed)
            prepared.collect(bars, tell, forecast)
            if is_leader():
                note([folder / INDEX])
            del prepared  # and the model with it, before the next is loaded


def _of_run(run: Path, values: dict[str, Any]) -> tuple[RunConfig, Examples | None]:
    """A run's settings for other data, without its method; and its training data, where their
    folders name the classes."""
    from datainf.data import load
    from datainf.run_stores import RunStores, read_run

    own, index = read_run(run), RunStores.open(run).train[-1].index
    task, projection = index.task["name"], index.projection
    metric = own.metric if projection is None else projection["metric"]
    settings = replace(
        own, **{"method": None, "steps": None, "task": task, "metric": metric, **values}
    )
    if task != "image-classification" or own.labels or not Path(own.train).is_dir():
        return settings, None
    return settings, load(
        own.train, task, columns=own.columns, split=own.train_split, limit=own.train_limit
    )
