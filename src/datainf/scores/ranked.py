"""What every kind of scores can do: tell the first of an order, name them, and be a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from datainf.errors import OptionError, StoreError
from datainf.scores.file import Contents, Ids, Kind, read, reading, write
from datainf.scores.notebook import frame_of, influences_html, plot_of, scores_html

if TYPE_CHECKING:
    import pandas as pd

SIGN = "positive = helpful"
"""Of every score, in every method and file."""
SHOWN = 10
"""Training examples that are told of an end, unless a number is given."""


class Influence(NamedTuple):
    """One training example's score for one query."""

    train_id: int | str
    score: float


class Influences(list[Influence]):
    """Several, in an order; in a notebook a table with bars."""

    def _repr_html_(self) -> str:
        return influences_html(self)


class QueryRows(NamedTuple):
    """Some of a query's training examples, the same number of each: their rows, scores, and ranks
    among all, 0 = most helpful."""

    train_rows: Tensor
    scores: Tensor
    ranks: Tensor


class Ranked(ABC):
    """Scores of m queries and n training examples, whatever is kept of them.

    `method` names the estimator, `settings` what else the scores depend on (damping, blocks,
    normalize, steps), `diagnostics` what was found on the way (λ and residual of every block).
    """

    query_ids: Ids
    train_ids: Ids
    method: str
    settings: Mapping[str, Any]
    diagnostics: Mapping[str, Any]
    kind: ClassVar[Kind]

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n): queries, training examples."""
        return len(self.query_ids), len(self.train_ids)

    @property
    @abstractmethod
    def kept(self) -> int:
        """How many training examples of each end of a query's order can be told; n if all."""

    def top(
        self, query: int | str | None = 0, k: int | None = None, *, largest: bool = True
    ) -> Influences:
        """The k most helpful training examples of a query, best first; with `largest=False` the k
        most harmful, worst first; by default 10, or as many as are kept if these are fewer. A
        number is the query's row, a text its id, as in `query_row`. `query=None` takes the mean
        over all queries: what helped or hurt them as a whole. Ties go by position.

        Raises `OptionError` if there is no such query, or fewer than a given k are kept of it.
        """
        return Influences(
            Influence(self.train_ids[row], score)
            for row, score in self.top_rows(query, k, largest=largest)
        )

    def top_rows(
        self, query: int | str | None, k: int | None = None, *, largest: bool = True
    ) -> list[tuple[int, float]]:
        """What `top` tells, by the training examples' rows: (row, score)."""
        row = self.query_row(query) if isinstance(query, str) else query
        m = len(self.query_ids)
        if row is not None and not -m <= row < m:
            as_id = f'; its id is given as text, "{row}"' if row in self.query_ids else ""
            raise OptionError(
                f"there is no query in row {row}", remedy=f"a row from 0 to {m - 1}{as_id}"
            )
        return self._top_rows(row, self.count(row, k), largest=largest)

    def count(self, query: int | None, k: int | None) -> int:
        """How many of each end `top` tells of a query, or of the mean, if k are asked for.

        Raises `OptionError` as `top` does for k.
        """
        if k is None:
            return SHOWN if query is None else min(SHOWN, self.kept)
        if k < 1:
            raise OptionError(f"k must be at least 1, got {k}")
        if query is not None and self.kept < min(k, len(self.train_ids)):
            raise OptionError(
                f"{k} training examples were asked for, and the {self.kept} most helpful and "
                f"{self.kept} most harmful of each query are kept",
                remedy=f"no more than {self.kept}; or datainf score with --keep {k} "
                f"(datainf.attribute_top, k={k})",
            )
        return k

    @abstractmethod
    def _top_rows(self, query: int | None, k: int, *, largest: bool) -> list[tuple[int, float]]:
        """Of a row that there is, and no more than are kept of it."""

    @abstractmethod
    def means(self) -> Tensor:
        """The mean score over all queries of every training example, [n], float64."""

    @abstractmethod
    def of_query(self, identifier: int | str) -> Self:
        """The scores of one query alone, by its id as `query_row` takes it.

        Raises `OptionError` as `query_row`, and where not all scores are kept.
        """

    def query_row(self, identifier: int | str) -> int:
        """The row of a query id, given as itself or as the text of a number; where no id is a
        number, of a row's.

        Raises `OptionError` naming ids that are like it, or the first, if there is none.
        """
        for row, known in enumerate(self.query_ids):
            if known == identifier or str(known) == str(identifier):
                return row
        numbered = any(str(known).isdecimal() for known in self.query_ids)
        if not numbered and str(identifier).isdecimal() and int(identifier) < len(self.query_ids):
            return int(identifier)
        names = [str(known) for known in self.query_ids]
        shown = get_close_matches(str(identifier), names) or names[:5]
        more = ", …" if len(shown) < len(names) else ""
        raise OptionError(
            f"there is no query {identifier!r}", remedy=f"one of {', '.join(shown)}{more}"
        )

    def to_pandas(self) -> pd.DataFrame:
        """A data frame with a row for each (query, training example) pair that is kept, of each
        query the most helpful first: `query_id` and `train_id` (as in `query_ids` and `train_ids`:
        numbers where data have no ids, of which `to_parquet` makes text), `query_row`, `train_row`
        (int32), `score` (float32), and `rank` (int32, 0 = most helpful)."""
        return frame_of(self)

    def plot(self, query: int | str | None = 0, k: int | None = None) -> Any:
        """Bars for the k most helpful and the k most harmful training examples of a query, both
        given as `top` takes them, or of the mean over all: a matplotlib `Axes`. A score of 0 is
        neither.

        Raises `OptionError` as `top` does, `InputError` where matplotlib is not installed.
        """
        return plot_of(self, query, k)

    def _repr_html_(self) -> str:
        return scores_html(self)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file: scores, ids, and all else as metadata. No pickle.

        Raises `WriteError` if the disk refuses.
        """
        about = {
            "sign": SIGN,
            "method": self.method,
            "settings": dict(self.settings),
            "diagnostics": dict(self.diagnostics),
        }
        write(path, Contents(self.kind, about, self.query_ids, self.train_ids, self._tensors()))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file that `save` wrote; its tensors are mapped into memory and read once, against
        their checksum.

        Raises `StoreError` if it is no file of such scores, `StoreCorruptError` if its bytes are
        not the ones that were written.
        """
        contents = read(path)
        if contents.kind != cls.kind:
            raise StoreError(
                f"{path} holds scores of another kind than {cls.__name__}",
                remedy="datainf.load_scores, which reads every kind",
            )
        with reading(path):
            return cls.of_contents(contents)

    @classmethod
    @abstractmethod
    def of_contents(cls, contents: Contents) -> Self:
        """From what its file holds."""

    @abstractmethod
    def _tensors(self) -> dict[str, Tensor]:
        """What its file holds."""

    def to_parquet(self, path: str | Path) -> None:
        """Write a long table, a row for each (query, training example) pair that is kept:
        `query_id`, `train_id` (text), `query_row`, `train_row` (int32), `score` (float32), `rank`
        (int32, 0 = most helpful of its query, n - 1 = most harmful). Of a query in the data's order
        where all are kept, else by rank. One row group a query, so that a reader can take one query
        alone. The schema's metadata say the method, its settings, and what made the scores.

        Raises `WriteError` if the disk refuses.
        """
        from datainf.scores.table import write_table  # brings pyarrow; only this needs it

        about = {"method": self.method, "settings": dict(self.settings)}
        about |= {"made_by": made} if (made := self.diagnostics.get("made_by")) else {}
        write_table(Path(path), self.query_ids, self.train_ids, self._table_rows(), about)

    @abstractmethod
    def _table_rows(self) -> Iterator[QueryRows]:
        """The pairs of each query that its table has."""


def first_of(values: Tensor, k: int, *, largest: bool) -> list[tuple[int, float]]:
    """(position, value) of the k largest, or smallest, values of a row [n], ties by position."""
    if not 0 < k < len(values) or values.isnan().any():
        within = torch.arange(len(values))
    else:  # to find the bound and sort what is within it is far less than to sort all
        bound = values.topk(k, largest=largest, sorted=False).values
        within = values >= bound.min() if largest else values <= bound.max()
        within = within.nonzero().squeeze(-1)
    order = torch.sort(values[within], descending=largest, stable=True).indices[:k]
    return [(int(position), float(values[position])) for position in within[order]]


def over_checkpoints(
    diagnostics: Sequence[Mapping[str, Any]], weights: Sequence[float]
) -> dict[str, Any]:
    """The diagnostics of a sum over checkpoints: those of each, with its weight; of one that counts
    alone its own."""
    if len(diagnostics) == 1 and weights[0] == 1:
        return dict(diagnostics[0])
    told = zip(weights, diagnostics, strict=True)
    return {"checkpoints": [{"weight": weight, **own} for weight, own in told]}
