"""A study whose cells do next to nothing, for the machinery around cells; workers import it."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.cells import GRID, Key, Study


@dataclass(frozen=True)
class Inner:
    rows: int = 3
    seeds: int = field(default=1, metadata=GRID)


@dataclass(frozen=True)
class Settings:
    rate: float = 0.1
    inner: Inner = Inner()
    seeds: int = field(default=2, metadata=GRID)
    data: Path | None = field(default=None, metadata=GRID)


class MadeUp(Study):
    """A cell does what its key's `does` says."""

    def run(self, key: Key, folder: Path) -> dict[str, Any]:
        print("said on the way", flush=True)
        print("and complained", file=sys.stderr, flush=True)
        if key["does"] == "fail":
            raise ValueError("this cell cannot be")
        if key["does"] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if key["does"] == "wait":
            time.sleep(60)
        (folder / "scratch").touch()
        if key["does"] == "count":
            import torch

            return {"threads": torch.get_num_threads()}
        return {"process": os.getpid()}


def made_up(*does: str, alone: bool = False, settings: Any = None, name: str = "made-up") -> MadeUp:
    """A study of a cell for each word: work, fail, die, wait, count (threads)."""
    keys = [{"does": what, "seed": seed} for seed, what in enumerate(does)]
    return MadeUp(name, settings or Settings(), keys, alone)
