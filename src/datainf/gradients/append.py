"""Adding examples to a store: new shards after those that are there, none of which is touched.

The new examples come in one of two ways: at the end of the data that the store was made of, whose
first rows are then those of the store; or as data of their own, which stand after them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datainf.errors import (
    DataError,
    StoreCorruptError,
    StoreIncompleteError,
    StoreMismatchError,
)
from datainf.fingerprint import digest
from datainf.gradients.survey import Survey, where
from datainf.store import GradientStore, Index, Part, Shard
from datainf.store.shards import check_size

Appended = tuple[Index, Survey, Sequence[Any]]


def rows_there(out: Path) -> int:
    """Of the store that is added to. Raises `StoreError` where there is none."""
    return Index.load(out).n


def appended(out: Path, index: Index, survey: Survey, dataset: Sequence[Any]) -> Appended:
    """The index that the store at `out` is to have, and the survey and data of all its rows, from
    those of the data that were given. `survey` has the digest of as many rows as the store has.

    Raises `StoreMismatchError` if the store has these examples already, `StoreIncompleteError` if
    it is to be finished first, `DataError` for an id that it has.
    """
    there = Index.load(out)
    if survey.digest == there.fingerprints["data"]:
        return replace(index, parts=there.parts), survey, dataset
    if survey.beginning == there.fingerprints["data"]:
        more = Part(len(survey.ids) - there.n, survey.digest, index.notes.get("source"))
        return replace(index, parts=[*there.came, more]), survey, dataset
    return _after(out, there, index, survey, dataset)


def _after(
    out: Path, there: Index, index: Index, survey: Survey, dataset: Sequence[Any]
) -> Appended:
    """Data of their own: they are the last that came, and go on, or they come now."""
    came, is_last = there.came, len(there.came) > 1 and there.came[-1].data == survey.digest
    if not is_last and survey.digest in [part.data for part in came]:
        raise StoreMismatchError(
            f"{out} has these examples already", remedy="other data, or no --append"
        )
    start = there.n - came[-1].rows if is_last else there.n
    known = _ids_before(out, there, start)
    ids = _ids(known, survey, dataset)
    notes = there.notes
    if not is_last:
        came = [*came, Part(len(survey.ids), survey.digest, index.notes.get("source"))]
        more = {name: index.notes.get(name, 0) for name in ("tokens", "truncated")}
        notes = notes | {name: notes.get(name, 0) + count for name, count in more.items()}
    data = digest([part.data for part in came])
    whole = Survey(
        known + ids, [0] * start + survey.lengths, data, notes.get("truncated", 0), [], start=start
    )
    fingerprints = index.fingerprints | {"data": data}
    grown = replace(
        index, n=len(whole.ids), parts=came, fingerprints=fingerprints, notes=dict(notes)
    )
    return grown, whole, After(dataset, start)


def _ids_before(out: Path, there: Index, start: int) -> list[int | str]:
    """Of the rows that stand before those that are added, all of which have to be there."""
    before = [shard for shard in there.shards if shard.start < start and _is_there(out, shard)]
    if (done := sum(shard.rows for shard in before)) < start:
        raise StoreIncompleteError(
            f"{out} holds {done} of the {start} examples that others are to be added to",
            remedy="finish it first, by the command that began it",
        )
    return GradientStore(out, replace(there, shards=before)).ids


def _is_there(out: Path, shard: Shard) -> bool:
    try:
        check_size(out, shard)
    except StoreCorruptError:
        return False
    return True


def _ids(known: list[int | str], survey: Survey, dataset: Sequence[Any]) -> list[int | str]:
    """Those that only count rows go on counting."""
    ids, start = survey.ids, len(known)
    if known == list(range(start)) and ids == list(range(len(ids))):
        return list(range(start, start + len(ids)))
    old = set(known)
    for row, identifier in enumerate(ids):
        if identifier in old:
            raise DataError(
                f"{where(dataset, row)}: the store has an example with the id {identifier!r} "
                "already",
                remedy="ids that are unique over all data, or none in any of them",
            )
    return ids


class After(Sequence[Any]):
    """Data whose first row has a number."""

    def __init__(self, dataset: Sequence[Any], start: int) -> None:
        self.dataset, self.start = dataset, start

    def __len__(self) -> int:
        return self.start + len(self.dataset)

    def __getitem__(self, row: Any) -> Any:
        if row < self.start:
            raise IndexError(f"row {row} is in the store alone")
        return self.dataset[row - self.start]

    def where(self, row: int) -> str:
        """An example as its own data name it."""
        return where(self.dataset, row - self.start)
