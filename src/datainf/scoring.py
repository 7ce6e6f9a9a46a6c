"""Scores of one checkpoint: every block read once if it fits in memory, else once a product.

Blocks are taken one after another, score = Σ_l v_qᵀ F_l⁻¹ g_k, each with its own λ_l. What the
options make of gradients is settled in `datainf.views`, so that estimators see nothing but
matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from threading import Event
from typing import Any, TypeVar

import torch
from torch import Tensor

from datainf.errors import NonFiniteError
from datainf.estimators import Estimator
from datainf.estimators.base import batches
from datainf.linalg import Damping, GradientMatrix
from datainf.linalg.spread import spread
from datainf.memory import available
from datainf.progress import Progress
from datainf.ranks import ranks
from datainf.store import GradientStore
from datainf.views import Views

QUERY_BYTES = 256 * 2**20
"""As many queries are solved for at one time as `batches` has for these bytes."""
HELD_BYTES, HELD_SHARE = 16 * 2**20, 0.25
"""A block of no more bytes is kept in memory while its products are taken; on another device than
the CPU, of no more than this share of what is free there, since every reading is a way to go."""
MOST_WORKERS = 8
"""Blocks that are worked on at one time, each with its memory."""

T = TypeVar("T")


@dataclass(frozen=True)
class Block:
    """A block's training gradients and the rows of its curvature: one object where they are the
    same."""

    train: GradientMatrix
    curvature: GradientMatrix

    @property
    def other(self) -> GradientMatrix | None:
        """The training gradients where they are not the curvature's rows."""
        return None if self.curvature is self.train else self.train


def in_parallel(
    work: Callable[[Iterable[str]], T], names: list[str], device: torch.device
) -> list[T]:
    """`work` of shares of the blocks, at one time where the CPU has cores for it: thin products by
    one core each are faster than one after another by all, and so is reading. The shares are the
    same from run to run, and so are sums over them. After an error in one, or Ctrl-C, the others
    get no more blocks. Several processes take their products in one order: one after another."""
    threads = torch.get_num_threads()
    alone = device.type == "cpu" and ranks().count == 1
    workers = min(threads, len(names), MOST_WORKERS) if alone else 1
    if workers == 1:
        return [work(names)]
    shares = [names[place::workers] for place in range(workers)]
    stop = Event()

    def share_of(work_on: Sequence[str]) -> T:
        with _setting(stop):
            return work(_until(stop, work_on))

    try:
        with (
            ThreadPoolExecutor(
                workers, initializer=torch.set_num_threads, initargs=(threads // workers,)
            ) as pool,
            _setting(stop),
        ):
            return list(pool.map(share_of, shares))
    finally:
        torch.set_num_threads(threads)  # of threads yet to come, too


@contextmanager
def _setting(stop: Event) -> Iterator[None]:
    """Set `stop` on any error, Ctrl-C among them, which the main thread alone sees."""
    try:
        yield
    except BaseException:
        stop.set()
        raise


def _until(stop: Event, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if stop.is_set():
            return
        yield name


def blocks_of(
    views: Views, names: Iterable[str], device: torch.device
) -> Iterator[tuple[str, Block]]:
    """These blocks, on the device, each read into memory if it fits."""
    for name in names:
        G = views.train[name]
        train = near(G, device)
        curvature = views.curvature[name]
        yield name, Block(train, train if curvature is G else near(curvature, device))


def near(G: GradientMatrix, device: torch.device) -> GradientMatrix:
    """A block on the device, read into memory if it fits; of several processes each has a part."""
    G = spread(G.to(device=device))
    return G.held() if held_bytes(G, device) else G


def held_bytes(G: GradientMatrix, device: torch.device) -> int:
    """What a block takes in the device's memory; 0 if it does not fit."""
    most = HELD_BYTES if device.type == "cpu" else int(HELD_SHARE * available(device))
    return G.nbytes if G.nbytes <= most else 0


@dataclass
class Trace:
    """What a block's solve used and how far it was from done; kept in `Scores.diagnostics`."""

    damping_lambda: float
    residual: float | None = None

    def add(self, residual: float | None) -> None:
        if residual is not None:
            self.residual = max(residual, self.residual or 0.0)


Traces = dict[str, Trace]


def score(
    views: Views,
    query: GradientStore,
    estimator: Estimator,
    dampings: Sequence[Damping],
    device: torch.device,
    progress: Progress,
) -> list[tuple[Tensor, Traces]]:
    """Scores [m, n] at one checkpoint, float32 on the CPU, for every damping."""
    advance = progress.stage(f"scores by {estimator.name}", len(views.train))
    views.curvature  # noqa: B018 - made once, before there are several threads
    V_all = views.of(query)
    parts = in_parallel(
        lambda names: _some(views, V_all, names, estimator, dampings, device, advance),
        list(views.train), device,
    )  # fmt: skip
    found = []
    for of_damping in zip(*parts, strict=True):
        total = of_damping[0][0]
        for values, _ in of_damping[1:]:
            total += values
        traces = {name: trace for _, traced in of_damping for name, trace in traced.items()}
        in_order = {name: traces[name] for name in views.train}
        found.append((finite(total.cpu(), estimator, views.store), in_order))
    return found


def _some(
    views: Views,
    V_all: Mapping[str, GradientMatrix],
    names: Iterable[str],
    estimator: Estimator,
    dampings: Sequence[Damping],
    device: torch.device,
    advance: Callable[[int], None],
) -> list[tuple[Tensor, Traces]]:
    """The share of these blocks in the scores, for every damping."""
    m, n = next(iter(V_all.values())).shape[0], len(views.store)
    values = [torch.zeros((m, n), device=device) for _ in dampings]
    traces: list[Traces] = [{} for _ in dampings]
    for name, block in blocks_of(views, names, device):
        fitted = None
        for total, traced, damping in zip(values, traces, dampings, strict=True):
            lam = damping.lambda_of(block.curvature)
            traced[name] = Trace(lam)
            if lam == 0:  # every gradient of the block is zero
                continue
            fitted = fitted or estimator.fit(block.curvature)
            for rows, V in query_batches(V_all[name], block, device):
                found = fitted.scores(V, lam, block.other)
                total[rows] += found.values
                traced[name].add(found.residual)
        advance(1)
    return list(zip(values, traces, strict=True))


def self_influence(
    views: Views,
    estimator: Estimator,
    damping: Damping,
    device: torch.device,
    progress: Progress,
) -> Tensor:
    """Score(k, k) of every training example at one checkpoint, [n], float32."""
    advance = progress.stage(f"self-influence by {estimator.name}", len(views.train))
    views.curvature  # noqa: B018 - made once, before there are several threads

    def some(names: Iterable[str]) -> Tensor:
        total = torch.zeros(len(views.store), device=device)
        for _, block in blocks_of(views, names, device):
            if (lam := damping.lambda_of(block.curvature)) > 0:
                total += estimator.fit(block.curvature).self_influence(lam, block.other).values
            advance(1)
        return total

    total = sum(in_parallel(some, list(views.train), device), torch.zeros(()))
    return finite(total.cpu() * views.as_query.float(), estimator, views.store)


def query_batches(
    V: GradientMatrix, block: Block, device: torch.device
) -> Iterator[tuple[slice, Tensor]]:
    """Queries [m, d] in batches, by `QUERY_BYTES`."""
    V = V.to(device=device)
    for batch in batches(slice(0, V.shape[0]), QUERY_BYTES, block.curvature, block.train):
        yield batch, V.rows(batch.start, batch.stop)


def told(traces: Traces) -> dict[str, Any]:
    """The diagnostics of one checkpoint."""
    return {"blocks": {name: asdict(trace) for name, trace in traces.items()}}


def finite(values: Tensor, estimator: Estimator, train: GradientStore) -> Tensor:
    """The values; raises `NonFiniteError` if some are not finite, with the training example whose
    gradient is the largest."""
    if not torch.isfinite(values).all():
        norms = train.sq_norms.double().sum(dim=1).sqrt()
        largest, usual = int(norms.argmax()), float(norms.median())
        times = f", {float(norms[largest]) / usual:.2g} times the median" if usual else ""
        raise NonFiniteError(
            f"the scores by {estimator.name} are not finite: they left the range of float32. The "
            f"largest gradient is that of the training example {train.ids[largest]!r}, of norm "
            f"{float(norms[largest]):.3g}{times}",
            remedy="look at that example; --normalize unit, or a larger --damping",
        )
    return values
