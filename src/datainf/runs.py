"""A whole run: data and model in, a folder with stores, scores and the top examples out.

RUN/
├── run.yaml             every setting; replays the run
├── train/, query/       gradient stores; of several checkpoints in a folder each, checkpoint-N/
├── curvature/           beside each of them, for methods that take it: gradients of drawn targets
├── scores.safetensors   Scores; where only some of each query are kept, TopScores
├── scores.parquet       the same as a long table
└── top.jsonl            a line a query: its most helpful and most harmful examples, with text
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datainf import words
from datainf.attribution import attribute, attribute_top
from datainf.columns import TaskName
from datainf.config import RunConfig
from datainf.data import Examples, load
from datainf.errors import (
    DataError,
    DatainfError,
    InputError,
    OptionError,
    StoreError,
    without_path,
)
from datainf.files import make_folder, write_atomically
from datainf.gradient_flow import RATE_SUM
from datainf.models import base_of, load_reader, make_task
from datainf.progress import Progress, Silent
from datainf.provenance import recorder
from datainf.ranks import ranks
from datainf.remote import forbid_url
from datainf.run_checkpoints import Place, folders_of, places_of, steps_of
from datainf.run_folder import SCORES, SETTINGS
from datainf.run_gradients import Collected, at_commits, once, prepare_run, sources_of
from datainf.run_plan import Planner
from datainf.run_stores import QUERY, TRAIN, queries_of, read_run
from datainf.scores import AnyScores, load_scores
from datainf.store import GradientStore
from datainf.store.index import INDEX
from datainf.tasks import Task
from datainf.tasks.text_to_image import caption

TEXT_LIMIT = 2000
"""Characters of an example's text kept in top.jsonl."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """A finished run, in memory: its scores, its data, and how to show them. Of training examples
    and of queries, the rows that were skipped at some checkpoint, and why."""

    scores: AnyScores
    train: Examples
    query: Examples
    train_losses: torch.Tensor
    query_losses: torch.Tensor
    train_skipped: Mapping[int, str]
    query_skipped: Mapping[int, str]
    describe: Callable[[Any], str]


def run(config: RunConfig, *, progress: Progress | None = None, say: Say = lambda _: None) -> Run:
    """Collect both stores, score, and write all files of the run folder.

    Data, model, disk and memory are checked before any gradient is taken. Run again after an
    interruption, it goes on where it was. Raises `DatainfError`s; see `datainf.errors`.
    """
    forbid_url(config.out, "a run")
    progress, say, out = progress or Silent(), once(say), Path(config.out)
    note = recorder(out, seed=config.seed)
    places = places_of(config, say)
    config = replace(config, checkpoints=steps_of(config, places))
    train, query = sources_of(config, places[-1])
    settings, found, forecast = out / SETTINGS, list[Collected](), None
    for place in places:
        prepared = prepare_run(place, places, config, train, query, progress, say)
        if forecast is None:
            config = at_commits(config, train, query)
            forecast = Planner(config, prepared, [each.folder for each in places]).begin(say)
            ranks().of_first(partial(_settings_of_an_interrupted_run, config, settings))
        found.append(prepared.collect(progress, say, forecast))
        # What task and checkpoints said; replayed by it.
        config = replace(config, method=prepared.method, metric=prepared.metric)
        del prepared  # and the model with it, before the next is loaded
    scores = _scored(config, places, found, progress)
    if (rate_sum := places[-1].rate_sum) is not None:  # for scores of other methods
        scores = replace(scores, diagnostics={**scores.diagnostics, RATE_SUM: rate_sum})
    say(told(scores))
    # Losses are those of the model as it is in the end.
    train_losses, query_losses = (store.losses for store in found[-1].stores)
    say_if_it_guesses(found[-1].task, train_losses, say)
    of_train, of_query = zip(*(one.stores for one in found), strict=True)
    finished = Run(
        scores, train, query, train_losses, query_losses, skipped(of_train), skipped(of_query),
        found[-1].task.describe,
    )  # fmt: skip
    ranks().of_first(lambda: _write(finished, config, out, say))
    if ranks().is_first:
        stores = [store for one in found for store in (*one.stores, one.curvature)]
        note([*own_files(out), *(one.path / INDEX for one in stores if one is not None)])
    return finished


def own_files(folder: Path) -> list[Path]:
    """What a run's folder has beside its stores."""
    return [folder / name for name in (SETTINGS, SCORES, "scores.parquet", "top.jsonl")]


def _settings_of_an_interrupted_run(config: RunConfig, settings: Path) -> None:
    """So that it can be replayed too."""
    make_folder(settings.parent)
    if not settings.exists():
        config.save(settings)


def _write(finished: Run, config: RunConfig, out: Path, say: Say) -> None:
    # Only now: settings that were refused must not replace those of a finished run.
    config.save(out / SETTINGS)
    replace_scores(finished.scores, out, say)
    write_top(finished, out / "top.jsonl", config.top)


def _scored(
    config: RunConfig, places: Sequence[Place], found: Sequence[Collected], progress: Progress
) -> AnyScores:
    """Of all pairs, or of the ends that are to be kept."""
    train, query = zip(*(one.stores for one in found), strict=True)
    options: dict[str, Any] = {
        "curvature": [one.curvature for one in found if one.curvature is not None] or None,
        "weights": [place.weight for place in places],
        "rate_sum": places[-1].rate_sum,
        "progress": progress,
        **config.method_options,
    }
    if config.keep is None:
        return attribute(train, query, config.method, **options)
    return attribute_top(train, query, config.method, k=config.keep, **options)


def skipped(stores: Sequence[GradientStore]) -> dict[int, str]:
    """Rows that were skipped in some of the stores of several checkpoints, and why, in order."""
    found = {row: why for store in stores for row, why in store.skipped.items()}
    return dict(sorted(found.items()))


def say_if_it_guesses(task: Task, losses: Tensor, say: Say) -> None:
    """A model does worse than one that knows nothing where labels or weights are not its own."""
    known = losses[losses.isfinite()].double()
    mean = float(known.mean()) if len(known) else 0.0
    if task.guessing is not None and mean > task.guessing:
        say(
            f"the model's mean loss on its training data is {mean:.3g}, and guessing has "
            f"{task.guessing:.3g}: are these the data that it was trained on, and --labels in the "
            "order of its outputs?"
        )


def say_what_is_replaced(path: Path, scores: AnyScores, say: Say) -> None:
    """Scores in a file that others are about to take the place of."""
    if not path.is_file():
        return
    try:
        old = load_scores(path)
    except StoreError as error:
        say(f"{path} is replaced: {without_path(error, path)}")
        return

    def made_by(one: AnyScores) -> tuple[Any, ...]:
        checkpoints = len(one.diagnostics.get("checkpoints", ()))
        ids = one.query_ids, one.train_ids
        return type(one), one.kept, one.method, dict(one.settings), *ids, checkpoints

    if made_by(old) != made_by(scores):
        queries = words.count(old.shape[0], "query", "queries")
        say(f"{path} is replaced; it held {told(old)}, of {queries}")


def told(scores: AnyScores) -> str:
    """How scores were made, in a line."""
    whole = scores.kept == len(scores.train_ids)
    kept = "" if whole else f"; the first {scores.kept} of either end of each query are kept"
    return f"scores by {scores.method}: {words.settings(scores.settings)}{kept}"


def replace_scores(scores: AnyScores, out: Path, say: Say) -> None:
    """scores.safetensors and scores.parquet in a folder; others that were there are said."""
    say_what_is_replaced(out / SCORES, scores, say)
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
            "loss": words.plain(float(finished.query_losses[row])),
            **_why_skipped(finished.query_skipped, row),
            "helpful": entries(finished, row, k, largest=True),
            "harmful": entries(finished, row, k, largest=False),
        }
        lines.append(json.dumps(line, ensure_ascii=False))
    write_atomically(path, ("\n".join(lines) + "\n").encode("utf-8", "replace"))


def entries(finished: Run, query: int | None, k: int, *, largest: bool) -> list[dict[str, Any]]:
    """The k top training examples of a query row, or of the mean over all, as plain values."""
    return [
        {
            "train_id": finished.scores.train_ids[row],
            "train_row": row,
            "score": score,
            "loss": words.plain(float(finished.train_losses[row])),
            **_why_skipped(finished.train_skipped, row),
            "where": finished.train.where(row),
            "text": describe(finished.describe, finished.train, row),
        }
        for row, score in finished.scores.top_rows(query, k, largest=largest)
    ]


def _why_skipped(rows: Mapping[int, str], row: int) -> dict[str, str]:
    return {"skipped": rows[row]} if row in rows else {}


def describe(in_words: Callable[[Any], str], examples: Examples, row: int) -> str:
    """An example in words, cut to `TEXT_LIMIT` characters."""
    text = in_words(examples[row])
    return text if len(text) <= TEXT_LIMIT else text[:TEXT_LIMIT] + "…"


def open_run(folder: Path, scored: Path | None = None, query_store: str | None = None) -> Run:
    """A run from its folder; texts are read anew from the data files that run.yaml names.

    `scored` is the folder of other scores of the same examples or of other queries, as `datainf
    score` leaves them; `query_store` that of their queries, where it is in object storage.
    Raises `DatainfError` if the folder is no run, the scores are of other examples, or the data
    files are gone or have changed: their rows would no longer be the ones that were scored.
    """
    config = replace(read_run(folder), out=str(folder))
    scores = load_scores((scored or folder) / SCORES)
    folders = folders_of(config.checkpoints, folder)
    of_train, of_query = (
        [GradientStore.open(folder / part) for folder in folders] for part in (TRAIN, QUERY)
    )
    stores = [of_train[-1], of_query[-1]]
    queries = (config.query, config.query_split, config.query_limit)
    if (asked := queries_of(scores, query_store)) is not None:
        stores[1] = GradientStore.open(asked)
        of_query = [stores[1]]
        queries = (str(stores[1].index.notes.get("source")), None, len(stores[1]))
    if [scores.train_ids, scores.query_ids] != [store.ids for store in stores]:
        raise OptionError(
            f"the scores in {scored or folder} are not of the examples in {folder}",
            remedy=f"datainf score {folder} --out …",
        )
    task_name = stores[0].index.task["name"]
    examples = []
    for store, source, split, limit in (
        (stores[0], config.train, config.train_split, config.train_limit),
        (stores[1], *queries),
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
        skipped(of_train),
        skipped(of_query),
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
