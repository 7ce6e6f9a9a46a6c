"""The gradients of a run: the model loaded, its task found, a store for each data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from datainf.attribution import DEFAULT_METHOD, WITHOUT_CURVATURE
from datainf.columns import PARTS
from datainf.config import RunConfig
from datainf.data import Examples
from datainf.estimators import from_name
from datainf.gradient_flow import RATE_SUM
from datainf.gradients import collect, collect_curvature
from datainf.models import load_model, make_task, name_classes
from datainf.pipelines import load_pipeline, pipeline_of
from datainf.progress import Progress
from datainf.projection import Projection
from datainf.run_checkpoints import moments_of
from datainf.store import GradientStore
from datainf.tasks import Task
from datainf.tasks.sampled import Sampled, can_be_sampled

Say = Callable[[str], None]


@dataclass(frozen=True)
class Collected:
    """What was taken at one set of weights. `method` is the one that was asked for, or the default
    for the task."""

    task: Task
    stores: list[GradientStore]
    method: str
    curvature: GradientStore | None


def collect_stores(
    config: RunConfig,
    sources: dict[Path, Examples],
    *,
    curvature: Path | None = None,
    rate_sum: float | None = None,
    trained: Path | None = None,
    named_by: Examples | None = None,
    progress: Progress,
    say: Say,
) -> Collected:
    """Load the model and collect a store for each of the data sets, folder → examples; they note
    the sum of the training's learning rates, if it is known. The curvature is of the first of
    them, if a folder for it is given and the method takes it. `trained` is the folder with the
    optimizer, `named_by` the data whose folders name the classes, if not the first."""
    torch.manual_seed(config.seed)
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
    wanted = config.curvature_rows is not None or from_name(method).needs_curvature
    if curvature is not None and wanted:
        Sampled(task)  # refuses now what cannot be drawn, and not after the gradients
    moments = moments_of(trained, config, model, say)
    projection = projection_of(config, method, moments)
    known = {} if rate_sum is None else {RATE_SUM: rate_sum}
    stores = []
    for folder, examples in sources.items():
        store = collect(
            model,
            examples,
            task,
            out=folder,
            trainable=config.trainable,
            dtype=config.store,
            project=projection,
            batch_tokens=config.batch_tokens,
            second_moments=moments,
            notes={"source": examples.source, "source_digest": examples.digest, **known},
            progress=progress,
        )
        say(_collected(store, task.for_model(model)))
        stores.append(store)
    drawn = None
    if curvature is not None and wanted:
        drawn = collect_drawn(
            config, model, task, first, curvature, progress, say, projection, moments
        )
    return Collected(task, stores, method, drawn)


def collect_drawn(
    config: RunConfig, model: nn.Module, task: Task, examples: Examples, out: Path,
    progress: Progress, say: Say, projection: Projection | None = None,
    moments: Mapping[str, Tensor] | None = None,
) -> GradientStore:  # fmt: skip
    """The store of a curvature, by the settings of a run and made smaller as its other stores."""
    store = collect_curvature(
        model, examples, task, out=out, rows=config.curvature_rows, seed=config.seed,
        trainable=config.trainable, dtype=config.store, project=projection,
        batch_tokens=config.batch_tokens, second_moments=moments,
        notes={"source": examples.source, "source_digest": examples.digest}, progress=progress,
    )  # fmt: skip
    say(f"{store.path}: {len(store)} gradients of drawn targets, for the curvature")
    return store


def projection_of(
    config: RunConfig, method: str, moments: Mapping[str, Tensor] | None
) -> Projection | None:
    """The projection that was asked for, in the metric that the method will want: once they are
    projected, gradients cannot be had in another."""
    if config.project is None:
        return None
    metric = config.metric or from_name(method).defaults.metric
    if metric == "auto":
        metric = "none" if moments is None else "adam"
    return Projection(config.project, metric=metric)


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
    labels = {example.get("label") for example in data}
    config: Any = model.config
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
    return f"{examples.source}: {len(examples)} examples; {parts}{overrule}"


def _collected(store: GradientStore, task: Task) -> str:
    parameters = sum(block.width for block in store.index.blocks)
    text = f"{store.path}: {len(store)} gradients of {parameters:,} parameters in "
    tensors = len(store.index.blocks)
    text += f"{tensors} tensor{'' if tensors == 1 else 's'}"
    if cut := store.index.notes.get("truncated", 0):
        limits = [getattr(task, name, None) for name in ("max_length", "max_target_length")]
        shown = " and ".join(str(limit) for limit in limits if limit is not None)
        text += f"; {cut} of {len(store)} examples were cut to {shown} tokens"
    return text


def once(say: Say) -> Say:
    """What is the same for every checkpoint is said of the first."""
    said = set[str]()

    def first_time(text: str) -> None:
        if text not in said:
            said.add(text)
            say(text)

    return first_time
