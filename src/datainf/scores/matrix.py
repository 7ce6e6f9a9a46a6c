"""Scores: all of them, as a matrix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from datainf.errors import OptionError
from datainf.scores.file import Contents, Ids, Kind
from datainf.scores.ranked import SIGN, QueryRows, Ranked, first_of, over_checkpoints

VALUES = "values"
TOGETHER = 2**23
"""Scores that are summed at one time: those of a file stay mapped."""


@dataclass(frozen=True)
class Scores(Ranked):
    """values [m, n], float32: a row a query, a column a training example; positive = helpful."""

    values: Tensor
    query_ids: Ids
    train_ids: Ids
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    kind: ClassVar[Kind] = "datainf-scores-1"

    def __post_init__(self) -> None:
        if tuple(self.values.shape) != self.shape:
            raise OptionError(f"scores of shape {tuple(self.values.shape)} for ids of {self.shape}")

    @property
    def kept(self) -> int:
        return len(self.train_ids)

    def _top_rows(self, query: int | None, k: int, *, largest: bool) -> list[tuple[int, float]]:
        values = self.means() if query is None else self.values[query]
        return first_of(values, k, largest=largest)

    def means(self) -> Tensor:
        total = torch.zeros(len(self.train_ids), dtype=torch.float64)
        m, some = len(self.query_ids), max(1, TOGETHER // max(1, len(total)))
        for start in range(0, m, some):
            total += self.values[start : start + some].double().sum(dim=0)
        return total / m

    def of_query(self, identifier: int | str) -> Self:
        row = self.query_row(identifier)
        return replace(self, values=self.values[row : row + 1], query_ids=[self.query_ids[row]])

    def _tensors(self) -> dict[str, Tensor]:
        return {VALUES: self.values.to(torch.float32)}

    @classmethod
    def of_contents(cls, contents: Contents) -> Self:
        about = contents.about
        return cls(
            contents.tensors[VALUES], contents.query_ids, contents.train_ids,
            about["method"], about["settings"], about["diagnostics"],
        )  # fmt: skip

    def _table_rows(self) -> Iterator[QueryRows]:
        positions = torch.arange(len(self.train_ids))
        for values in self.values:
            ranks = torch.empty_like(positions)
            ranks[torch.sort(values, descending=True, stable=True).indices] = positions
            yield QueryRows(positions, values, ranks)

    def __repr__(self) -> str:
        m, n = self.shape
        return f"Scores({self.method}, queries={m}, train={n}, {SIGN})"


def weighted_sum(scores: Sequence[Scores], weights: Sequence[float]) -> Scores:
    """Σ_c w_c · scores_c, of checkpoints of one training by one method; one alone with the weight 1
    stays itself."""
    first = scores[0]
    if len(scores) == 1 and weights[0] == 1:
        return first
    values = torch.zeros_like(first.values)
    for one, weight in zip(scores, weights, strict=True):
        values += weight * one.values
    told = over_checkpoints([one.diagnostics for one in scores], weights)
    return replace(first, values=values, diagnostics=told)
