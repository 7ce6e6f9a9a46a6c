"""TopScores: of every query the most helpful and the most harmful training examples, and no more.

A table [m, k] for either end and a mean [n] in place of a matrix [m, n].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

import torch
from torch import Tensor

from datainf.errors import OptionError
from datainf.scores.file import Contents, Ids, Kind
from datainf.scores.ranked import SIGN, QueryRows, Ranked, first_of

HELPFUL, HARMFUL, MEAN = "helpful", "harmful", "mean"


@dataclass(frozen=True)
class End:
    """One end of every query's order, from the outermost inwards, [m, k] each: training examples'
    rows (int32), scores (float32), and ranks among all n (int32, 0 = most helpful)."""

    rows: Tensor
    scores: Tensor
    ranks: Tensor

    @classmethod
    def stacked(cls, ends: Sequence[End]) -> Self:
        """Those of some queries, and of others after them."""
        parts = zip(*(vars(end).values() for end in ends), strict=True)
        return cls(*map(torch.cat, parts))


@dataclass(frozen=True)
class TopScores(Ranked):
    """The k most helpful and the k most harmful training examples of every query, and the mean
    score over all queries of every training example, [n] float64; positive = helpful.

    `helpful` has the best first, `harmful` the worst first. Where n < 2k they have some in common.
    There is no matrix `values`, as `Scores` has it.
    """

    helpful: End
    harmful: End
    mean: Tensor
    query_ids: Ids
    train_ids: Ids
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    kind: ClassVar[Kind] = "datainf-top-scores-1"

    def __post_init__(self) -> None:
        m, n = self.shape
        expected = {(m, self.kept)}
        found = {tuple(t.shape) for end in (self.helpful, self.harmful) for t in vars(end).values()}
        if found != expected or self.kept > n or tuple(self.mean.shape) != (n,):
            raise OptionError(
                f"top scores of shapes {sorted(found)}, means of shape {tuple(self.mean.shape)}, "
                f"for ids of {self.shape}"
            )

    @property
    def kept(self) -> int:
        return self.helpful.rows.shape[1]

    if not TYPE_CHECKING:  # a type checker would take it to be there

        @property
        def values(self) -> NoReturn:
            """Asked for by those who know `Scores`."""
            raise AttributeError(
                "TopScores keeps no matrix of values. It has helpful and harmful (rows, scores and "
                "ranks, [m, k] each), mean [n], top, save and to_parquet; datainf.attribute gives "
                "the matrix"
            )

    def _top_rows(self, query: int | None, k: int, *, largest: bool) -> list[tuple[int, float]]:
        if query is None:
            return first_of(self.mean, k, largest=largest)
        end = self.helpful if largest else self.harmful
        return [
            (int(row), float(score))
            for row, score in zip(end.rows[query, :k], end.scores[query, :k], strict=True)
        ]

    def means(self) -> Tensor:
        return self.mean

    def of_query(self, identifier: int | str) -> Self:
        self.query_row(identifier)
        raise OptionError(
            f"of each query the {self.kept} most helpful and most harmful examples are kept, and "
            "not all scores",
            remedy="scores made without --keep (datainf score)",
        )

    def _tensors(self) -> dict[str, Tensor]:
        ends = {HELPFUL: self.helpful, HARMFUL: self.harmful}
        return {MEAN: self.mean} | {
            f"{name}_{part}": tensor
            for name, end in ends.items()
            for part, tensor in vars(end).items()
        }

    @classmethod
    def of_contents(cls, contents: Contents) -> Self:
        """Raises `LookupError` for rows of examples that there are not."""
        about, tensors = contents.about, contents.tensors
        helpful, harmful = (
            End(*(tensors[f"{name}_{part.name}"] for part in fields(End)))
            for name in (HELPFUL, HARMFUL)
        )
        for rows in (helpful.rows, harmful.rows):
            if rows.numel() and not 0 <= int(rows.min()) <= int(rows.max()) < len(
                contents.train_ids
            ):
                raise IndexError("rows of examples that there are not")
        return cls(
            helpful, harmful, tensors[MEAN], contents.query_ids, contents.train_ids,
            about["method"], about["settings"], about["diagnostics"],
        )  # fmt: skip

    def _table_rows(self) -> Iterator[QueryRows]:
        for query in range(len(self.query_ids)):
            ends = [vars(end).values() for end in (self.helpful, self.harmful)]
            rows, scores, ranks = (
                torch.cat([part[query] for part in parts]) for parts in zip(*ends, strict=True)
            )
            # By rank; an example at both ends is there once.
            ranks, order = torch.sort(ranks, stable=True)
            once = torch.ones_like(ranks, dtype=torch.bool)
            once[1:] = ranks[1:] != ranks[:-1]
            yield QueryRows(rows[order][once], scores[order][once], ranks[once])

    def __repr__(self) -> str:
        m, n = self.shape
        return f"TopScores({self.method}, queries={m}, train={n}, kept={self.kept}, {SIGN})"
