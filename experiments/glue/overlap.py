"""Test rows that share no words in a row with the training rows.

SST-2's training split is phrases of sentences, one inside the other: a test row that is drawn from
it may be a part of a training row, and a model that learnt that one by heart knows its label.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from experiments.glue.data import Row

RUN = 4
"""So many words in a row are shared by phrases of one sentence, and seldom by others."""


def apart(test: Sequence[Row], train: Sequence[Row]) -> list[Row]:
    """The test rows that share no `RUN` words in a row with a training row; of a row of fewer
    words, that are not a part of one."""
    seen = {run for row in train for size in range(1, RUN + 1) for run in _runs(row, size)}
    return [row for row in test if seen.isdisjoint(_runs(row, RUN) or _runs_of_all(row))]


def _words(row: Row) -> Iterator[list[str]]:
    return (row[text].lower().split() for text in ("text", "text_pair") if text in row)


def _runs(row: Row, size: int) -> set[tuple[str, ...]]:
    return {
        tuple(words[start : start + size])
        for words in _words(row)
        for start in range(len(words) - size + 1)
    }


def _runs_of_all(row: Row) -> set[tuple[str, ...]]:
    return {tuple(words) for words in _words(row)}
