"""Why a score is what it is: its parts by tensor, and by position in the training example.

A score is a sum over tensors, score(q, k) = s_k Σ_l w_ql · g_kl, where w_q is the query's solved
vector V F⁻¹ in the coordinates of the stored gradients and s_k the power of ‖g_k‖ that the method
divides by. Each of these products is a sum over the positions of the example
(`datainf.gradients.positions`). So the parts of either kind sum to the score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from datainf.attribution import Request
from datainf.gradients.reduction import Reductions, reductions_of
from datainf.progress import Progress, Silent
from datainf.projection import Projection
from datainf.store import GradientStore
from datainf.top_scoring import SOLVED_BYTES, Fits, Solver

MOST_QUERIES = 256
"""No more queries are solved for at one time."""
DIRECTION_BYTES = 2**30
"""As many of them as have these bytes are handed to a reader at one time, one at least."""
Pair = tuple[int, int]
"""Rows of a query and of a training example."""


class Reader(Protocol):
    """Takes an example's products with directions apart, at one set of weights."""

    def can_read(self, row: int) -> bool:
        """Whether a training row has positions that are tokens."""
        ...

    def __call__(
        self, row: int, directions: Mapping[str, Tensor]
    ) -> tuple[list[Tensor], Tensor] | None:
        """Of a training row and k directions, block's name → [k, d_l]: the parts at the tokens of
        each of its streams, [k, tokens], and what lies at none of them, [k]; None where that cannot
        be told."""
        ...


@dataclass
class Explanation:
    """One pair's score, taken apart: by_tensor [tensors of the store], float64; streams: what each
    token of each stream of the training example contributed, float64, None where positions were not
    asked for or cannot be told; elsewhere: what lies at no token."""

    by_tensor: Tensor
    streams: list[Tensor] | None = None
    elsewhere: float = 0.0

    @property
    def score(self) -> float:
        return float(self.by_tensor.sum())

    @property
    def from_positions(self) -> float:
        """The score again, as the sum over positions."""
        return self.elsewhere + sum(float(stream.sum()) for stream in self.streams or [])


@dataclass
class _Sums:
    """Over checkpoints, by pair."""

    found: dict[Pair, Explanation] = field(default_factory=dict)

    def add_tensors(self, pair: Pair, parts: Tensor) -> None:
        known = self.found.setdefault(pair, Explanation(torch.zeros_like(parts)))
        known.by_tensor += parts

    def add_positions(
        self, row: int, queries: Sequence[int], read: tuple[list[Tensor], Tensor] | None,
        scale: float,
    ) -> None:  # fmt: skip
        """What a reader told of a training row and these queries."""
        if read is None:
            return
        streams, elsewhere = read
        for i, query in enumerate(queries):
            known, own = self.found[query, row], [stream[i].double() * scale for stream in streams]
            known.streams = (
                own if known.streams is None
                else [total + more for total, more in zip(known.streams, own, strict=True)]
            )  # fmt: skip
            known.elsewhere += float(elsewhere[i]) * scale


def explain(
    asked: Request,
    pairs: Iterable[Pair],
    *,
    readers: Sequence[Callable[[], Reader | None]] | None = None,
    reads: Callable[[Pair], bool] = lambda _: True,
    progress: Progress | None = None,
) -> dict[Pair, Explanation]:
    """The scores of some pairs, taken apart.

    Args:
        asked: The stores and options that they are scored by, see `attribution.requested`; by its
            first damping.
        pairs: Rows of queries and of training examples.
        readers: For each checkpoint what makes one that reads examples by its weights; without,
            scores are taken apart by tensor alone. Made one after another: no more than one set of
            weights is in memory.
        reads: Of which pairs positions are wanted.
        progress: Where to show how far it is.

    Returns what `attribute` sums: the tensors' parts, in the order of the store's blocks, and the
    positions' parts each sum to the score, up to rounding, of the model too where it computes in
    half precision.
    """
    solvers = [
        Solver(view.of(query), Fits(view, asked.estimator, asked.dampings[0], view.device))
        for view, query in zip(asked.views, asked.queries, strict=True)
    ]
    return explain_solved(
        solvers, asked.shares, pairs, readers=readers, reads=reads, progress=progress
    )


def explain_solved(
    solvers: Sequence[Solver],
    shares: Sequence[float],
    pairs: Iterable[Pair],
    *,
    readers: Sequence[Callable[[], Reader | None]] | None = None,
    reads: Callable[[Pair], bool] = lambda _: True,
    progress: Progress | None = None,
) -> dict[Pair, Explanation]:
    """`explain`, of queries that have solvers already, one at each checkpoint, which count these
    shares."""
    pairs, sums = sorted(set(pairs)), _Sums()
    advance = (progress or Silent()).stage("why the scores are so", len(pairs) * len(solvers))
    for place, (solver, share) in enumerate(zip(solvers, shares, strict=True)):
        reader, view = None if readers is None else readers[place](), solver.views
        reductions = reductions_in(view.store)
        scale = view.row_scale * share
        for batch, own in _batches(pairs, solver):
            directions = view.directions(solver.solve(batch).R)
            for row, queries in own.items():
                local = [q - batch.start for q in queries]
                parts = _by_tensor(view.store, row, directions, local) * scale[row]
                for q, of_pair in zip(queries, parts, strict=True):
                    sums.add_tensors((q, row), of_pair)
                wanted = [q for q in queries if reads((q, row))]
                if reader is not None and wanted and reader.can_read(row):
                    some = [q - batch.start for q in wanted]
                    for part in _parts(wanted, view.store):
                        ways = _as_parameters(directions, [some[i] for i in part], reductions)
                        these = [wanted[i] for i in part]
                        sums.add_positions(row, these, reader(row, ways), float(scale[row]))
                advance(len(queries))
    return sums.found


def reductions_in(store: GradientStore) -> Reductions:
    """What a store's rows went through before they were stored."""
    projection = store.index.projection
    if projection is None:
        return {}
    made: Any = Projection(**projection)
    moments = store.second_moments if made.metric == "adam" else None
    return reductions_of(made, store.index.blocks, moments, torch.device("cpu"))


def _batches(pairs: Sequence[Pair], solver: Solver) -> Iterator[tuple[slice, dict[int, list[int]]]]:
    """Consecutive queries that are solved for together, and of them by training row."""
    most = max(1, min(MOST_QUERIES, SOLVED_BYTES // (solver.width * torch.float64.itemsize)))
    queries = sorted({q for q, _ in pairs})
    start = 0
    while start < len(queries):
        stop = start + 1
        while (
            stop < len(queries)
            and queries[stop] == queries[stop - 1] + 1
            and queries[stop] - queries[start] < most
        ):
            stop += 1
        batch = slice(queries[start], queries[stop - 1] + 1)
        own: dict[int, list[int]] = {}
        for q, row in pairs:
            if batch.start <= q < batch.stop:
                own.setdefault(row, []).append(q)
        yield batch, own
        start = stop


def _by_tensor(
    store: GradientStore, row: int, directions: Mapping[str, Tensor], queries: Sequence[int]
) -> Tensor:
    """w_ql · g_kl of one training row, [queries, tensors], float64."""
    _, gradient = store.example(row)
    parts = torch.zeros((len(queries), len(gradient)), dtype=torch.float64)
    for l, (name, g) in enumerate(gradient.items()):
        if (W := directions.get(name)) is not None:
            parts[:, l] = (W[list(queries)].double().cpu() @ g.double().cpu()).squeeze(-1)
    return parts


def _parts(queries: Sequence[int], store: GradientStore) -> Iterator[range]:
    """Places of queries whose directions are taken to full width at one time."""
    width = sum(block.width for block in store.index.blocks)
    most = max(1, DIRECTION_BYTES // (4 * width))
    for start in range(0, len(queries), most):
        yield range(start, min(len(queries), start + most))


def _as_parameters(
    directions: Mapping[str, Tensor], queries: Sequence[int], reductions: Reductions
) -> dict[str, Tensor]:
    """Directions of some queries in the coordinates of the model's parameters."""
    found = {}
    for name, W in directions.items():
        rows = W[list(queries)].float()
        found[name] = reductions[name].adjoint(rows) if name in reductions else rows
    return found
