"""How processes find each other, and what they tell each other without taking part together.

Both by a board that each of them reaches at MASTER_ADDR:MASTER_PORT: torchrun's own, which outlives
them, or one that the first of them serves.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

from torch import distributed as dist

from datainf import words
from datainf.errors import OptionError, PeerError
from datainf.launch import attempt, launch

MEETING = timedelta(minutes=15)
"""How long they look for each other: of one that never came no connection tells."""
ASKING = timedelta(seconds=1)
"""How often a process looks whether its name is still the one."""
SAYING = timedelta(seconds=5)
"""What it may take to find out whether another process has said the same."""

_round = ""
"""How the processes call themselves once they have found each other."""


def meet() -> Any:
    """The board for these processes alone, once all of them are there. Raises `PeerError` if they
    are not within `MEETING`."""
    global _round
    # Not in every torch.
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]

    board, started = None, launch()
    by_torchrun = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    try:
        board = _board(MEETING, serves=started.rank == 0 and not by_torchrun)
        _round = _token(board, started.rank, started.count)
    except RuntimeError as error:
        raise _not_met(board, started.count) from error
    return PrefixStore(_round, board)


def is_unsaid(text: str) -> bool | None:
    """Whether no other process has said this since all were started: those that meet an error
    together need not all tell of it. Where that cannot be found out, True for the first of them and
    None for the others."""
    if (started := launch()).count == 1:
        return True
    key = hashlib.sha256(text.encode()).hexdigest()
    try:
        # Where nobody listens, TCPStore would say so at length.
        socket.create_connection(_address(), SAYING.total_seconds()).close()
        board = _board(SAYING)
        return int(board.add(f"datainf said {key} in {_round or attempt()}", 1)) == 1
    except (OSError, RuntimeError, OptionError):
        return started.rank == 0 or None


def _address() -> tuple[str, int]:
    try:
        return os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    except (KeyError, ValueError):
        raise OptionError(
            f"{launch().count} processes were started, by WORLD_SIZE and RANK, and MASTER_ADDR and "
            "MASTER_PORT do not say where they meet",
            remedy="torchrun, which sets all of them; or unset WORLD_SIZE",
        ) from None


def _board(timeout: timedelta, *, serves: bool = False) -> Any:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    host, port = _address()
    return TCPStore(host, port, is_master=serves, timeout=timeout, wait_for_workers=False)


def _token(board: Any, rank: int, count: int) -> str:
    """A name that these processes have for themselves, and those that were started before them have
    not. After a restart torchrun goes on with the same board, on which a process would find the
    addresses of those that are gone, and no number of the attempt that all machines agree on.

    The first names it; each of the others puts itself down under the name that it finds, and takes
    it for theirs when the first has seen it there. Raises `DistStoreError` after `MEETING`.
    """
    own, end = uuid4().hex, time.monotonic() + MEETING.total_seconds()
    if rank == 0:
        board.set("datainf", own)
        names = [f"{own}/{other}" for other in range(1, count)]
        board.wait(names, MEETING)
        board.set(f"{own}/seen", " ".join(board.get(name).decode() for name in names))
        return own
    while time.monotonic() < end:
        with suppress(dist.DistStoreError):
            board.wait(["datainf"], ASKING)
            token = str(board.get("datainf").decode())
            board.set(f"{token}/{rank}", own)
            board.wait([f"{token}/seen"], ASKING)
            if own in board.get(f"{token}/seen").decode().split():
                return token
        time.sleep(ASKING.total_seconds() / 10)
    raise dist.DistStoreError("the first has not seen this one")


def _not_met(board: Any, count: int) -> PeerError:
    """Who is missing, as far as this process sees."""
    host, port = _address()
    remedy = "what they say, or torchrun of them; whether their machines reach that address"
    try:
        missing = [0] if board is None else _missing(board, count)
    except RuntimeError:  # the first had waited for as long, and says for whom
        return PeerError(
            f"the first of {count} processes is gone from {host}:{port}", remedy=remedy
        )
    have = words.count(len(missing), "has", "have")
    names = words.listed([str(rank) for rank in missing])
    return PeerError(
        f"of {count} processes {have} not come to {host}:{port} "
        f"within {words.duration(MEETING.total_seconds())}: "
        f"{'rank' if len(missing) == 1 else 'ranks'} {names}",
        remedy=remedy,
    )


def _missing(board: Any, count: int) -> list[int]:
    """Those that have not put themselves down; where all others have, the first."""
    if not board.check(["datainf"]):
        return [0]
    token = board.get("datainf").decode()
    return [rank for rank in range(1, count) if not board.check([f"{token}/{rank}"])] or [0]
