"""The ground truth: trainings are done once, kept, and refused where they are of something else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from datainf.errors import (
    NonFiniteError,
    OptionError,
    StoreBusyError,
    StoreCorruptError,
    StoreMismatchError,
)
from datainf.evaluation import GroundTruth, Training, random_parts
from datainf.files import locked

N, M = 10, 3
RECIPE = {"train": "a sum of rows"}


def losses_of(rows, seed):
    return [sum(rows) + q / 10 + seed / 100 for q in range(M)]


class Counting:
    """A training function that knows what it was asked."""

    def __init__(self, fail_at=None):
        self.asked = []
        self.fail_at = fail_at

    def __call__(self, rows, seed):
        if len(self.asked) == self.fail_at:
            raise RuntimeError("out of memory")
        self.asked.append((tuple(rows), seed))
        return losses_of(rows, seed)


@pytest.fixture
def parts():
    return random_parts(N, 4)


def truth(folder, **changed):
    return GroundTruth(folder, **({"n": N, "m": M, "recipe": RECIPE} | changed))


def test_losses_are_of_each_part_and_seed(tmp_path, parts):
    found = truth(tmp_path).losses(parts, [0, 7], Counting())
    assert found.shape == (4, 2, M)
    for s, part in enumerate(parts):
        for k, seed in enumerate((0, 7)):
            rows = part.nonzero()[:, 0].tolist()
            expected = torch.tensor(losses_of(rows, seed), dtype=torch.float64)
            assert torch.equal(found[s, k], expected)


def test_what_is_known_is_not_trained_again(tmp_path, parts):
    first = Counting()
    before = truth(tmp_path).losses(parts[:2], [0], first)
    assert len(first.asked) == 2
    more = Counting()
    after = truth(tmp_path).losses(parts, [0, 1], more)
    assert len(more.asked) == 8 - 2
    assert not set(first.asked) & set(more.asked)
    torch.testing.assert_close(after[:2, 0], before[:, 0])
    none = Counting()
    assert torch.equal(truth(tmp_path).losses(parts, [0, 1], none), after)
    assert none.asked == []


def test_an_error_in_the_middle_keeps_what_was_finished(tmp_path, parts):
    broken = Counting(fail_at=3)
    with pytest.raises(RuntimeError, match="out of memory"):
        truth(tmp_path).losses(parts, [0, 1], broken)
    more = Counting()
    found = truth(tmp_path).losses(parts, [0, 1], more)
    assert len(more.asked) == 5
    assert torch.equal(found, truth(tmp_path / "undisturbed").losses(parts, [0, 1], Counting()))


def test_trainings_side_by_side_come_out_the_same(tmp_path, parts):
    found = truth(tmp_path / "a").losses(parts, [0, 1], Counting(), jobs=4)
    assert torch.equal(found, truth(tmp_path / "b").losses(parts, [0, 1], Counting()))


def test_losses_that_are_not_finite_are_refused_by_name(tmp_path, parts):
    def diverges(rows, seed):
        return [1.0, float("nan"), 1.0] if seed else losses_of(rows, seed)

    with pytest.raises(NonFiniteError, match="5 rows with seed 1 gave query 1 the loss nan"):
        truth(tmp_path).losses(parts, [0, 1], diverges)
    assert Training(tuple(parts[0].nonzero()[:, 0].tolist()), 0) in truth(tmp_path)
    with pytest.raises(OptionError, match="gave 1 losses for 3 queries"):
        truth(tmp_path / "few").losses(parts, [0], lambda *_: [1.0])


def test_a_folder_of_other_trainings_is_refused(tmp_path, parts):
    truth(tmp_path).losses(parts, [0], Counting())
    for changed in ({"n": N + 1}, {"m": M + 1}, {"recipe": {"train": "another"}}):
        with pytest.raises(StoreMismatchError, match=next(iter(changed))):
            truth(tmp_path, **changed)


def test_a_torn_line_costs_its_training_alone(tmp_path, parts):
    whole = truth(tmp_path).losses(parts, [0], Counting())
    file = tmp_path / "retrained.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    more = Counting()
    assert torch.equal(truth(tmp_path).losses(parts, [0], more), whole)
    assert len(more.asked) == 1
    file.write_text(json.dumps({"training": "x", "losses": [1.0]}) + "\n")
    with pytest.raises(StoreCorruptError, match="line 1"):
        truth(tmp_path)


def test_one_process_trains_at_a_time(tmp_path, parts):
    with locked(tmp_path), pytest.raises(StoreBusyError):
        truth(tmp_path).losses(parts, [0], Counting())


RUN = """
import sys, time
from pathlib import Path
from datainf.evaluation import GroundTruth, random_parts
def train(rows, seed):
    time.sleep(0.05)
    return [sum(rows) + q / 10 + seed / 100 for q in range({m})]
GroundTruth(Path(sys.argv[1]), {n}, {m}, {recipe}).losses(random_parts({n}, 4), [0, 1], train)
"""


def test_a_killed_run_goes_on_with_no_training_repeated(tmp_path, parts):
    script = tmp_path / "run.py"
    script.write_text(RUN.format(n=N, m=M, recipe=RECIPE))
    lines = tmp_path / "truth" / "retrained.jsonl"
    with subprocess.Popen([sys.executable, script, tmp_path / "truth"]) as started:
        end = time.monotonic() + 60
        while not lines.exists() or lines.read_bytes().count(b"\n") < 3:
            assert time.monotonic() < end
            time.sleep(0.01)
        os.kill(started.pid, signal.SIGKILL)
    done = lines.read_bytes().count(b"\n")
    more = Counting()
    found = truth(tmp_path / "truth").losses(parts, [0, 1], more)
    assert len(more.asked) == 8 - done > 0
    assert torch.equal(found, truth(tmp_path / "undisturbed").losses(parts, [0, 1], Counting()))


def test_parts_are_random_of_one_size_and_the_first_stay(parts):
    assert parts.sum(dim=1).tolist() == [5] * 4
    assert torch.equal(random_parts(N, 9)[:4], parts)
    assert not torch.equal(random_parts(N, 4, seed=1), parts)
    assert random_parts(200, 300).double().mean(dim=0).std() < 0.05
    for share, count in ((0, 1), (1, 1), (0.01, 1), (0.5, 0)):
        with pytest.raises(OptionError):
            random_parts(N, count, share=share)


def test_what_runs_beside_a_failure_is_kept_and_nothing_new_is_begun(tmp_path, parts):
    begun = []

    def train(rows, seed):
        begun.append(seed)
        if seed == 1:
            raise RuntimeError("out of memory")
        time.sleep(0.3)
        return losses_of(rows, seed)

    with pytest.raises(RuntimeError, match="out of memory"):
        truth(tmp_path).losses(parts[:1], [0, 1, 2, 3, 4], train, jobs=2)
    assert set(begun) <= {0, 1, 2}
    kept = truth(tmp_path)
    rows = tuple(parts[0].nonzero()[:, 0].tolist())
    assert [seed for seed in range(5) if Training(rows, seed) in kept] == sorted(set(begun) - {1})
