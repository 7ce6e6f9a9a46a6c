"""The gradients of a run: the model loaded, its task found, a store for each data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from datainf import words
from datainf.attribution import DEFAULT_METHOD, WITHOUT_CURVATURE
from datainf.columns import PARTS
from datainf.config import RunConfig
from datainf.data import Examples, load
from datainf.estimators import from_name
from datainf.gradient_flow import RATE_SUM
from datainf.gradients import PendingStore, prepare, prepare_curvature
from datainf.gradients.collector import Heard
from datainf.models import (
    CONFIG,
    PEFT_CONFIG,
    PIPELINE_INDEX,
    PIPELINE_LORA,
    base_of,
    candidates,
    load_model,
    make_task,
    name_classes,
)
from datainf.pipelines import load_pipeline, pipeline_of
from datainf.progress import Progress
from datainf.projection import Projection
from datainf.repositories import commit_of, pinned
from datainf.run_checkpoints import Place, moments_of
from datainf.run_stores import CURVATURE, QUERY, TRAIN, in_words
from datainf.store import GradientStore
from datainf.tasks import Task
from datainf.tasks.sampled import can_be_sampled
from datainf.views import Metric

Say = Callable[[str], None]


@dataclass(frozen=True)
class Collected:
    """What was taken at one set of weights. `method` is the one that was asked for, or the default
    for the task."""

    task: Task
    stores: list[GradientStore]
    method: str
    curvature: GradientStore | None


@dataclass(frozen=True)
class Prepared:
    """Everything at one set of weights but the gradients: task and method, the stores of the data
    sets, and that of the curvature, if the method takes one. `metric` is the one that was asked
    for; or that in which gradients are projected, where it is found by itself."""

    task: Task
    method: str
    metric: Metric | None
    stores: list[PendingStore]
    curvature: PendingStore | None

    @property
    def pending(self) -> list[PendingStore]:
        """All of them, in the order in which they are collected."""
        return [*self.stores, *([] if self.curvature is None else [self.curvature])]

    def collect(self, progress: Progress, say: Say, heard: Heard = lambda *_: None) -> Collected:
        """Take the gradients; `heard` is told of every batch."""
        stores = []
        for pending in self.stores:
            stores.append(pending.collect(progress, heard))
            say(_collected(stores[-1], pending.collector.task))
        drawn = None
        if self.curvature is not None:
            drawn = self.curvature.collect(progress, heard)
            count = words.count(len(drawn), "gradient")
            say(f"{drawn.path}: {count} of drawn targets, for the curvature")
        return Collected(self.task, stores, self.method, drawn)


def sources_of(config: RunConfig, last: Place) -> tuple[Examples, Examples]:
    """The training data and the queries of a run, read for its last checkpoint."""
    train = load(
        config.train,
        config.task,
        model=None if config.task else candidates(last.config.model, last.config.adapter),
        columns=config.columns,
        split=config.train_split,
        limit=config.train_limit,
        role="training data",
    )
    query = load(
        config.query,
        train.task,
        columns=config.columns,
        split=config.query_split,
        limit=config.query_limit,
        role="query data",
    )
    return train, query


def prepare_run(
    place: Place, places: Sequence[Place], config: RunConfig, train: Examples, query: Examples,
    progress: Progress, say: Say,
) -> Prepared:  # fmt: skip
    """All stores of a run at one of its checkpoints, `places`; method and metric of `config` may
    have been found at another."""
    return prepare_stores(
        replace(place.config, method=config.method, metric=config.metric),
        {place.folder / TRAIN: train, place.folder / QUERY: query},
        curvature=place.folder / CURVATURE,
        rate_sum=place.rate_sum,
        trained=place.trained,
        others=[other.trained for other in places if other is not place],
        progress=progress,
        say=say,
    )


def prepare_stores(
    config: RunConfig,
    sources: dict[Path, Examples],
    *,
    curvature: Path | None = None,
    rate_sum: float | None = None,
    trained: Path | None = None,
    others: Sequence[Path | None] = (),
    named_by: Examples | None = None,
    append: bool = False,
    progress: Progress,
    say: Say,
) -> Prepared:
    """Load the model, and read the data sets through its task, folder → examples; their stores
    note the sum of the training's learning rates, if it is known. The curvature is of the first of
    them, if a folder for it is given and the method takes it. `trained` is the folder with the
    optimizer, `others` those of the other checkpoints whose gradients will stand beside these,
    `named_by` the data whose folders name the classes, if not the first. `append`: the stores are
    there, and are added to."""
    first = next(iter(sources.values()))
    task_name = first.task
    overrules = "" if config.task else "; --task overrules"
    say(f"task: {task_name} ({first.why}){overrules}")
    for examples in sources.values():
        say(_found_columns(examples, config))
    model, task = load_model_and_task(config, named_by or first, say)
    method = config.method or WITHOUT_CURVATURE
    if config.method is None and curvature is not None:
        method = _default_method(task.for_model(model), say)
    config = _in_one_metric(config, method, model, [trained, *others], say)
    moments = moments_of(trained, config, model, say)
    known = {} if rate_sum is None else {RATE_SUM: rate_sum}
    taken = {"commits": commits} if (commits := _commits(config)) else {}
    options = _options(config, method, moments) | {"progress": progress}
    stores = [
        prepare(
            model,
            examples,
            task,
            out=folder,
            notes=_source(examples) | known | taken,
            append=append,
            **options,
        )
        for folder, examples in sources.items()
    ]
    drawn = None
    if curvature is not None and config.takes_curvature(method):
        drawn = _prepare_drawn(config, model, task, first, curvature, options)
    return Prepared(task, method, config.metric, stores, drawn)


def prepare_drawn(
    config: RunConfig,
    examples: Examples,
    out: Path,
    *,
    trained: Path | None = None,
    others: Sequence[Path | None] = (),
    named_by: Examples | None = None,
    progress: Progress,
    say: Say,
) -> Prepared:
    """As `prepare_stores`, of a curvature alone."""
    model, task = load_model_and_task(config, named_by or examples, say)
    config = _in_one_metric(config, DEFAULT_METHOD, model, [trained, *others], say)
    moments = moments_of(trained, config, model, say)
    options = _options(config, DEFAULT_METHOD, moments) | {"progress": progress}
    drawn = _prepare_drawn(config, model, task, examples, out, options)
    return Prepared(task, DEFAULT_METHOD, config.metric, [], drawn)


def _prepare_drawn(
    config: RunConfig, model: nn.Module, task: Task, examples: Examples, out: Path,
    options: dict[str, Any],
) -> PendingStore:  # fmt: skip
    """By the settings of a run, made smaller as its other stores."""
    return prepare_curvature(
        model, examples, task, out=out, rows=config.curvature_rows, seed=config.seed,
        notes=_source(examples), **options,
    )  # fmt: skip


def _options(
    config: RunConfig, method: str, moments: Mapping[str, Tensor] | None
) -> dict[str, Any]:
    """What all stores of a run are collected by."""
    return {
        "trainable": config.trainable,
        "dtype": config.store,
        "project": _projection(config, method),
        "batch_tokens": config.batch_tokens,
        "shard_rows": config.shard_rows,
        "second_moments": moments,
        "on_nonfinite": config.on_nonfinite or "stop",
    }


def _source(examples: Examples) -> dict[str, Any]:
    return {"source": examples.pinned, "source_digest": examples.digest}


def at_commits(config: RunConfig, train: Examples, query: Examples) -> RunConfig:
    """The settings with the commit of whatever came from the hub, so that they replay with the very
    same; the model must have been loaded."""
    taken = {part: pinned(*found) for part, found in _commits(config).items()}
    model, adapter = taken.get("model", config.model), taken.get("adapter", config.adapter)
    return replace(config, train=train.pinned, query=query.pinned, model=model, adapter=adapter)


def _commits(config: RunConfig) -> dict[str, tuple[str, str]]:
    """What of model and adapter came from the hub: its name, and the commit in the cache."""
    base, adapter = config.model, config.adapter
    if base is None and adapter is not None:
        base = _base_of(adapter)
    found = {}
    for part, name, files in (
        ("model", base, (CONFIG, PIPELINE_INDEX)),
        ("adapter", adapter, (PEFT_CONFIG, PIPELINE_LORA)),
    ):
        for file in files if name is not None else ():
            if (commit := commit_of(str(name), file)) is not None:
                found[part] = (str(name), commit)
    return found


def _base_of(adapter: str) -> str | None:
    """The base that an adapter names; None of a pipeline's, and of a Trainer's folder, whose
    checkpoints name it."""
    folder = Path(adapter)
    if folder.is_dir() and not (folder / PEFT_CONFIG).is_file():
        return None
    return base_of(adapter)


def _in_one_metric(
    config: RunConfig, method: str, model: nn.Module, trained: Sequence[Path | None], say: Say
) -> RunConfig:
    """The settings, with `auto` settled where gradients are projected: they cannot be had in
    another metric afterwards, and all checkpoints need the same. `trained` are the folders with
    their optimizers."""
    metric = config.metric or from_name(method).defaults.metric
    if config.project is None or metric != "auto":
        return config
    without = [folder for folder in trained if moments_of(folder, config, model, say) is None]
    if not without:
        say("metric: adam, in which gradients are projected; --metric overrules")
        return replace(config, metric="adam")
    where = "" if without[0] is None else f" in {without[0]}"
    say(f"projected without an optimizer's moments{where}: metric none in place of fisher")
    return replace(config, metric="none")


def _projection(config: RunConfig, method: str) -> Projection | None:
    """The projection that was asked for, in the metric that the method will want."""
    if config.project is None:
        return None
    return Projection(config.project, metric=config.metric or from_name(method).defaults.metric)


def _default_method(task: Task, say: Say) -> str:
    """What foretold retraining best: drawn targets where an example has many, such as tokens."""
    if can_be_sampled(task) and not task.one_target:
        return DEFAULT_METHOD
    why = "an example has one target" if task.one_target else "no targets can be drawn"
    say(f"method: {WITHOUT_CURVATURE} ({task.name}: {why}); --method overrules")
    return WITHOUT_CURVATURE


def load_model_and_task(config: RunConfig, data: Examples, say: Say) -> tuple[nn.Module, Task]:
    """The model, and the task that reads through its tokenizer, image processor or pipeline."""
    name, options = data.task, config.task_options
    if name == "text-to-image":
        found = load_pipeline(
            config.model or pipeline_of(config.adapter),
            config.adapter,
            device=config.device,
            dtype=config.dtype,
        )
        return found.model, make_task(name, found.pipeline, options | {"noise_seed": config.seed})
    loaded = load_model(
        config.model, config.adapter, name, device=config.device, dtype=config.dtype
    )
    if names := config.class_names or _folders(data, loaded.model):
        say(f"classes: {', '.join(names)}{'' if config.labels else '; --labels overrules'}")
        name_classes(loaded.model, names)
    return loaded.model, make_task(name, loaded.tokenizer, options)


def _folders(data: Examples, model: nn.Module) -> list[str] | None:
    """The classes of a folder of images, in the order that `datasets` gives them, where the model
    has as many and no names for them: peft saves none with an adapter."""
    if data.task != "image-classification" or not Path(data.source).is_dir():
        return None
    config: Any = model.config
    # A list names no class; whether it may stand there, the task says, which knows the row.
    labels = {label for label in data.labels if not isinstance(label, list)}
    names = sorted(label for label in labels if isinstance(label, str))
    unnamed = all(str(name).startswith("LABEL_") for name in config.label2id or {})
    return names if len(names) == len(labels) == config.num_labels and unnamed else None


def _found_columns(examples: Examples, config: RunConfig) -> str:
    """Which columns were taken, and by which options a person names others."""
    parts = ", ".join(f"{part}={column}" for part, column in examples.columns.items())
    open_to_change = [
        f"--{part.replace('_', '-')}-column"
        for part in examples.columns
        if part in PARTS and part not in config.columns.given()
    ]
    verb = "overrules" if len(open_to_change) == 1 else "overrule"
    overrule = f"; {', '.join(open_to_change)} {verb}" if open_to_change else ""
    return f"{examples.source}: {words.count(len(examples), 'example')}; {parts}{overrule}"


def _collected(store: GradientStore, task: Task) -> str:
    text = in_words(store)
    if cut := store.index.notes.get("truncated", 0):
        limits = [getattr(task, name, None) for name in ("max_length", "max_target_length")]
        shown = " and ".join(str(limit) for limit in limits if limit is not None)
        to = f" to {shown} tokens" if shown else ""
        verb = "was" if cut == 1 else "were"
        text += f"; {cut:,} of {words.count(len(store), 'example')} {verb} cut{to}"
    return text


def once(say: Say) -> Say:
    """What is the same for every checkpoint is said of the first."""
    said = set[str]()

    def first_time(text: str) -> None:
        if text not in said:
            said.add(text)
            say(text)

    return first_time
