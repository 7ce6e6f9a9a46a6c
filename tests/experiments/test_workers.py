"""Workers: real processes, that finish, fail, die, and are killed with what started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_up import made_up

from experiments.cells import Ledger, kept
from experiments.plan import Plan
from experiments.workers import LOG, work


def run(study, folder, **options):
    lines: list[str] = []
    plan = Plan([(study, study.keys)], "made-up", folder)
    failures = work(plan, **({"jobs": 1, "minutes": None} | options), say=lines.append)
    return failures, lines


def results(study, folder):
    return {line["key"]["seed"]: line["result"] for line in Ledger.of(study, folder).lines.values()}


def test_cells_finish_in_processes_of_their_own_and_say_nothing_here(tmp_path, capfd):
    study = made_up("work", "fail", "work")
    failures, lines = run(study, tmp_path)
    done = results(study, tmp_path)
    assert list(done) == [0, 2]
    assert done[0]["process"] == done[2]["process"] != os.getpid()
    assert [line.split("  ")[:3] for line in lines] == [
        ["1/3", "made-up work-seed=0", "0 s"],
        ["1/3", "made-up fail-seed=1", "FAILED"],
        ["2/3", "made-up work-seed=2", "0 s"],
    ]
    (failure,) = failures
    assert failure.cell.key == study.keys[1]
    assert "ValueError: this cell cannot be" in failure.error
    assert failure.cause == "ValueError: this cell cannot be"
    assert capfd.readouterr() == ("", "")
    log = (tmp_path / LOG).read_text()
    assert log.count("said on the way") == log.count("and complained") == 3


def test_a_study_whose_cells_all_fail_alike_is_given_up(tmp_path):
    study = made_up("work", *["fail"] * 6, "work")
    failures, lines = run(study, tmp_path)
    assert [failure.cell.key["seed"] for failure in failures] == [1, 2, 3]
    assert lines[-1] == "made-up: 3 cells in a row ended in the same error; 4 more are not tried"
    assert list(results(study, tmp_path)) == [0]


def test_cells_that_fail_between_others_are_no_reason_to_give_up(tmp_path):
    study = made_up("fail", "fail", "work", "fail", "fail", "work")
    failures, _ = run(study, tmp_path)
    assert len(failures) == 4
    assert list(results(study, tmp_path)) == [2, 5]


def test_a_process_that_dies_costs_what_ran_then_alone(tmp_path):
    study = made_up("work", "die", "work")
    failures, _ = run(study, tmp_path)
    assert list(results(study, tmp_path)) == [0, 2]
    (failure,) = failures
    assert failure.cell.key == study.keys[1]
    assert "died" in failure.error


def test_what_a_cell_leaves_stays_beside_the_ledgers(tmp_path):
    study = made_up("leave", "work")
    run(study, tmp_path)
    left = kept(tmp_path, study.name, study.keys[0])
    assert [file.name for file in left.iterdir()] == ["picture.png"]
    assert not kept(tmp_path, study.name, study.keys[1]).exists()


def test_timed_cells_have_all_cores_and_the_others_share_them(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)  # torch takes no more than there are
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for study, threads in ((made_up("count"), 1), (made_up("count", alone=True, name="timed"), 2)):
        run(study, tmp_path, jobs=2)
        assert results(study, tmp_path)[0]["threads"] == threads


def test_nothing_starts_that_would_not_end_in_time(tmp_path):
    study = made_up("work", "work")
    ledger = Ledger.of(study, tmp_path)
    ledger.add(study.keys[0], {}, 90, "")
    assert run(study, tmp_path, minutes=1) == ([], [])
    assert study.keys[1] not in Ledger.of(study, tmp_path)
    run(study, tmp_path, minutes=2)
    assert study.keys[1] in Ledger.of(study, tmp_path)


RUN = """
from pathlib import Path
from made_up import made_up
from experiments.plan import Plan
from experiments.workers import work
if __name__ == "__main__":
    study = made_up("work", "wait", "work")
    work(Plan([(study, study.keys)], "made-up", Path({folder!r})), jobs=1, minutes=None, say=print)
"""


def test_a_killed_run_keeps_its_finished_cells_and_leaves_no_process(tmp_path):
    script, here = tmp_path / "killed.py", Path(__file__).parent
    script.write_text(RUN.format(folder=str(tmp_path)))
    study = made_up("work", "wait", "work")
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.DEVNULL, env=_with_root(here)
    ) as started:
        try:
            wait_until(lambda: (tmp_path / LOG).exists() and _said(tmp_path) == 2)
        finally:
            started.send_signal(signal.SIGKILL)
    done = results(study, tmp_path)
    assert list(done) == [0]
    wait_until(lambda: not Path(f"/proc/{done[0]['process']}").exists())
    again = made_up("work", "work", "work")
    again.keys[1] = study.keys[1] | {"does": "work"}
    _, lines = run(again, tmp_path)
    assert len(lines) == 2
    assert results(again, tmp_path)[0] == done[0]
    assert sorted(results(again, tmp_path)) == [0, 1, 2]


def _with_root(here):
    """The environment in which a worker, which starts anew, finds the packages of the tree."""
    return os.environ | {"PYTHONPATH": f"{here}{os.pathsep}{here.parents[1]}"}


def _said(folder):
    return (folder / LOG).read_text().count("said on the way")


def wait_until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            pytest.fail("it did not come to be")
        time.sleep(0.05)
