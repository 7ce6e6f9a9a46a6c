"""The ends of every query's order of training examples, without the matrix of scores.

Queries are solved for in batches, R = V F⁻¹ of all blocks of all checkpoints. For each batch the
training rows are passed over once: their scores are products with R, of which the ends are kept. Of
several processes each passes over its own part of the rows, and the ends of the parts make the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from datainf.estimators import Estimator
from datainf.estimators.base import Fitted, batches, cut
from datainf.linalg import Damping, GradientMatrix
from datainf.linalg.spread import spread
from datainf.progress import Progress
from datainf.ranks import ranks
from datainf.scores import End
from datainf.scores.running import RunningEnd
from datainf.scoring import QUERY_BYTES, Trace, Traces, finite, held_bytes
from datainf.store import GradientStore
from datainf.views import Views

SOLVED_BYTES = 2 * 2**30
"""Upper bound on the bytes of R, were all of it float64; some methods solve in that."""
QUERIES = 1024
"""No more queries than this are solved for at one time: training rows come in windows, and are
multiplied faster when these are large."""
WINDOW_BYTES = 4 * 2**20
"""Upper bound on the bytes of the scores that a window of training rows has: a thousand rows of the
most queries, and some ten times that is in use at one time."""
FIT_BYTES = 2**29
"""Upper bound on the bytes of a checkpoint's fits that are kept for the next batch of queries."""


@dataclass(frozen=True)
class Found:
    """Both ends of every query's order, [m, k]; the mean over queries, [n] float64; what each
    checkpoint's solves used."""

    helpful: End
    harmful: End
    mean: Tensor
    traces: list[Traces]


def top(
    views: Sequence[Views], queries: Sequence[GradientStore], shares: Sequence[float],
    estimator: Estimator, damping: Damping, k: int, device: torch.device, progress: Progress,
) -> Found:  # fmt: skip
    """The k ≤ n largest and smallest scores of every query over all checkpoints, of which each
    counts its share, and the mean of all scores."""
    m, n, shared = len(queries[0]), len(views[0].store), ranks()
    own = shared.part(n)
    solvers = [
        Solver(view.of(query), Fits(view, estimator, damping, device))
        for view, query in zip(views, queries, strict=True)
    ]
    together = _batches(m, sum(solver.width for solver in solvers))
    size = own.stop - own.start
    advance = progress.stage(f"top scores by {estimator.name}", size * len(together))
    sums = torch.zeros(size, dtype=torch.float64, device=device)
    ends = []
    for batch in together:
        best, worst = (
            RunningEnd(batch.stop - batch.start, k, device, largest=largest, start=own.start)
            for largest in (True, False)
        )
        for rows, values in _scores(solvers, shares, batch, own):
            finite(values, estimator, views[0].store)
            best.add(values)
            worst.add(values)
            here = slice(rows.start - own.start, rows.stop - own.start)
            sums[here] += values.sum(dim=0, dtype=torch.float64)
            advance(rows.stop - rows.start)
        ends.append([one.of_all(shared, n).end() for one in (best, worst)])
    helpful, harmful = (End.stacked(found) for found in zip(*ends, strict=True))
    mean = shared.rows(sums, n).cpu() / m
    return Found(helpful, harmful, mean, [solver.traces for solver in solvers])


def _scores(
    solvers: Sequence[Solver], shares: Sequence[float], batch: slice, own: slice
) -> Iterator[tuple[slice, Tensor]]:
    """Windows of these training rows, with the scores [batch, rows] over all checkpoints."""
    solved = [solver.solve(batch) for solver in solvers]
    for rows in cut(own, WINDOW_BYTES // ((batch.stop - batch.start) * torch.float32.itemsize)):
        total = shares[0] * solved[0].scores(rows)
        for one, share in zip(solved[1:], shares[1:], strict=True):
            total += share * one.scores(rows)
        yield rows, total


@dataclass(frozen=True)
class Solved:
    """R of a batch of queries at one checkpoint, block's name → [m, d_l], and the training
    gradients by block."""

    m: int
    R: Mapping[str, Tensor]
    train: Mapping[str, GradientMatrix]
    device: torch.device

    def scores(self, rows: slice) -> Tensor:
        """[m, rows], float32, of these training rows."""
        total = torch.zeros((self.m, rows.stop - rows.start), device=self.device)
        for name, R in self.R.items():
            total += (self.train[name].window(rows.start, rows.stop) @ R.T).T
        return total


class Fits:
    """What a method fits to the blocks of one checkpoint, by block. What `keep` is told of stays,
    where there is room, and is else fitted again."""

    def __init__(
        self, views: Views, estimator: Estimator, damping: Damping, device: torch.device,
        room: int | None = None,
    ) -> None:  # fmt: skip
        self.views, self.estimator, self.damping, self.device = views, estimator, damping, device
        self.traces: Traces = {}
        self._fits: dict[str, Fitted] = {}
        self._held: dict[str, int] = {}  # bytes of its rows that each fit holds
        self._room = FIT_BYTES if room is None else room

    def of(self, name: str) -> Fitted | None:
        """That of a block; None where all its gradients are zero."""
        return self._fits.get(name) or self._fit(name)

    def _fit(self, name: str) -> Fitted | None:
        rows = spread(self.views.curvature[name].to(device=self.device))
        if held := held_bytes(rows, self.device):
            rows = rows.held()
        # Said once: when they are held, less is free. Of parts the largest, since all processes
        # have to keep the same fits.
        self._held[name] = ranks().largest(held)
        if name not in self.traces:
            self.traces[name] = Trace(self.damping.lambda_of(rows))
        return self.estimator.fit(rows) if self.traces[name].damping_lambda > 0 else None

    def keep(self, name: str, fitted: Fitted) -> None:
        size = fitted.nbytes + self._held[name]
        if name not in self._fits and size <= self._room:
            self._fits[name] = fitted
            self._room -= size

    def clear(self) -> None:
        self._fits.clear()


class Solver:
    """Solves for one batch of queries after another at one checkpoint. `queries` are their
    gradients by block, [m, d]; `keeps`: whether what was fitted is kept after the last, too."""

    def __init__(
        self, queries: Mapping[str, GradientMatrix], fits: Fits, *, keeps: bool = False
    ) -> None:
        self.queries, self.fits, self.keeps = queries, fits, keeps
        self.views, self.device = fits.views, fits.device
        self.m = next(iter(queries.values())).shape[0]

    @property
    def traces(self) -> Traces:
        return self.fits.traces

    @property
    def width(self) -> int:
        """How many numbers are solved for, of one query."""
        return sum(V.shape[1] for V in self.queries.values())

    def solve(self, batch: slice) -> Solved:
        """These queries solved for; blocks whose gradients are all zero are left out."""
        R, train = {}, {}
        last = batch.stop == self.m and not self.keeps
        for name, V in self.queries.items():
            if (fitted := self.fits.of(name)) is None:
                continue
            R[name] = self._solution(name, fitted, V, batch)
            train[name] = self.views.train[name].to(R[name].dtype, self.device)
            if not last:
                self.fits.keep(name, fitted)
        if last:
            self.fits.clear()
        return Solved(batch.stop - batch.start, R, train, self.device)

    def _solution(self, name: str, fitted: Fitted, V: GradientMatrix, batch: slice) -> Tensor:
        """R of a block, a few queries at one time: a method has more beside it."""
        trace, parts = self.traces[name], []
        V = V.to(device=self.device)
        for part in batches(batch, QUERY_BYTES, fitted.G):
            rows = V.rows(part.start, part.stop)
            solution = fitted.solve(fitted.G.cast(rows), trace.damping_lambda)
            trace.add(solution.residual)
            parts.append(solution.R)
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def _batches(m: int, width: int) -> list[slice]:
    """Queries, each of `width` numbers to solve for, in batches of about one size."""
    most = max(1, min(QUERIES, SOLVED_BYTES // (width * torch.float64.itemsize)))
    return cut(slice(0, m), -(-m // -(-m // most)))
