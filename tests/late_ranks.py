"""What the processes of tests/test_reliability.py do that die, or are late, as they start."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from typing import Any

from datainf.gradients import PendingStore
from datainf.run_plan import Planner
from reliability import begun

DEATHS, LATE = 2, 1.5
"""So many starts of the second process end when it plans the run; the next one plans, and begins
each store, seconds after the first."""


def late(arguments: Sequence[str]) -> None:
    if os.environ["RANK"] == "1":
        Planner.plan = _late(Planner.plan)  # type: ignore[method-assign]
        PendingStore.collect = _late(PendingStore.collect)  # type: ignore[method-assign]
    begun.one_of_several(arguments)


def _late(method: Any) -> Any:
    def done(*own: Any) -> Any:
        if int(os.environ["TORCHELASTIC_RESTART_COUNT"]) < DEATHS:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(LATE)
        return method(*own)

    return done
