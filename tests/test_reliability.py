"""A few of each: killed runs go on to the same bytes, flipped bits are found. The tables of
docs/reliability.md are what the scripts found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import late_ranks
import reliability.__main__ as command
from datainf.gradients.collector import BATCH_TOKENS
from datainf.store import Index
from datainf.store.writer import NOTE
from reliability import again, flips, guided, kills, nodes, scoring, script
from reliability.phases import FINISHED
from reliability.processes import Command, Forked, ends_well, kill, of_ranks, outlived
from reliability.work import Work, contents

ROOT = Path(command.__file__).parents[1]
NAMES = [name for _, _, results in command.SECTIONS for name, _ in results]


def assert_all_went_on(found):
    assert all(one["resumed"] and one["identical"] for one in found["trials"]), found


def test_killed_runs_go_on_to_the_same_bytes(tmp_path):
    found = kills.trials(tmp_path, moments=6, ranks=1, seed=1, rows=60)
    assert len(found["trials"]) == 6
    assert len({one["phase"] for one in found["trials"]} - {FINISHED}) >= 4
    assert_all_went_on(found)


def test_one_of_several_processes_is_killed(tmp_path):
    """Another, the first, and torchrun, with which the others end."""
    found = kills.trials(tmp_path, moments=3, ranks=2, seed=1, rows=60)
    assert {one["victim"] for one in found["trials"]} == {kills.OTHER, kills.FIRST, kills.TORCHRUN}
    assert_all_went_on(found)
    for one in found["trials"]:
        assert one["victim"] != kills.TORCHRUN or (one["outlived"] is not None and one["free"])


def test_what_decides_the_batches_is_noted_before_the_first_shard(tmp_path):
    """So that another start makes the same ones, whatever memory there is then."""
    work, out = Work(tmp_path / "work", rows=60).make(), tmp_path / "run"
    process = Command(work.attribute(out), tmp_path / "log", of_ranks(2)).begin()
    while not list((out / "train").glob(f"shard-*{NOTE}")):
        assert process.poll() is None
    assert outlived(kill(process)) is not None
    assert Index.load(out / "train").notes[BATCH_TOKENS] > 0


def test_killed_scoring_leaves_the_same_files(tmp_path):
    found = scoring.trials(tmp_path, moments=4, seed=1, rows=60, queries=8)
    assert {one["command"] for one in found["trials"]} == {"score", "attribute"}
    assert_all_went_on(found)


def test_kills_in_a_row_leave_no_more_than_one(tmp_path):
    found = again.trials(tmp_path, runs=1, kills=4, ranks=2, seed=1, rows=60)
    assert_all_went_on(found)
    after = found["trials"][0]["after"]
    assert all(one["gone"] and one["free"] for one in after)
    assert all(one["unfinished"] <= 4 for one in after), "two shards, and what is beside them"
    assert all(one["bytes"] < 1.2 * found["bytes"] for one in after)


def test_processes_that_die_are_started_again_and_wait_for_one_that_is_late(tmp_path):
    """The first runs ahead: what it writes meanwhile is not what the late one is to go by."""
    work, options = Work(tmp_path / "work", rows=12).make(), of_ranks(2)

    def ends(name, *late):
        out, log = tmp_path / name, tmp_path / f"{name}.log"
        own = (options, work.attribute(out), log, {}, *late)
        process = Forked(begun_together(), own)
        assert ends_well(process, limit=240), log.read_text(encoding="utf-8")
        return contents(out)

    assert ends("late", late_ranks.late) == ends("whole")


def begun_together():
    from reliability import begun

    return begun.together


@pytest.mark.parametrize("place", [0, 1])
def test_one_of_two_machines_is_killed(tmp_path, place):
    """On the loopback device, with little patience for one that is gone."""
    work, two = Work(tmp_path / "work", rows=60).make(), [nodes.Machine("127.0.0.1", "lo")] * 2
    out = tmp_path / "trial" / "run"
    out.mkdir(parents=True)
    both = nodes.pair(work, out, two, new=False, conf=nodes.IMPATIENT)
    found = nodes.killed(both, out, "collecting train", 0.1, nodes.PLACES[place], "torchrun")
    assert found["resumed"], [one.log.read_text(encoding="utf-8") for one in both.commands]
    alone = tmp_path / "alone" / "run"
    alone.mkdir(parents=True)
    assert ends_well(Command(work.attribute(alone), tmp_path / "log").begin())
    beside = nodes.beside(out, alone)
    assert beside["stores"]
    assert beside["off"] <= 1e-6
    assert not list(out.rglob("*.tmp"))


def test_flipped_bits_are_found(tmp_path):
    found = flips.trials(tmp_path, flips=40, seed=1)
    assert sum(found["tried"].values()) == 40
    assert found["missed"] == []
    assert found["named"] == found["tried"]


def test_broken_files_are_refused(tmp_path):
    """In a process of its own, whose memory is bounded."""
    code = (
        "import sys, json; from pathlib import Path; from reliability import fuzz; "
        "print(json.dumps(fuzz.fuzz(Path(sys.argv[1]), 300, 3)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["failures"] == []
    outcomes = {name for counts in found["outcomes"].values() for name in counts}
    assert outcomes == {"read", "refused"}


def test_files_that_reach_new_branches_are_refused(tmp_path):
    pytest.importorskip("atheris")
    found = guided.one("index.json, forged", tmp_path, runs=200, seed=1)
    assert found["failure"] == ""
    assert found["cases"] >= 200
    assert found["kept"] > 2, "the seed, and what was made of it"


def test_whole_files_are_changed_however_large(tmp_path):
    pytest.importorskip("atheris")
    assert guided.one("a shard", tmp_path, runs=50, seed=1)["failure"] == ""
    seeds = {path.name: path.stat().st_size for path in (tmp_path / "seeds").iterdir()}
    whole = seeds.pop("whole")
    assert whole > guided.ROOM
    assert max(seeds.values()) >= whole


def test_what_is_not_refused_fails_its_kind(tmp_path, monkeypatch):
    """Of a reader whose error is none of ours."""
    pytest.importorskip("atheris")
    (tmp_path / "sitecustomize.py").write_text(
        "import datainf.errors as e; e.DataError = type('DataError', (Exception,), "
        "{'__init__': lambda self, *a, **k: None})\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    (work := tmp_path / "work").mkdir()
    found = guided.one("data, .json", work, runs=300, seed=1)
    assert "DataError" in found["failure"]


def test_the_page_is_what_the_kept_results_come_to():
    assert command.PAGE.read_text(encoding="utf-8") == command.page()


def test_the_kept_results_are_those_of_make_reliability():
    """Each is of one of its commands, with its options."""
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nreliability:")[2]
    recipe = recipe.partition("\n\n")[0]
    asked = [after for line in recipe.splitlines()
             if (after := line.partition(" -m reliability.")[2])]  # fmt: skip
    for name, one in zip(NAMES, asked, strict=True):
        module, *options = one.split()
        assert name.partition("-")[0] == module
        found = script.kept(name)
        assert found is not None, name
        wanted = dict(zip(options[::2], map(int, options[1::2]), strict=True))
        assert wanted.items() <= {f"--{key}": own for key, own in found["options"].items()}.items()
