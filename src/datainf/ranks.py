"""The processes that work on one run together, as `torchrun` starts them.

Every process, or rank, reads the same data and the same stores from a disk that all of them see.
What takes long is shared: each collects shards of its own, and multiplies with rows of its own
(`datainf.linalg.spread`). The first of them alone writes what is one for all, and says anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch import distributed as dist

from datainf.errors import DatainfError
from datainf.launcher import end_with_launcher

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among `count`. One alone does everything, and waits for nobody."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

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
            dist.all_reduce(X)
        return X

    def largest(self, number: int) -> int:
        """That any has, told to all."""
        if self.count == 1:
            return number
        told = torch.tensor(number)
        dist.all_reduce(told, dist.ReduceOp.MAX)
        return int(told)

    def of_each(self, X: Tensor, sizes: Sequence[int]) -> Iterator[Tensor]:
        """What one after another has, [size, …] by its own size, told to all; this one has X."""
        for rank, size in enumerate(sizes):
            told = X.contiguous() if rank == self.rank else X.new_empty((size, *X.shape[1:]))
            if size and self.count > 1:
                dist.broadcast(told, rank)
            yield told

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
        dist.broadcast_object_list(told, 0)
        if told[1] is not None:
            raise told[1]
        return cast(T, told[0])


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
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or "RANK" not in os.environ:
        return Ranks()
    end_with_launcher()
    if not dist.is_initialized():
        if torch.cuda.is_available():
            local = int(os.environ.get("LOCAL_RANK", "0"))
            torch.cuda.set_device(local % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, **_meeting_place(count))
    return Ranks(dist.get_rank(), dist.get_world_size())


def _meeting_place(count: int) -> dict[str, Any]:
    """Where processes tell each other their addresses: as the environment says, but for what one
    torchrun has started. Its store is the same before and after a restart of all, and has the
    addresses of those that died (pytorch/pytorch#135712); so it has a part for each start.

    Several torchruns count their restarts apart. They have TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1.
    """
    environment = os.environ
    shared = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if not shared or environment.get("GROUP_WORLD_SIZE") != "1":
        return {}
    host, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    start = environment["TORCHELASTIC_RESTART_COUNT"]
    # Public names, which the types of torch do not export.
    whole = dist.TCPStore(host, port, count, is_master=False)  # type: ignore[attr-defined]
    store = dist.PrefixStore(f"datainf/{start}", whole)  # type: ignore[attr-defined]
    return {"store": store, "rank": int(environment["RANK"]), "world_size": count}
