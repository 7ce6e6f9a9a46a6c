"""The processes that work on one run together, as `torchrun` starts them.

Every process, or rank, reads the same data and the same stores from a disk that all of them see.
What takes long is shared: each collects shards of its own, and multiplies with rows of its own
(`datainf.linalg.spread`). The first of them alone writes what is one for all, and says anything.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from itertools import pairwise
from typing import Any, TypeVar, cast
from uuid import uuid4

import torch
from torch import Tensor
from torch import distributed as dist

from datainf.errors import DatainfError, PeerError
from datainf.launch import attempt, end_with_launcher, launch

T = TypeVar("T")
PATIENCE = timedelta(days=7)
"""One process may wait for the work of another for so long: that one is gone is told at once, by
its connection."""
ASKING = timedelta(seconds=1)
"""How often a process looks whether its name is still the one."""
SAYING = timedelta(seconds=5)
"""What it may take to find out whether another process has said the same."""


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
            with _heard():
                dist.all_reduce(X)
        return X

    def largest(self, number: int) -> int:
        """That any has, told to all."""
        if self.count == 1:
            return number
        told = torch.tensor(number)
        with _heard():
            dist.all_reduce(told, dist.ReduceOp.MAX)
        return int(told)

    def of_each(self, X: Tensor, sizes: Sequence[int]) -> Iterator[Tensor]:
        """What one after another has, [size, …] by its own size, told to all; this one has X."""
        for rank, size in enumerate(sizes):
            told = X.contiguous() if rank == self.rank else X.new_empty((size, *X.shape[1:]))
            if size and self.count > 1:
                with _heard():
                    dist.broadcast(told, rank)
            yield told

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


@contextmanager
def _heard() -> Iterator[None]:
    """Where all processes take part; raises `PeerError` if one does not."""
    try:
        yield
    except RuntimeError as error:  # of gloo and NCCL alike
        raise PeerError(
            "another of the processes that work on this together has stopped "
            f"({str(error).splitlines()[0][:200]})",
            remedy="what it says, or torchrun of it: a signal 9 may be the system's for want of "
            "memory. The same command goes on from what was finished",
        ) from error


def is_first_to_say(text: str) -> bool:
    """Whether no other process has said this since all were started: those that meet an error
    together need not all tell of it. True where that cannot be found out."""
    where = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    if launch().count == 1 or None in where:
        return True
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    key = hashlib.sha256(text.encode()).hexdigest()
    try:
        # Of torchrun itself, which outlives the processes, or of the first of them.
        board = TCPStore(str(where[0]), int(str(where[1])), is_master=False, timeout=SAYING)
        return int(board.add(f"datainf said {key} in {_round or attempt()}", 1)) == 1
    except RuntimeError:
        return True


_alone = False
_round = ""
"""How the processes call themselves once they have found each other."""


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
    global _round
    end_with_launcher()  # of one alone too
    started = launch()
    if started.count == 1:
        return Ranks()
    # Not in every torch.
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]
    from torch.distributed.rendezvous import rendezvous

    if not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(started.local_rank % torch.cuda.device_count())
        backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        with _heard():
            board, rank, count = next(rendezvous("env://", timeout=PATIENCE))
            _round = _token(board, rank, count)
            board = PrefixStore(_round, board)
            dist.init_process_group(
                backends, store=board, rank=rank, world_size=count, timeout=PATIENCE
            )
    return Ranks(dist.get_rank(), dist.get_world_size())


def _token(board: Any, rank: int, count: int) -> str:
    """A name that these processes have for themselves, and those that were started before them have
    not. After a restart torchrun goes on with the same board, on which a process would find the
    addresses of those that are gone, and no number of the attempt that all machines agree on.

    The first names it; each of the others puts itself down under the name that it finds, and takes
    it for theirs when the first has seen it there.
    """
    own = uuid4().hex
    if rank == 0:
        board.set("datainf", own)
        names = [f"{own}/{other}" for other in range(1, count)]
        board.wait(names)
        board.set(f"{own}/seen", " ".join(board.get(name).decode() for name in names))
        return own
    while True:
        token = str(board.get("datainf").decode())
        board.set(f"{token}/{rank}", own)
        with suppress(dist.DistStoreError):
            board.wait([f"{token}/seen"], ASKING)
            if own in board.get(f"{token}/seen").decode().split():
                return str(token)
        time.sleep(ASKING.total_seconds() / 10)
