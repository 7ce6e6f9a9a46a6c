"""One pass over the examples before any gradient."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import xxhash

from datainf.errors import DataError
from datainf.fingerprint import digest
from datainf.progress import Progress
from datainf.tasks import Task
from datainf.tasks.base import TRUNCATED

KEPT_NUMBERS = 2**20
"""So many token ids and the like are kept of the first examples, which take 20 to 40 MB, so that
small data sets are not tokenized twice."""


@dataclass(frozen=True)
class Survey:
    """Ids, lengths in tokens, a digest of what the model will see, and how many examples were cut
    to its limit; and the first examples as the task encodes them. Where they may be rows of a store
    that is added to, `beginnings` are digests of so many first rows alone, and `stretches`, by
    their ends, of those that would have come at one time, as data of their own; `own` are the rows
    that can be asked for, where the others are of the store."""

    ids: list[int | str]
    lengths: list[int]
    digest: str
    truncated: int
    first: list[Any]
    beginnings: Mapping[int, str] = field(default_factory=dict)
    stretches: Mapping[int, str] = field(default_factory=dict)
    own: range | None = None

    @property
    def rows(self) -> range:
        """Those that can be asked for."""
        return range(len(self.ids)) if self.own is None else self.own

    def examples(self, rows: Iterable[int], task: Task, dataset: Sequence[Any]) -> list[Any]:
        """Rows of the data set that was surveyed, encoded; the caller's own. Raises `DataError`,
        where such a row stands, if it has become one that the task cannot use."""
        return [
            _copy(self.first[row])
            if row < len(self.first)
            else _encode(task, dataset[row], dataset, row)
            for row in rows
        ]


def survey(
    dataset: Sequence[Any], task: Task, progress: Progress, came: Sequence[int] = ()
) -> Survey:
    """`came`: how many rows came to a store at each time, any of which may be the data's first.

    Raises `DataError` naming the first example that the task cannot use, an id that stands
    twice, or an empty data set."""
    n = len(dataset)
    if n == 0:
        raise DataError("the data set is empty", remedy="at least one example")
    advance = progress.stage("reading", n)
    ids = getattr(dataset, "ids", None)
    found: list[int | str] = []
    lengths, truncated, state, own = [], 0, xxhash.xxh3_128(), xxhash.xxh3_128()
    first, room = list[Any](), float(KEPT_NUMBERS)
    ends = dict(zip(accumulate(came), came, strict=True))
    beginnings, closed, stretches = {*came, *ends}, dict[int, str](), dict[int, str]()
    kind: str | None = None
    for row in range(n):
        if row in beginnings:
            closed[row] = _closed(state, found)
        if row in ends:
            stretches[row] = _closed(own, _alone(found, ends[row]))
            own = xxhash.xxh3_128()
        example = dataset[row]
        encoded = _encode(task, example, dataset, row)
        kind = _require_kind(task.target_kind(encoded), kind, dataset, row)
        found.append(_identifier(example, row) if ids is None else ids[row])
        lengths.append(task.length(encoded))
        truncated += isinstance(encoded, dict) and encoded.get(TRUNCATED, 0) > 0
        told = _example_digest(task, encoded).encode()
        state.update(told)
        own.update(told)
        if room >= 0 and (room := room - _numbers(encoded)) >= 0:
            first.append(_copy(encoded))
        advance(1)
    if n in ends:
        stretches[n] = _closed(own, _alone(found, ends[n]))
    _require_unique(found, dataset)
    return Survey(found, lengths, _closed(state, found), truncated, first, closed, stretches)


def _alone(ids: list[int | str], rows: int) -> list[int | str]:
    """The ids of so many last rows, as data of their own have them, which count from 0."""
    last, start = ids[-rows:], len(ids) - rows
    return [*range(rows)] if last == [*range(start, len(ids))] else last


def _closed(state: xxhash.xxh3_128, ids: list[int | str]) -> str:
    """The digest of the rows that were taken in."""
    state = state.copy()
    state.update(digest(ids).encode())
    return str(state.hexdigest())


def _identifier(example: Any, row: int) -> int | str:
    identifier = example.get("id", row) if hasattr(example, "get") else row
    return identifier if isinstance(identifier, int | str) else row


def _require_unique(ids: list[int | str], dataset: Sequence[Any]) -> None:
    seen = dict[str, int]()  # tables know ids as texts
    for row, identifier in enumerate(ids):
        if (before := seen.setdefault(str(identifier), row)) != row:
            like = "" if ids[before] == identifier else f", as {ids[before]!r}"
            raise DataError(
                f"{where(dataset, row)}: the id {identifier!r} stands at "
                f"{where(dataset, before)} too{like}",
                remedy="ids that are unique, or no id column: rows are then counted",
            )


def where(dataset: Sequence[Any], row: int) -> str:
    """A row in words: its file and line where the data set knows them."""
    tell = getattr(dataset, "where", None)
    return str(tell(row)) if callable(tell) else f"example {row}"


def _numbers(encoded: Any) -> float:
    """How many an example holds that is numbers, lists of them and such examples alone, as one of
    a task of ours is for a text; of others, which may be large, no end."""
    if not isinstance(encoded, dict) or TRUNCATED not in encoded:
        return math.inf
    found = 0.0
    for value in encoded.values():
        if isinstance(value, dict):
            found += _numbers(value)
        elif isinstance(value, list) and set(map(type, value)) <= {int, float}:
            found += len(value)
        else:
            found += 1 if isinstance(value, int | float) else math.inf
    return found


def _copy(encoded: dict[str, Any]) -> dict[str, Any]:
    """One that a collator may change."""
    return {
        key: _copy(value) if isinstance(value, dict) else copy(value)
        for key, value in encoded.items()
    }


def _encode(task: Task, example: Any, dataset: Sequence[Any], row: int) -> Any:
    """An example as the model sees it; a `DataError` says where it stands."""
    try:
        return task.encode(example)
    except DataError as error:
        raise DataError(f"{where(dataset, row)}: {error.message}", remedy=error.remedy) from None


def _require_kind(
    own: str | None, kind: str | None, dataset: Sequence[Any], row: int
) -> str | None:
    """The kind of target of the first example, which that of each other has to be."""
    if row and own != kind:
        raise DataError(
            f"{where(dataset, row)}: the example has {own}, and {where(dataset, 0)} has {kind}",
            remedy="one kind in all rows",
        )
    return own


def _example_digest(task: Task, encoded: Any) -> str:
    try:
        return digest(encoded)
    except TypeError:  # an object of the user's own: what the model sees of it
        return digest(task.collate([encoded]))
