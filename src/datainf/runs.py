"""A whole run: data and model in, a folder with stores, scores and the top examples out.

RUN/
├── run.yaml             every setting; replays the run
├── train/, query/       gradient stores
├── scores.safetensors   Scores
├── scores.parquet       the same as a long table
└── top.jsonl            a line a query: its most helpful and most harmful examples, with text
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self, get_args

import torch
import yaml

from datainf.attribute import Blocks, Normalize, attribute
from datainf.data import Columns, Examples, load
from datainf.data.columns import TaskName
from datainf.errors import DataError, DatainfError, InputError, OptionError
from datainf.estimators import from_name
from datainf.files import make_folder, write_atomically
from datainf.gradients import collect
from datainf.linalg import Damping
from datainf.models import (
    base_of,
    device_of,
    dtype_of,
    find_task,
    load_model,
    load_tokenizer,
    make_task,
)
from datainf.progress import Progress, Silent
from datainf.scores import Scores
from datainf.store import GradientStore
from datainf.tasks import Task

TEXT_LIMIT = 2000
"""Characters of an example's text kept in top.jsonl."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class RunConfig:
    """The settings of a run, as in run.yaml. Paths and names are text; None = found by itself."""

    train: str
    query: str
    out: str
    model: str | None = None
    adapter: str | None = None
    task: TaskName | None = None
    method: str = "datainf"
    steps: int | None = None
    damping: str = "0.1"
    normalize: Normalize = "none"
    blocks: Blocks = "tensor"
    top: int = 5
    trainable: str | None = None
    device: str | None = None
    dtype: str | None = None
    batch_tokens: int = 4096
    max_length: int | None = None
    seed: int = 0
    train_split: str | None = None
    query_split: str | None = None
    train_limit: int | None = None
    query_limit: int | None = None
    text_column: str | None = None
    text_pair_column: str | None = None
    prompt_column: str | None = None
    completion_column: str | None = None
    messages_column: str | None = None
    label_column: str | None = None
    id_column: str | None = None

    def __post_init__(self) -> None:
        if self.model is None and self.adapter is None:
            raise OptionError("neither a model nor an adapter was named", remedy="--adapter DIR")
        if self.task not in (None, *get_args(TaskName)):
            raise OptionError(f"unknown task {self.task!r}", remedy=" or ".join(get_args(TaskName)))
        if self.top < 1:
            raise OptionError(f"top must be at least 1, got {self.top}")
        if self.batch_tokens < 1:
            raise OptionError(f"batch_tokens must be at least 1, got {self.batch_tokens}")
        # Before hours of gradients, not after.
        from_name(self.method, steps=self.steps)
        Damping.parse(self.damping)
        device_of(self.device)
        dtype_of(self.dtype, torch.device("cpu"))
        for value, allowed in ((self.normalize, Normalize), (self.blocks, Blocks)):
            if value not in get_args(allowed):
                raise OptionError(f"unknown {value!r}", remedy=" or ".join(get_args(allowed)))

    @property
    def columns(self) -> Columns:
        return Columns(
            **{name.name: getattr(self, f"{name.name}_column") for name in fields(Columns)}
        )

    def save(self, path: Path) -> None:
        """Write run.yaml, with local paths made absolute so that it replays from anywhere."""
        values = asdict(self)
        for name in ("train", "query", "out", "model", "adapter"):
            if values[name] is not None and Path(values[name]).exists():
                values[name] = str(Path(values[name]).resolve())
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        write_atomically(path, text.encode())

    @classmethod
    def from_values(cls, values: dict[str, Any], source: str) -> Self:
        """From plain values, as read from run.yaml or a command line.

        Raises `OptionError` for an unknown setting, a missing one, or one of the wrong kind.
        """
        known = {item.name: str(item.type) for item in fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise OptionError(f"{source}: unknown setting {name!r}", remedy=", ".join(known))
            whole = known[name].startswith("int")
            if value is None and "None" in known[name]:
                continue
            if whole != (isinstance(value, int) and not isinstance(value, bool)):
                kind = "a whole number" if whole else "text"
                raise OptionError(f"{source}: {name} should be {kind}, not {value!r}")
        missing = [name for name in ("train", "query", "out") if name not in values]
        if missing:
            raise OptionError(
                f"{source}: not given: {', '.join(missing)}",
                remedy=" ".join(f"--{name} …" for name in missing),
            )
        return cls(**values)


def read_config(path: Path) -> dict[str, Any]:
    """The values of a run.yaml.

    Raises `InputError` if it cannot be read.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", remedy="check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no settings", remedy="the run.yaml that a run left")
    values.update({k: str(v) for k, v in values.items() if k == "damping" and v is not None})
    return values


@dataclass(frozen=True)
class Run:
    """A finished run, in memory: its scores, its data, and how to show them."""

    scores: Scores
    train: Examples
    query: Examples
    train_losses: torch.Tensor
    query_losses: torch.Tensor
    task: Task


def run(config: RunConfig, *, progress: Progress | None = None, say: Say = lambda _: None) -> Run:
    """Collect both stores, score, and write all files of the run folder.

    Data and model are checked before any gradient is taken. Run again after an interruption, it
    goes on where it was. Raises `DatainfError`s; see `datainf.errors`.
    """
    progress = progress or Silent()
    out = Path(config.out)
    make_folder(out)
    task_name = config.task or find_task(config.model, config.adapter)
    train = load(
        config.train,
        task_name,
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
    settings = out / "run.yaml"
    if not settings.exists():  # so that an interrupted run can be replayed too
        config.save(settings)
    task, stores = collect_stores(
        config, {out / "train": train, out / "query": query}, progress=progress, say=say
    )
    train_store, query_store = stores
    scores = attribute(
        train_store,
        query_store,
        from_name(config.method, steps=config.steps),
        damping=config.damping,
        normalize=config.normalize,
        blocks=config.blocks,
        progress=progress,
    )
    finished = Run(scores, train, query, train_store.losses, query_store.losses, task)
    # Only now: settings that were refused must not replace those of a finished run.
    config.save(settings)
    write_scores(scores, out)
    write_top(finished, out / "top.jsonl", config.top)
    return finished


def collect_stores(
    config: RunConfig,
    sources: dict[Path, Examples],
    *,
    progress: Progress,
    say: Say,
) -> tuple[Task, list[GradientStore]]:
    """Load the model and collect a store for each of the data sets, folder → examples."""
    torch.manual_seed(config.seed)
    task_name = next(iter(sources.values())).task
    for examples in sources.values():
        parts = ", ".join(f"{part}={column}" for part, column in examples.columns.items())
        say(f"{examples.source}: {len(examples)} examples for {task_name} ({parts})")
    loaded = load_model(
        config.model, config.adapter, task_name, device=config.device, dtype=config.dtype
    )
    task = make_task(task_name, loaded.tokenizer, config.max_length)
    stores = []
    for folder, examples in sources.items():
        store = collect(
            loaded.model,
            examples,
            task,
            out=folder,
            trainable=config.trainable,
            batch_tokens=config.batch_tokens,
            notes={"source": examples.source, "source_digest": examples.digest},
            progress=progress,
        )
        say(_collected(store, task.for_model(loaded.model)))
        stores.append(store)
    return task, stores


def _collected(store: GradientStore, task: Task) -> str:
    parameters = sum(block.width for block in store.index.blocks)
    text = f"{store.path}: {len(store)} gradients of {parameters:,} parameters in "
    text += f"{len(store.index.blocks)} tensors"
    if cut := store.index.notes.get("truncated", 0):
        limit = getattr(task, "max_length", None)
        text += f"; {cut} of {len(store)} examples were cut to {limit} tokens"
    return text


def write_scores(scores: Scores, out: Path) -> None:
    """scores.safetensors and scores.parquet in a folder."""
    scores.save(out / "scores.safetensors")
    scores.to_parquet(out / "scores.parquet")


def write_top(finished: Run, path: Path, k: int) -> None:
    """top.jsonl: a line a query, with the k most helpful and most harmful training examples."""
    lines = []
    for row, identifier in enumerate(finished.scores.query_ids):
        line = {
            "query_id": identifier,
            "query_row": row,
            "query": describe(finished.task, finished.query, row),
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
            "text": describe(finished.task, finished.train, position),
        }
        for position in finished.scores.top_positions(query, k, largest=largest)
    ]


def describe(task: Task, examples: Examples, row: int) -> str:
    """An example in words, cut to `TEXT_LIMIT` characters."""
    text = task.describe(examples[row])
    return text if len(text) <= TEXT_LIMIT else text[:TEXT_LIMIT] + "…"


def open_run(folder: Path) -> Run:
    """A run from its folder; texts are read anew from the data files that run.yaml names.

    Raises `DatainfError` if the folder is no run, or the data files are gone or have changed:
    their rows would no longer be the ones that were scored.
    """
    config = RunConfig.from_values(read_config(folder / "run.yaml"), str(folder / "run.yaml"))
    config = replace(config, out=str(folder))
    scores = Scores.load(folder / "scores.safetensors")
    stores = [GradientStore.open(folder / part) for part in ("train", "query")]
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
        _describing_task(task_name, examples, config),
    )


def _describing_task(name: TaskName, examples: list[Examples], config: RunConfig) -> Task:
    """A task that can describe rows; a tokenizer is loaded only where rows are token ids."""
    tokenizer = None
    if any("input_ids" in data.columns for data in examples):
        try:
            tokenizer = load_tokenizer(config.model or base_of(config.adapter), config.adapter)
        except DatainfError as error:
            raise InputError(f"the rows are token ids, and {error.message}") from None
    return make_task(name, tokenizer, None)
