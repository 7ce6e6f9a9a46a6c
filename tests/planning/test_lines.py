"""The first lines of a run."""

from __future__ import annotations

from datainf.planning.lines import first_lines
from datainf.planning.plan import LIBRARIES, Collecting, Disk, Plan
from datainf.planning.stores import StorePlan

GB = 10**9


def planned(*, done=0, in_use=GB, available=9 * GB, checkpoints=1):
    taken = Collecting("cpu", 9, 512, 4000, in_use, 10, 2 * GB, GB // 2, available)
    store = StorePlan("train", 600, 0, 9000, 40, 600, done, 8 * GB, 8 * GB)
    disk = Disk("run", 100 * GB, 8 * GB, 0)
    return first_lines(Plan(checkpoints, 10, 1, 40, (store,), (), disk, taken, None))


def test_memory_is_beside_all_that_there_is():
    """The peak has what is in use, and so has what it stands beside."""
    peak = (GB + LIBRARIES + 2 * (2 * GB + GB // 2)) / GB
    assert planned()[1].endswith(f"memory: {peak:.1f} GB of 10.0 GB for gradients")
    assert planned(available=900 * GB)[1].endswith(f"memory: {peak:.1f} GB for gradients")


def test_what_is_done_is_beside_all_that_is_to_be_done():
    assert planned()[0].startswith("train: 600 examples, 9,000 tokens; none longer")
    first = planned(done=1200, checkpoints=3)[0]
    assert first.startswith("train: 600 examples (1,200 of 1,800 gradients done), 9,000 tokens")
    assert first.endswith("at 3 checkpoints")
