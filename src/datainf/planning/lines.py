"""A plan in two lines, for the start of a run."""

from __future__ import annotations

from collections.abc import Iterator

from datainf import words
from datainf.planning.plan import Collecting, Plan, ScoringPlan
from datainf.planning.stores import StorePlan

NOTABLE = 0.1
"""The part of what is free on the disk, or of all memory, from which on that is said."""


def first_lines(plan: Plan) -> list[str]:
    """Examples and tokens; bytes on the disk and in memory. Nothing where every gradient is there
    already."""
    if plan.collecting is None:
        return []
    stores = "; ".join(_store(store, plan.checkpoints) for store in plan.stores)
    longest = words.count(max(store.longest for store in plan.stores), "token")
    times = f"; at {plan.checkpoints} checkpoints" if plan.checkpoints > 1 else ""
    return [f"{stores}; none longer than {longest}{times}", "; ".join(_takes(plan))]


def _store(store: StorePlan, checkpoints: int) -> str:
    """What is done is over all checkpoints."""
    every = words.count(checkpoints * store.examples, "gradient")
    done = f" ({store.done:,} of {every} done)" if store.done else ""
    return f"{store.name}: {words.count(store.examples, 'example')}{done}, {store.tokens:,} tokens"


def _takes(plan: Plan) -> Iterator[str]:
    disk = plan.disk
    left = f", {words.size(disk.free)} are free" if disk.needed > NOTABLE * disk.free else ""
    yield f"{words.size(disk.needed)} to write, {words.size(plan.row_bytes)} a gradient{left}"
    peaks = [_memory(what, part) for what, part in plan.memory.items()]
    yield f"memory: {', '.join(peaks)}"


def _memory(what: str, part: Collecting | ScoringPlan) -> str:
    there = part.in_use + part.available  # as the peak has what is in use
    of = f" of {words.size(there)}" if part.peak > NOTABLE * there else ""
    return f"{words.size(part.peak)}{of} for {what}"
