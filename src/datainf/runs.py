"""A whole run: data and model in, a folder with stores, scores and the top examples out.

RUN/
├── run.yaml             every setting; replays the run
├── train/, query/       gradient stores; of several checkpoints in a folder each, checkpoint-N/
├── curvature/           beside each of them, for methods that take it: gradients of drawn targets
├── scores.safetensors   Scores
├── scores.parquet       the same as a long table
└── top.jsonl            a line a query: its most helpful and most harmful examples, with text
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from datainf.attribute import DEFAULT_METHOD, WITHOUT_CURVATURE, attribute
from datainf.config import RunConfig
from datainf.data import Examples, load
from datainf.data.columns import PARTS, TaskName
from datainf.errors import DataError, DatainfError, InputError, OptionError, StoreError
from datainf.estimators import from_name
from datainf.files import make_folder, write_atomically
from datainf.gradient_flow import RATE_SUM
from datainf.gradients import collect, collect_curvature
from datainf.models import (
    base_of,
    candidates,
    load_model,
    load_reader,
    make_task,
    name_classes,
)
from datainf.pipelines import load_pipeline, pipeline_of
from datainf.progress import Progress, Silent
from datainf.run_checkpoints import folders_of, moments_of, places_of, steps_of
from datainf.run_stores import CURVATURE, SCORES, SETTINGS, read_run
from datainf.scores import Scores
from datainf.store import GradientStore
from datainf.tasks import Task
from datainf.tasks.sampled import Sampled, can_be_sampled
from datainf.tasks.text_to_image import caption

TEXT_LIMIT = 2000
"""Characters of an example's text kept in top.jsonl."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """A finished run, in memory: its scores, its data, and how to show them."""

    scores: Scores
    train: Examples
    query: Examples
    train_losses: torch.Tensor
    query_losses: torch.Tensor
    describe: Callable[[Any], str]


def run(config: RunConfig, *, progress: Progress | None = None, say: Say = lambda _: None) -> Run:
    """Collect both stores, score, and write all files of the run folder.

    Data and model are checked before any gradient is taken. Run again after an interruption, it
    goes on where it was. Raises `DatainfError`s; see `datainf.errors`.
    """
    progress, say, out = progress or Silent(), once(say), Path(config.out)
    places = places_of(config, say)
    config = replace(config, checkpoints=steps_of(config, places))
    last = places[-1].config
    train = load(
        config.train,
        config.task,
        model=None if config.task else candidates(last.model, last.adapter),
        columns=config.columns,
        split=config.train_split,
        limit=config.train_limit,
    )
    query = load(
        config.query,
        train.task,
        columns=config.columns,
        split=config.query_split,
        limit=config.query_limit,
    )
    make_folder(out)
    settings = out / SETTINGS
    if not settings.exists():  # so that an interrupted run can be replayed too
        config.save(settings)
    found = []
    for place in places:
        found.append(
            collect_stores(
                replace(place.config, method=config.method),
                {place.folder / "train": train, place.folder / "query": query},
                curvature=place.folder / CURVATURE,
                rate_sum=place.rate_sum,
                trained=place.trained,
                progress=progress,
                say=say,
            )
        )
        # What the task said; replayed by it.
        config = replace(config, method=found[-1].method)
    curvatures = [one.curvature for one in found if one.curvature is not None]
    stores = [one.stores for one in found]
    scores = attribute(
        [train_store for train_store, _ in stores],
        [query_store for _, query_store in stores],
        from_name(str(config.method), steps=config.steps),
        curvature=curvatures or None,
        weights=[place.weight for place in places],
        rate_sum=places[-1].rate_sum,
        damping=config.damping,
        normalize=config.normalize,
        metric=config.metric,
        blocks=config.blocks,
        progress=progress,
    )
    if (rate_sum := places[-1].rate_sum) is not None:  # for scores of other methods
        scores = replace(scores, diagnostics={**scores.diagnostics, RATE_SUM: rate_sum})
    say(told(scores))
    # Losses are those of the model as it is in the end.
    train_losses, query_losses = (store.losses for store in stores[-1])
    finished = Run(scores, train, query, train_losses, query_losses, found[-1].task.describe)
    say_what_is_replaced(out / SCORES, scores, say)
    # Only now: settings that were refused must not replace those of a finished run.
    config.save(settings)
    write_scores(scores, out)
    write_top(finished, out / "top.jsonl", config.top)
    return finished


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
    known = {} if rate_sum is None else {RATE_SUM: rate_sum}
    stores = []
    for folder, examples in sources.items():
        store = collect(
            model,
            examples,
            task,
            out=folder,
            trainable=config.trainable,
            batch_tokens=config.batch_tokens,
            second_moments=moments,
            notes={"source": examples.source, "source_digest": examples.digest, **known},
            progress=progress,
        )
        say(_collected(store, task.for_model(model)))
        stores.append(store)
    drawn = None
    if curvature is not None and wanted:
        drawn = collect_drawn(config, model, task, first, curvature, progress, say)
    return Collected(task, stores, method, drawn)


def collect_drawn(
    config: RunConfig, model: nn.Module, task: Task, examples: Examples, out: Path,
    progress: Progress, say: Say,
) -> GradientStore:  # fmt: skip
    """The store of a curvature, by the settings of a run."""
    store = collect_curvature(
        model, examples, task, out=out, rows=config.curvature_rows, seed=config.seed,
        trainable=config.trainable, batch_tokens=config.batch_tokens,
        notes={"source": examples.source, "source_digest": examples.digest}, progress=progress,
    )  # fmt: skip
    say(f"{store.path}: {len(store)} gradients of drawn targets, for the curvature")
    return store


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


def say_what_is_replaced(path: Path, scores: Scores, say: Say) -> None:
    """Scores in a file that others are about to take the place of."""
    if not path.is_file():
        return
    try:
        old = Scores.load(path)
    except StoreError as error:
        say(f"{path} is replaced: {error.message}")
        return

    def made_by(one: Scores) -> tuple[Any, ...]:
        checkpoints = len(one.diagnostics.get("checkpoints", ()))
        return one.method, dict(one.settings), one.query_ids, one.train_ids, checkpoints

    if made_by(old) != made_by(scores):
        say(f"{path} is replaced; it held {told(old)}, of {old.shape[0]} queries")


def once(say: Say) -> Say:
    """What is the same for every checkpoint is said of the first."""
    said = set[str]()

    def first_time(text: str) -> None:
        if text not in said:
            said.add(text)
            say(text)

    return first_time


def told(scores: Scores) -> str:
    """How scores were made, in a line."""
    settings = ", ".join(f"{name} {value}" for name, value in scores.settings.items())
    return f"scores by {scores.method}: {settings}"


def write_scores(scores: Scores, out: Path) -> None:
    """scores.safetensors and scores.parquet in a folder."""
    scores.save(out / SCORES)
    scores.to_parquet(out / "scores.parquet")


def write_top(finished: Run, path: Path, k: int) -> None:
    """top.jsonl: a line a query, with the k most helpful and most harmful training examples."""
    lines = []
    for row, identifier in enumerate(finished.scores.query_ids):
        line = {
            "query_id": identifier,
            "query_row": row,
            "query": describe(finished.describe, finished.query, row),
            "loss": float(finished.query_losses[row]),
            "helpful": entries(finished, row, k, largest=True),
            "harmful": entries(finished, row, k, largest=False),
        }
        lines.append(json.dumps(line, ensure_ascii=False))
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def entries(finished: Run, query: int | None, k: int, *, largest: bool) -> list[dict[str, Any]]:
    """The k top training examples of a query row, or of the mean over all, as plain values."""
    values = finished.scores.of_query(query)
    return [
        {
            "train_id": finished.scores.train_ids[position],
            "train_row": position,
            "score": float(values[position]),
            "loss": float(finished.train_losses[position]),
            "where": finished.train.where(position),
            "text": describe(finished.describe, finished.train, position),
        }
        for position in finished.scores.top_positions(query, k, largest=largest)
    ]


def describe(in_words: Callable[[Any], str], examples: Examples, row: int) -> str:
    """An example in words, cut to `TEXT_LIMIT` characters."""
    text = in_words(examples[row])
    return text if len(text) <= TEXT_LIMIT else text[:TEXT_LIMIT] + "…"


def open_run(folder: Path, scored: Path | None = None) -> Run:
    """A run from its folder; texts are read anew from the data files that run.yaml names.

    `scored` is the folder of other scores of the same examples, as `datainf score` leaves them.
    Raises `DatainfError` if the folder is no run, the scores are of other examples, or the data
    files are gone or have changed: their rows would no longer be the ones that were scored.
    """
    config = replace(read_run(folder), out=str(folder))
    scores = Scores.load((scored or folder) / SCORES)
    last = folders_of(config.checkpoints, folder)[-1]
    stores = [GradientStore.open(last / part) for part in ("train", "query")]
    if [scores.train_ids, scores.query_ids] != [store.ids for store in stores]:
        raise OptionError(
            f"the scores in {scored or folder} are not of the examples in {folder}",
            remedy=f"datainf score {folder} --out …",
        )
    task_name = stores[0].index.task["name"]
    examples = []
    for store, source, split, limit in (
        (stores[0], config.train, config.train_split, config.train_limit),
        (stores[1], config.query, config.query_split, config.query_limit),
    ):
        data = load(source, task_name, columns=config.columns, split=split, limit=limit)
        if data.digest != store.index.notes.get("source_digest"):
            raise DataError(
                f"{source} has changed since the run: its rows may not be the ones scored",
                remedy="put the old file back, or run datainf attribute again",
            )
        examples.append(data)
    return Run(
        scores,
        examples[0],
        examples[1],
        stores[0].losses,
        stores[1].losses,
        _in_words(task_name, examples, config),
    )


def _in_words(name: TaskName, examples: list[Examples], config: RunConfig) -> Callable[[Any], str]:
    """How a task describes rows; a tokenizer is loaded only where rows are token ids."""
    if name == "text-to-image":  # the task needs a pipeline, and captions do not
        return caption
    reader = None
    if any("input_ids" in data.columns for data in examples):
        try:
            reader = load_reader(name, config.model or base_of(config.adapter), config.adapter)
        except DatainfError as error:
            raise InputError(f"the rows are token ids, and {error.message}") from None
    return make_task(name, reader).describe
