"""Adding examples to a store: new shards after those that are there, none of which is touched.

The new examples come in one of two ways: at the end of the data that the store was made of, whose
first rows are then those of the store; or as data of their own, which stand after them. Data that
came before are taken for what is missing of their rows, and for nothing else.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
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
from datainf.store.writer import begun, is_sound


class AppendWarning(UserWarning):
    """Of examples that are added to a store it cannot be told whether some are there already."""


Appended = tuple[Index, Survey, Sequence[Any]]


def rows_there(out: Path) -> list[int]:
    """How many rows came at each time to the store that is added to; the first of some data may be
    those. Raises `StoreError` where there is none."""
    return [part.rows for part in Index.load(out).came]


def appended(out: Path, index: Index, survey: Survey, dataset: Sequence[Any]) -> Appended:
    """The index that the store at `out` is to have, and the survey and data of those rows that can
    be taken. `survey` was made with `rows_there`.

    Raises `StoreMismatchError` if the store has some of these examples already,
    `StoreIncompleteError` if it is to be finished first, `DataError` for an id that it has.
    """
    there = Index.load(out)
    digests = [part.data for part in there.came]
    if survey.digest in digests:
        return _missing(out, there, digests.index(survey.digest), index, survey, dataset)
    part = Part(len(survey.ids), survey.digest, index.notes.get("source"), index.notes["made_by"])
    if survey.beginnings.get(there.n) == there.fingerprints["data"]:
        grown = replace(part, rows=part.rows - there.n)
        return replace(index, parts=[*there.came, grown]), survey, dataset
    known = _rows_known(there, survey)
    if known == part.rows:
        raise _has_them(out, "", "only new examples in --data")
    if known:
        raise _has_them(out, f"the first {known:,} of ", "the others alone, as data of their own")
    return _after(out, there, part, index, survey, dataset)


def _rows_known(there: Index, survey: Survey) -> int:
    """How many first rows of the data came to the store: all that came one after another, or those
    that came at some one time."""
    parts, known = there.came, 0
    for part, end in zip(parts, accumulate(part.rows for part in parts), strict=True):
        if part.data not in (survey.stretches.get(end), survey.beginnings.get(end)):
            break
        known = end
    digests = {part.data for part in parts}
    once = [rows for rows, data in survey.beginnings.items() if data in digests]
    return max([known, *once])


def _missing(
    out: Path, there: Index, place: int, index: Index, survey: Survey, dataset: Sequence[Any]
) -> Appended:
    """Data that came before: for what is missing of their rows."""
    part, stop = there.came[place], sum(one.rows for one in there.came[: place + 1])
    own = range(stop - len(survey.ids), stop)  # data that grew came with all before them
    if place + 1 < len(there.came) and _has_whole(out, begun(out, there) or there, own):
        raise _has_them(out, "", "other data, or no --append")
    if len(own) == there.n:
        return replace(index, parts=there.parts), survey, dataset
    ids = [*own] if part.counted else survey.ids
    return _placed(there, index, ids, there.notes, survey, dataset, own)


def _after(
    out: Path, there: Index, part: Part, index: Index, survey: Survey, dataset: Sequence[Any]
) -> Appended:
    """Data of their own, which come now."""
    known, own = _ids_before(out, there), range(there.n, there.n + part.rows)
    _warn_without_ids(out, there, known, survey.ids)
    ids = _ids(known, survey, dataset)
    came = [*there.came, replace(part, counted=ids == list(own))]
    notes = there.notes | {
        name: there.notes.get(name, 0) + index.notes.get(name, 0)
        for name in ("tokens", "truncated")
    }
    there = replace(
        there, n=own.stop, parts=came,
        fingerprints=there.fingerprints | {"data": digest([one.data for one in came])},
    )  # fmt: skip
    return _placed(there, index, ids, notes, survey, dataset, own)


def _placed(
    there: Index, index: Index, ids: list[int | str], notes: dict[str, Any], survey: Survey,
    dataset: Sequence[Any], own: range,
) -> Appended:  # fmt: skip
    """Data that are some rows of the store: what is asked for is in the rows' numbers there."""
    before, after = range(own.start), range(own.stop, there.n)
    lengths = [*(0 for _ in before), *survey.lengths, *(0 for _ in after)]
    data = there.fingerprints["data"]
    whole = replace(
        index, n=there.n, parts=there.parts, notes=dict(notes),
        fingerprints=index.fingerprints | {"data": data},
    )  # fmt: skip
    found = Survey(
        [*before, *ids, *after], lengths, data, notes["truncated"], [], own=own,
    )  # fmt: skip
    return whole, found, Placed(dataset, own)


def _has_them(out: Path, which: str, remedy: str) -> StoreMismatchError:
    return StoreMismatchError(f"{out} has {which}these examples already", remedy=remedy)


def _ids_before(out: Path, there: Index) -> list[int | str]:
    """Of all rows, which have to be there."""
    sound = replace(there, shards=[shard for shard in there.shards if _is_there(out, shard)])
    if sound.rows_done < there.n:
        raise StoreIncompleteError(
            f"{out} holds {sound.rows_done:,} of the {there.n:,} examples that others are to be "
            "added to",
            remedy=sound.how_to_finish(),
        )
    return GradientStore(out, there).ids


def _has_whole(out: Path, there: Index, own: range) -> bool:
    """Whether all of these rows are there, as they were written."""
    some = [shard for shard in there.shards if shard.start in own]
    whole = sum(shard.rows for shard in some) == len(own)
    return whole and all(is_sound(out, there, shard) for shard in some)


def _is_there(out: Path, shard: Shard) -> bool:
    try:
        check_size(out, shard)
    except StoreCorruptError:
        return False
    return True


def _warn_without_ids(
    out: Path, there: Index, known: list[int | str], ids: list[int | str]
) -> None:
    """Gradients that are alike may be those of two examples: ids alone tell."""
    if ids == list(range(len(ids))):
        whose, which = "the examples", "those that are there"
    elif _some_only_count(there, known):
        whose, which = f"examples that are in {out}", "the new ones"
    else:
        return
    warnings.warn(
        f"{whose} have no ids, so none of them can be told from {which}: one that comes again "
        "is taken twice",
        AppendWarning,
        stacklevel=2,
    )


def _some_only_count(there: Index, known: list[int | str]) -> bool:
    """Whether all ids that came at some one time are numbers of rows, there or in their own data.
    One that is may be an id that happens to be such a number."""
    stop = 0
    for part in there.came:
        start, stop = stop, stop + part.rows
        if known[start:stop] in ([*range(part.rows)], [*range(start, stop)]):
            return True
    return False


def _ids(known: list[int | str], survey: Survey, dataset: Sequence[Any]) -> list[int | str]:
    """Those that only count rows go on counting."""
    ids, start = survey.ids, len(known)
    if known == list(range(start)) and ids == list(range(len(ids))):
        return list(range(start, start + len(ids)))
    old = set(map(str, known))
    for row, identifier in enumerate(ids):
        if str(identifier) in old:
            raise DataError(
                f"{where(dataset, row)}: the store has an example with the id {identifier!r} "
                "already, and these data are not those that it was made of with more at their end",
                remedy="only the new examples in --data, with ids that no other has; or a new "
                "store of all, where examples were changed or left out",
            )
    return ids


class Placed(Sequence[Any]):
    """Data as some rows of a store."""

    def __init__(self, dataset: Sequence[Any], rows: range) -> None:
        self.dataset, self.rows = dataset, rows

    def __len__(self) -> int:
        return self.rows.stop

    def __getitem__(self, row: Any) -> Any:
        if row not in self.rows:
            raise IndexError(f"row {row} is in the store alone")
        return self.dataset[row - self.rows.start]

    def where(self, row: int) -> str:
        """An example as its own data name it, or by its place in the store."""
        if row not in self.rows:
            return f"row {row} of the store, which came to it before"
        return where(self.dataset, row - self.rows.start)
