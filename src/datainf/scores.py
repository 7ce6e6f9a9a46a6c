"""Scores: who influenced what, and by how much.

A score is Σ_l v_qᵀ F_l⁻¹ g_k. Positive = helpful: training more on example k lowers the loss of
query q; negative = harmful. To first order, giving example k the weight 1 + ε in the mean
training loss changes query q's loss by −ε/n times the score.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from datainf.errors import OptionError, StoreCorruptError, StoreError
from datainf.files import make_folder, write_atomically
from datainf.fingerprint import digest

SIGN = "positive = helpful"
FORMAT = "datainf-scores-1"
VALUES, QUERY_IDS, TRAIN_IDS = "values", "query_ids", "train_ids"


class Influence(NamedTuple):
    """One training example's score for one query."""

    train_id: int | str
    score: float


@dataclass(frozen=True)
class Scores:
    """values [m, n], float32: a row a query, a column a training example; positive = helpful.

    `method` names the estimator, `settings` what else the values depend on (damping, blocks,
    normalize, steps), `diagnostics` what was found on the way (λ and residual of every block).
    """

    values: Tensor
    query_ids: list[int | str]
    train_ids: list[int | str]
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    diagnostics: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expected = (len(self.query_ids), len(self.train_ids))
        if tuple(self.values.shape) != expected:
            raise OptionError(f"scores of shape {tuple(self.values.shape)} for ids of {expected}")

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n): queries, training examples."""
        return len(self.query_ids), len(self.train_ids)

    def top(self, query: int | None = 0, k: int = 10, *, largest: bool = True) -> list[Influence]:
        """The k most helpful training examples of a query's row, best first; with
        `largest=False` the k most harmful, worst first. `query=None` takes the mean over all
        queries: what helped or hurt them as a whole. Ties go by position.

        Raises `OptionError` if there is no such row.
        """
        values = self.of_query(query)
        return [
            Influence(self.train_ids[position], float(values[position]))
            for position in self.top_positions(query, k, largest=largest)
        ]

    def of_query(self, query: int | None) -> Tensor:
        """The scores [n] of a query's row; of None, their mean over all queries.

        Raises `OptionError` if there is no such row.
        """
        m = len(self.query_ids)
        if query is None:
            return self.values.double().mean(dim=0)
        if not -m <= query < m:
            raise OptionError(f"there is no query {query}", remedy=f"a row from 0 to {m - 1}")
        return self.values[query]

    def top_positions(self, query: int | None, k: int, *, largest: bool = True) -> list[int]:
        """Columns of the k largest (or smallest) scores of a row, or of their mean, in order."""
        if k < 1:
            raise OptionError(f"k must be at least 1, got {k}")
        order = torch.sort(self.of_query(query), descending=largest, stable=True).indices
        return [int(position) for position in order[:k]]

    def query_row(self, identifier: int | str) -> int:
        """The row of a query id, given as itself or as the text of a number; where no id is a
        number, of a row's.

        Raises `OptionError` naming some ids if there is none.
        """
        for row, known in enumerate(self.query_ids):
            if known == identifier or str(known) == str(identifier):
                return row
        numbered = any(str(known).isdecimal() for known in self.query_ids)
        if not numbered and str(identifier).isdecimal() and int(identifier) < len(self.query_ids):
            return int(identifier)
        shown = ", ".join(str(known) for known in self.query_ids[:5])
        raise OptionError(f"there is no query {identifier!r}", remedy=f"one of {shown}, …")

    def save(self, path: str | Path) -> None:
        """Write one safetensors file: values, ids, and all else as metadata. No pickle."""
        path = Path(path)
        make_folder(path.parent)
        values = self.values.to(torch.float32).contiguous()
        tensors = {
            VALUES: values,
            QUERY_IDS: _as_bytes(self.query_ids),
            TRAIN_IDS: _as_bytes(self.train_ids),
        }
        about = {
            "sign": SIGN,
            "method": self.method,
            "settings": dict(self.settings),
            "diagnostics": dict(self.diagnostics),
        }
        text = json.dumps(about, sort_keys=True)
        # One entry: the order of several in a safetensors header changes from run to run.
        metadata = {FORMAT: json.dumps({"about": text, "checksum": _checksum(text, tensors)})}
        write_atomically(path, save(tensors, metadata=metadata))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a scores file; values are mapped into memory, not read.

        Raises `StoreError` if it is no scores file, `StoreCorruptError` if its bytes are not the
        ones that were written.
        """
        path = Path(path)
        if not path.is_file():
            raise StoreError(f"there is no scores file {path}", remedy="datainf score makes one")
        try:
            file: Any = safetensors.safe_open(path, framework="pt")
            metadata = file.metadata() or {}
            written = json.loads(metadata[FORMAT])
            tensors = {name: file.get_tensor(name) for name in (VALUES, QUERY_IDS, TRAIN_IDS)}
            sound = written["checksum"] == _checksum(written["about"], tensors)
        except (safetensors.SafetensorError, ValueError, LookupError, TypeError) as error:
            raise StoreCorruptError(f"{path} is not a whole scores file ({error})") from None
        if not sound:
            raise StoreCorruptError(
                f"{path}: the bytes are not the ones that were written (its checksum differs)",
                remedy="datainf score makes it anew from the stores",
            )
        about = json.loads(written["about"])
        return cls(
            tensors[VALUES],
            json.loads(bytes(tensors[QUERY_IDS].tolist())),
            json.loads(bytes(tensors[TRAIN_IDS].tolist())),
            about["method"],
            about["settings"],
            about["diagnostics"],
        )

    def to_parquet(self, path: str | Path) -> None:
        """Write a long table, a row a (query, training example) pair: `query_id`, `train_id`
        (text), `query_row`, `train_row` (int32), `score` (float32), `rank` (int32, 0 = most
        helpful of its query). One row group a query, so that a reader can take one query alone.
        """
        from datainf.scores_table import write_table  # brings pyarrow; only this needs it

        write_table(Path(path), self.values, self.query_ids, self.train_ids)

    def __repr__(self) -> str:
        m, n = self.shape
        return f"Scores({self.method}, queries={m}, train={n}, {SIGN})"


def weighted_sum(scores: Sequence[Scores], weights: Sequence[float]) -> Scores:
    """Σ_c w_c · scores_c, of checkpoints of one training by one method; one alone with the weight 1
    stays itself. The diagnostics list those of each, with its weight."""
    first = scores[0]
    if len(scores) == 1 and weights[0] == 1:
        return first
    values = torch.zeros_like(first.values)
    for one, weight in zip(scores, weights, strict=True):
        values += weight * one.values
    told = [
        {"weight": weight, **one.diagnostics} for one, weight in zip(scores, weights, strict=True)
    ]
    return replace(first, values=values, diagnostics={"checkpoints": told})


def _checksum(about: str, tensors: Mapping[str, Tensor]) -> str:
    return digest([about, [[name, tensors[name]] for name in sorted(tensors)]])


def _as_bytes(ids: list[int | str]) -> Tensor:
    return torch.frombuffer(bytearray(json.dumps(ids).encode()), dtype=torch.uint8)
