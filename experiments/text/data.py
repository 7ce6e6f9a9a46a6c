"""The rows of the five tasks: id, prompt, completion, class."""

from __future__ import annotations

from collections import Counter
from typing import Any

from datainf.demos import transformations
from experiments.text import maths, maths_hard
from experiments.text.settings import TextSettings

Row = dict[str, Any]


def split(task: str, settings: TextSettings, seed: int) -> tuple[list[Row], list[Row]]:
    """Training and test rows, as many of each class as the settings say."""
    name, _, variant = task.partition("-")
    if name == "sentences":
        train, test = transformations.rows(seed, hard=variant == "hard")
    elif variant == "hard":
        train, test = maths_hard.rows(seed)
    else:
        train, test = maths.rows(seed, reasoning=variant == "reasoning")
    return _first(train, settings.train_per_class), _first(test, settings.test_per_class)


def _first(rows: list[Row], count: int) -> list[Row]:
    """The first rows of every class."""
    seen: Counter[str] = Counter()
    kept = []
    for row in rows:
        seen[row["class"]] += 1
        if seen[row["class"]] <= count:
            kept.append(row)
    return kept
