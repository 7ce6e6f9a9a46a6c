"""Rows of the four GLUE tasks: from local files, from the hub, or made up.

Local files lie as GLUE's own archive has them, FOLDER/glue/TASK/*.tsv. Training and test rows are
drawn from the training split, validation rows from the dev split (of QQP, where the local file is
a slice of the training split, from its end).
"""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.glue.settings import GlueSettings

Row = dict[str, Any]


@dataclass(frozen=True)
class Columns:
    """Where a task's texts and label stand in its files, and what it is called on the hub."""

    hub: str
    names: tuple[str, ...]
    train: str
    dev: str | None
    texts: tuple[int, ...]
    label: int
    header: bool = True


LOCAL = {
    "SST-2": Columns("sst2", ("sentence",), "train.tsv", "dev.tsv", (0,), 1),
    "MRPC": Columns("mrpc", ("sentence1", "sentence2"), "train.tsv", "dev.tsv", (3, 4), 0),
    "QQP": Columns(
        "qqp", ("question1", "question2"), "train_subset.tsv", None, (3, 4), 5, header=False
    ),
    "WNLI": Columns("wnli", ("sentence1", "sentence2"), "train.tsv", "dev.tsv", (1, 2), 3),
}
QQP_TRAIN = 20_000
"""Rows of the local slice that train; the rest are for validation."""


@dataclass(frozen=True)
class Split:
    """Rows with text (and text_pair) and a label 0 or 1; which training labels were flipped."""

    train: list[Row]
    validation: list[Row]
    test: list[Row]
    flipped: list[bool]


def split(task: str, settings: GlueSettings, noise: float, seed: int) -> Split:
    """Rows drawn with a seed; each training label is flipped with probability `noise`. Of a task
    that has too few rows for both, a fifth is for the test and the rest trains.

    Raises `FileNotFoundError` where the files are not there.
    """
    draw = random.Random(f"{task} {seed}")
    pool, dev = _rows(task, settings)
    pool = draw.sample(pool, min(len(pool), settings.train_rows + settings.test_rows))
    count = settings.train_rows
    if len(pool) < count + settings.test_rows:
        count = min(count, len(pool) - min(settings.test_rows, len(pool) // 5))
    train, test = pool[:count], pool[count:]
    validation = draw.sample(dev, min(len(dev), settings.validation_rows))
    flipped = [draw.random() < noise for _ in train]
    train = [
        {**row, "label": row["label"] ^ flip} for row, flip in zip(train, flipped, strict=True)
    ]
    return Split(train, validation, test, flipped)


def _rows(task: str, settings: GlueSettings) -> tuple[list[Row], list[Row]]:
    if task == "made-up":
        rows = made_up(4 * (settings.train_rows + settings.test_rows))
        return rows[::2], rows[1::2]
    if settings.data is None:
        return _from_hub(LOCAL[task])
    return _from_files(settings.data / "glue" / task, LOCAL[task])


def _from_files(folder: Path, columns: Columns) -> tuple[list[Row], list[Row]]:
    def read(file: str) -> list[Row]:
        with (folder / file).open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
        return [
            _row([row[i] for i in columns.texts], row[columns.label])
            for row in rows[columns.header :]
        ]

    train = read(columns.train)
    if columns.dev is None:
        return train[:QQP_TRAIN], train[QQP_TRAIN:]
    return train, read(columns.dev)


def _from_hub(columns: Columns) -> tuple[list[Row], list[Row]]:
    from datasets import load_dataset

    parts = load_dataset("nyu-mll/glue", columns.hub)
    train, validation = (
        [_row([row[n] for n in columns.names], row["label"]) for row in parts[part]]
        for part in ("train", "validation")
    )
    return train, validation


def _row(texts: Sequence[str], label: str | int) -> Row:
    pair = {"text_pair": texts[1].strip()} if len(texts) > 1 else {}
    return {"text": texts[0].strip(), **pair, "label": int(label)}


def made_up(count: int) -> list[Row]:
    """Sentences of plain praise (1) and blame (0), for a run that has no data at hand."""
    draw = random.Random(0)
    things = ["film", "meal", "book", "song", "hotel", "trip", "game", "coat", "phone", "garden"]
    praise = ["lovely", "brilliant", "a joy", "well made", "charming", "worth every minute"]
    blame = ["dull", "a waste of time", "broken", "ugly", "badly made", "a great letdown"]
    frames: list[Callable[[str, str], str]] = [
        lambda thing, word: f"the {thing} was {word}",
        lambda thing, word: f"i found this {thing} {word}",
        lambda thing, word: f"they say that the {thing} is {word} and so do i",
        lambda thing, word: f"what a {thing} , it was {word} from start to end",
    ]
    rows = []
    for _ in range(count):
        label = draw.randrange(2)
        word = draw.choice(praise if label else blame)
        rows.append({"text": draw.choice(frames)(draw.choice(things), word), "label": label})
    return rows
