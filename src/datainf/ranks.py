"""The processes that work on one run together, as `torchrun` starts them.

Every process, or rank, reads the same data and the same stores from a disk that all of them see.
What takes long is shared: each collects shards of its own, and multiplies with rows of its own
(`datainf.linalg.spread`). The first of them alone writes what is one for all, and says anything.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache, cached_property
from itertools import pairwise
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch import distributed as dist

from datainf.errors import DatainfError, PeerError, first_line
from datainf.launch import end_with_launcher, launch
from datainf.meeting import meet

T = TypeVar("T")
PATIENCE = timedelta(days=7)
"""One process may wait for the work of another for so long: that one is gone is told at once, by
its connection."""

LAST = 0.1
"""Seconds at the end for gloo's threads to let go of what was sent last: they need the interpreter
for it, and abort the process where that is gone (seen with torch 2.6). Ending the group instead may
wait for them forever, for it holds the interpreter meanwhile."""


@dataclass(frozen=True)
class Ranks:
    """This process among `count`, each with the name of its GPU, if it has one. One alone does
    everything, and waits for nobody."""

    rank: int = 0
    count: int = 1
    gpus: tuple[str | None, ...] = ()

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @cached_property
    def _by_cpu(self) -> bool:
        """Whether several have one GPU, which NCCL refuses: what is on it is added up, and told,
        over the CPU. By what all have told, so that all go the same way."""
        known = [gpu for gpu in self.gpus if gpu is not None]
        return len(set(known)) < len(known)

    def _on_the_way(self, X: Tensor) -> Tensor:
        return X.cpu() if self._by_cpu else X

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Every count-th, so that what comes early is spread over all."""
        return items[self.rank :: self.count]

    def part(self, n: int) -> slice:
        """Consecutive rows of n, as many for each as for the others, or one more."""
        return self.parts(n)[self.rank]

    def parts(self, n: int) -> list[slice]:
        """Those of all, in order."""
        ends = [n * rank // self.count for rank in range(self.count + 1)]
        return [slice(*rows) for rows in pairwise(ends)]

    def wait(self) -> None:
        """Until all have come here."""
        self.largest(0)

    def sum(self, X: Tensor) -> Tensor:
        """Over all, in place; the same bits in each."""
        if self.count > 1:
            told = self._on_the_way(X)
            with _heard():
                dist.all_reduce(told)
            X.copy_(told)
        return X

    def largest(self, number: int) -> int:
        """That any has, told to all."""
        if self.count == 1:
            return number
        told = torch.tensor(number)
        with _heard():
            dist.all_reduce(told, dist.ReduceOp.MAX)
        return int(told)

    def least(self, number: int) -> int:
        """As `largest`."""
        return -self.largest(-number)

    def of_each(self, X: Tensor, sizes: Sequence[int]) -> Iterator[Tensor]:
        """What one after another has, [size, …] by its own size, told to all; this one has X."""
        for rank, size in enumerate(sizes):
            told = X.contiguous() if rank == self.rank else X.new_empty((size, *X.shape[1:]))
            if size and self.count > 1:
                told = self._on_the_way(told)
                with _heard():
                    dist.broadcast(told, rank)
            yield told.to(X.device)

    def gathered(self, what: T) -> list[T]:
        """What each says, in order, told to all."""
        if self.count == 1:
            return [what]
        all_said: list[Any] = [None] * self.count
        with _heard():
            dist.all_gather_object(all_said, what)
        return all_said

    def rows(self, X: Tensor, n: int) -> Tensor:
        """[n, …] from the `part` that each has of it."""
        if self.count == 1:
            return X
        whole, parts = X.new_empty((n, *X.shape[1:])), self.parts(n)
        sizes = [part.stop - part.start for part in parts]
        for part, own in zip(parts, self.of_each(X, sizes), strict=True):
            whole[part] = own
        return whole

    def of_first(self, work: Callable[[], T]) -> T:
        """What the first makes of `work`, told to all; an error of ours is raised in each."""
        if self.count == 1:
            return work()
        told: list[Any] = [None, None]
        if self.is_first:
            try:
                told[0] = work()
            except DatainfError as error:
                told[1] = error
        with _heard():
            dist.broadcast_object_list(told, 0)
        if told[1] is not None:
            raise told[1]
        return cast(T, told[0])


OWN_FAULTS = ("invalid usage", "Duplicate GPU", "No backend type")
"""Of NCCL and of torch: what this process did wrong, whatever the others do."""


@contextmanager
def _heard() -> Iterator[None]:
    """Where all processes take part; raises `PeerError` if one does not."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # of gloo and NCCL alike
        if any(fault in str(error) for fault in OWN_FAULTS):
            raise
        raise PeerError(
            "another of the processes that work on this together has stopped "
            f"({first_line(error)})",
            remedy="what it says, or torchrun of it: a signal 9 may be the system's for want of "
            "memory. The same command goes on from what was finished",
        ) from error


_alone = False


@contextmanager
def alone() -> Iterator[None]:
    """What the first does by itself, while the others have gone on: it waits for none of them."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def ranks() -> Ranks:
    """Those that `torchrun` has started, if it has; the group is made at the first call."""
    return Ranks() if _alone else _started()


@cache
def _started() -> Ranks:
    end_with_launcher()  # of one alone too
    started = launch()
    if started.count == 1:
        return Ranks()
    if not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(started.local_rank % torch.cuda.device_count())
        backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        board = meet()
        with _heard():
            dist.init_process_group(
                backends, store=board, rank=started.rank, world_size=started.count,
                timeout=PATIENCE,
            )  # fmt: skip
        board.set_timeout(PATIENCE)  # NCCL meets by it when it is first used
        atexit.register(time.sleep, LAST)
    them = Ranks(dist.get_rank(), dist.get_world_size())
    return replace(them, gpus=tuple(them.gathered(_own_gpu())))


def _own_gpu() -> str | None:
    return gpu_name(torch.device("cuda")) if torch.cuda.is_available() else None


def gpu_name(device: torch.device) -> str:
    """One that no other GPU has, on any machine."""
    return str(torch.cuda.get_device_properties(device).uuid)
