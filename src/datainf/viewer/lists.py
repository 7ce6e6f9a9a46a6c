"""Training examples in an order, a page at a time: all of them, however many there are.

The order is that of a query's scores, of a new query's, or of the means over all queries; one end
of it or both. What is sought in it is sought in all of it, and what is on no page is not sent.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
import numpy.typing as npt

from datainf.errors import OptionError
from datainf.report.contents import Contents
from datainf.report.examples import label_of
from datainf.report.statistics import short
from datainf.scores import Scores

MOST = 100
"""Training examples of a page."""
KEPT = 8
"""Orders, and things sought, that are kept for the next page."""
SEARCHED = 200_000_000
"""Characters of the training examples' texts that are kept for the next search."""
ENDS = ("helpful", "harmful", "both")
ORDERS = ("score", "loss", "row", "helps", "harms")

Rows = npt.NDArray[np.int64]
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Whose(NamedTuple):
    """Whose scores: those of a query of the run, by its row; of a new one, by its number; of
    neither, the means over all queries of the run."""

    query: int | None = None
    asked: int | None = None

    @classmethod
    def of(cls, sent: Mapping[str, Any]) -> Self:
        return cls(_number(sent, "query", None), _number(sent, "asked", None))


class Sought(NamedTuple):
    """What examples must have: a text in what the page shows of them, a file, a label. An empty
    text and an empty file are in all, but an empty label is one, of none of several classes: where
    any will do it is None."""

    text: str
    file: str
    label: str | None

    @classmethod
    def of(cls, sent: Mapping[str, Any]) -> Self:
        label = None if sent.get("label") is None else _text(sent, "label")
        return cls(_text(sent, "text").lower(), _text(sent, "file"), label)


@dataclass(frozen=True)
class Wanted:
    """A page of a list, as a browser asks for it.

    Raises `OptionError` for what no page of ours would ask.
    """

    whose: Whose
    sought: Sought
    end: str
    order: str
    descending: bool
    start: int
    count: int

    @classmethod
    def of(cls, sent: Mapping[str, Any]) -> Self:
        found = cls(
            Whose.of(sent), Sought.of(sent), _one_of(sent, "end", ENDS),
            _one_of(sent, "order", ORDERS), bool(sent.get("descending")),
            _number(sent, "start", 0) or 0, _number(sent, "count", MOST) or 0,
        )  # fmt: skip
        if not 1 <= found.count <= MOST:
            raise OptionError(f"a page has from 1 to {MOST} examples, not {found.count}")
        return found


@dataclass(frozen=True)
class End:
    """Training rows at one end of an order, ascending; their scores; and their places in it, 0 the
    outermost."""

    rows: Rows
    scores: npt.NDArray[np.floating[Any]]
    places: Rows

    @classmethod
    def of(cls, rows: Rows, scores: npt.NDArray[np.floating[Any]], end: str) -> Self:
        """Of some rows, ascending, those whose scores have the end's sign; ties go by row."""
        if end != "both":
            right = scores > 0 if end == "helpful" else scores < 0
            rows, scores = rows[right], scores[right]
        order = np.argsort(scores if end == "harmful" else -scores, kind="stable")
        places = np.empty_like(rows)
        places[order] = np.arange(len(rows))
        return cls(rows, scores, places)


class Lists:
    """The lists of a run. `asked` gives the scores of a new query by its number, [n]."""

    def __init__(self, contents: Contents, asked: Callable[[int], npt.NDArray[np.float32]]) -> None:
        self.contents, self.asked = contents, asked
        self.n = len(contents.scores.train_ids)
        self._lock = Lock()
        self._ends: OrderedDict[tuple[Whose, str], End] = OrderedDict()
        self._found: OrderedDict[Sought, npt.NDArray[np.bool_]] = OrderedDict()
        self._texts, self._room = dict[int, str](), SEARCHED

    def page(self, wanted: Wanted) -> dict[str, Any]:
        """`total`, how many examples the list has, `of`, how many without what is sought, and
        `entries`, each a row with its score, its place from the end, and in how many queries' tops
        it helps and harms."""
        with self._lock:
            end, there = self._end(wanted.whose, wanted.end), self._having(wanted.sought)
        chosen = np.flatnonzero(there[end.rows])
        key = self._key(end, wanted.order)[chosen]
        order = chosen[np.argsort(-key if wanted.descending else key, kind="stable")]
        shown = order[wanted.start : wanted.start + wanted.count]
        entries = [self._entry(end, int(place)) for place in shown]
        return {"total": len(chosen), "of": len(end.rows), "entries": entries}

    def _entry(self, end: End, place: int) -> dict[str, Any]:
        row, (helps, harms) = int(end.rows[place]), self._tops
        return {
            "row": row, "score": short(float(end.scores[place])), "rank": int(end.places[place]),
            "helps": helps[row], "harms": harms[row],
        }  # fmt: skip

    def scores_of(self, whose: Whose, rows: Sequence[int]) -> tuple[dict[int, float], float]:
        """Of those of some training rows whose scores are known, these; and the size of the largest
        of all."""
        scored, scores = self._scores(whose)
        places = np.flatnonzero(np.isin(scored, rows))
        found = {int(scored[place]): float(scores[place]) for place in places}
        return found, float(np.abs(scores).max(initial=0.0))

    def _end(self, whose: Whose, end: str) -> End:
        if whose.asked is not None:  # another list than before may have its number's scores no more
            return End.of(*self._scores(whose), end)
        return _kept(self._ends, (whose, end), lambda: End.of(*self._scores(whose), end))

    def _scores(self, whose: Whose) -> tuple[Rows, npt.NDArray[np.floating[Any]]]:
        """Training rows whose scores are known, ascending, and these."""
        scores, everything = self.contents.scores, np.arange(self.n)
        if whose.asked is not None:
            return everything, self.asked(whose.asked)
        if whose.query is None:
            return everything, self._means
        if whose.query >= len(scores.query_ids):
            raise OptionError(f"there is no query in row {whose.query}")
        if isinstance(scores, Scores):
            return everything, scores.values[whose.query].numpy()
        both = (scores.top_rows(whose.query, scores.kept, largest=end) for end in (True, False))
        known = dict(sorted(entry for entries in both for entry in entries))
        return np.array(list(known), dtype=np.int64), np.array(list(known.values()))

    def _key(self, end: End, order: str) -> npt.NDArray[Any]:
        """What the rows of an end are sorted by; what is not known comes last, either way."""
        if order == "score":
            return end.scores
        if order == "row":
            return end.rows
        if order == "loss":
            return self._losses[end.rows]
        tops = self._tops[ORDERS.index(order) - ORDERS.index("helps")]
        return np.array([tops[int(row)] for row in end.rows])

    @cached_property
    def _means(self) -> npt.NDArray[np.float64]:
        return self.contents.scores.means().numpy()

    @cached_property
    def _losses(self) -> npt.NDArray[np.float64]:
        losses = np.array(self.contents.subject.run.train_losses, dtype=np.float64)
        return np.where(np.isfinite(losses), losses, np.nan)  # sorted last

    @cached_property
    def _tops(self) -> tuple[Counter[int], Counter[int]]:
        """Of how many queries each training row is among the first of either end."""
        ends = self.contents.ends
        helps, harms = (Counter(row for own in ends for row, _ in own[end]) for end in (0, 1))
        return helps, harms

    def _having(self, sought: Sought) -> npt.NDArray[np.bool_]:
        """Which training rows have what is sought, [n]."""
        return _kept(self._found, sought, lambda: self._sought(sought))

    def _sought(self, sought: Sought) -> npt.NDArray[np.bool_]:
        found = np.ones(self.n, dtype=bool)
        if sought.file:
            found &= self._files == sought.file
        if sought.label is not None:
            found &= self._labels == sought.label
        if sought.text:
            for row in np.flatnonzero(found):
                found[row] = sought.text in self._text(int(row))
        return found

    @cached_property
    def _files(self) -> npt.NDArray[np.object_]:
        return np.array([self.contents.train.file(row) for row in range(self.n)], dtype=object)

    @cached_property
    def _labels(self) -> npt.NDArray[np.object_]:
        own = self.contents.subject.run.train.labels
        return np.array([label_of({"label": label}) for label in own], dtype=object)

    def _text(self, row: int) -> str:
        """What is searched in an example; kept while there is room."""
        if (known := self._texts.get(row)) is None:
            name = self.contents.label_name(self._labels[row]) or ""
            known = f"{self.contents.train.searched(row)}\n{name}".lower()
            self._room -= len(known)
            if self._room > 0:
                self._texts[row] = known
        return known


def _kept(kept: OrderedDict[K, V], key: K, make: Callable[[], V]) -> V:
    """What is kept under a key, made if it is not there; the last few are."""
    if key not in kept:
        kept[key] = make()
        while len(kept) > KEPT:
            kept.popitem(last=False)
    kept.move_to_end(key)
    return kept[key]


def rows_of(sent: Mapping[str, Any], n: int) -> list[int]:
    """Training rows that a browser names. Raises `OptionError` for what are none."""
    rows = sent.get("rows")
    if not isinstance(rows, list) or len(rows) > MOST:
        raise OptionError(f"rows is no list of up to {MOST} training examples")
    if not all(type(row) is int and 0 <= row < n for row in rows):
        raise OptionError(f"rows are from 0 to {n - 1}")
    return rows


def _number(sent: Mapping[str, Any], name: str, otherwise: int | None) -> int | None:
    value = sent.get(name, otherwise)
    if value is None or (type(value) is int and value >= 0):
        return value
    raise OptionError(f"{name} is no number of 0 or more")


def _text(sent: Mapping[str, Any], name: str) -> str:
    if not isinstance(value := sent.get(name, ""), str):
        raise OptionError(f"{name} is no text")
    return value


def _one_of(sent: Mapping[str, Any], name: str, known: tuple[str, ...]) -> str:
    if (value := sent.get(name, known[0])) not in known:
        raise OptionError(f"{name} is none of {', '.join(known)}")
    return str(value)
