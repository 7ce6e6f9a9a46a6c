"""A plan in two lines, for the start of a run."""

from __future__ import annotations

from collections.abc import Iterator

from datainf import words
from datainf.planning.plan import Collecting, Plan, ScoringPlan
from datainf.planning.stores import StorePlan

NOTABLE = 0.1
"""The part of what there is, on the disk or in memory, from which on what is left is said."""


def first_lines(plan: Plan) -> list[str]:
    """Examples and tokens; bytes on the disk and in memory. Nothing where every gradient is there
    already."""
    if plan.collecting is None:
        return []
    stores = "; ".join(_store(store) for store in plan.stores)
    longest = words.count(max(store.longest for store in plan.stores), "token")
    times = f"; at {plan.checkpoints} checkpoints" if plan.checkpoints > 1 else ""
    return [f"{stores}; none longer than {longest}{times}", "; ".join(_takes(plan))]


def _store(store: StorePlan) -> str:
    done = f" ({store.done:,} done)" if store.done else ""
    return f"{store.name}: {words.count(store.examples, 'example')}{done}, {store.tokens:,} tokens"


def _takes(plan: Plan) -> Iterator[str]:
    disk = plan.disk
    left = f", {words.size(disk.free)} are free" if disk.needed > NOTABLE * disk.free else ""
    yield f"{words.size(disk.needed)} to write, {words.size(plan.row_bytes)} a gradient{left}"
    peaks = [_memory(what, part) for what, part in plan.memory.items()]
    yield f"memory: {', '.join(peaks)}"


def _memory(what: str, part: Collecting | ScoringPlan) -> str:
    notable = part.peak > NOTABLE * part.available
    left = f" ({words.size(part.available)} are left)" if notable else ""
    return f"{words.size(part.peak)} for {what}{left}"
