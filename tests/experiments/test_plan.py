"""Plans: what is left, and how long it is expected to take."""

from __future__ import annotations

import io

import pytest
from made_up import Settings, made_up
from rich.console import Console

from experiments import plan as planning
from experiments.cells import Ledger
from experiments.plan import Plan, duration


@pytest.fixture
def committed(tmp_path, monkeypatch):
    """Where the committed ledgers lie, empty."""
    monkeypatch.setattr(planning, "COMMITTED", tmp_path / "committed")
    return tmp_path / "committed" / "desk"


def keys(*pairs):
    return [{"task": task, "rank": rank} for task, rank in pairs]


GRID = keys(("MRPC", 1), ("MRPC", 4), ("QQP", 1), ("QQP", 4))


def finished(study, folder, seconds):
    ledger = Ledger.of(study, folder)
    for key, time in zip(GRID, seconds, strict=False):
        ledger.add(key, {}, time, "")


def make(study, folder):
    return Plan([(study, GRID)], "desk", folder)


def test_what_is_finished_is_not_planned_again(committed, tmp_path):  # noqa: ARG001
    study = made_up()
    finished(study, tmp_path, [10])
    plan = make(study, tmp_path)
    assert [cell.key for cell in plan.pending] == GRID[1:]
    assert (plan.done, plan.total) == (1, 4)


def test_time_is_the_mean_of_the_cells_most_alike(committed, tmp_path):  # noqa: ARG001
    study = made_up()
    finished(study, tmp_path, [10, 30, 50])
    plan = make(study, tmp_path)
    (left,) = plan.pending
    assert left.key == GRID[3]
    assert plan.expected(left) == 40  # MRPC at rank 4 and QQP at rank 1; not MRPC at rank 1
    assert plan.time_left(jobs=1) == 40
    assert plan.time_left(jobs=2) == 20


def test_a_cell_that_ends_counts_for_the_next(committed, tmp_path):  # noqa: ARG001
    plan = make(made_up(), tmp_path)
    assert plan.time_left(jobs=1) is None
    first = plan.pending[0]
    first.ledger.add(first.key, {}, 12, "")
    plan.finished(first)
    assert plan.done == 1
    assert plan.time_left(jobs=1) == 36


def test_committed_times_stand_in_at_the_pace_of_this_machine(committed, tmp_path):
    study = made_up()
    finished(study, committed, [10, 20, 30, 40])
    plan = make(study, tmp_path)
    assert plan.done == 0
    assert plan.time_left(jobs=1) == 100
    finished(study, tmp_path, [20])
    assert make(study, tmp_path).time_left(jobs=1) == 2 * (20 + 30 + 40)


def test_a_plan_and_a_run_that_goes_on_expect_the_same(committed, tmp_path):
    study = made_up()
    finished(study, committed, [10, 20, 30, 40])
    running = make(study, tmp_path)
    first = running.pending[0]
    first.ledger.add(first.key, {}, 30, "")
    running.finished(first)
    assert running.time_left(jobs=1) == make(study, tmp_path).time_left(jobs=1) == 3 * 90


def test_times_of_other_settings_do_not_count(committed, tmp_path):
    finished(made_up(settings=Settings(rate=3)), committed, [10])
    assert make(made_up(), tmp_path).time_left(jobs=1) is None


def test_cells_that_are_timed_do_not_share_the_cores(committed, tmp_path):  # noqa: ARG001
    study = made_up(alone=True)
    finished(study, tmp_path, [10])
    assert make(study, tmp_path).time_left(jobs=2) == 30


def test_the_table_says_what_is_done_and_how_long_the_rest_takes(committed, tmp_path):  # noqa: ARG001
    done, unknown = made_up(), made_up(name="unknown")
    finished(done, tmp_path, [60])
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(Plan([(done, GRID), (unknown, GRID)], "desk", tmp_path).table(jobs=2))
    lines = [line.replace("│", " ").split() for line in console.export_text().splitlines()]
    assert ["made-up", "4", "1", "1", "min", "30", "s"] in lines
    assert ["unknown", "4", "0", "not", "known", "yet"] in lines


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(59.4, "59 s"), (90, "1 min 30 s"), (3599.6, "1 h 00 min"), (7260, "2 h 01 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
