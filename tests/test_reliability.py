"""A few of each: killed runs go on to the same bytes, flipped bits are found. The tables of
docs/reliability.md are what the scripts found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import reliability.__main__ as command
from reliability import flips, kills


def test_killed_runs_go_on_to_the_same_bytes(tmp_path):
    found = kills.trials(tmp_path, moments=6, ranks=1, seed=1)
    assert len(found["trials"]) == 6
    assert all(one["resumed"] and one["identical"] for one in found["trials"]), found


def test_flipped_bits_are_found(tmp_path):
    found = flips.flips(tmp_path, count=40, seed=1)
    assert sum(found["tried"].values()) == 40
    assert found["missed"] == []
    assert found["named"] == found["tried"]


def test_broken_files_are_refused(tmp_path):
    """In a process of its own, whose memory is bounded."""
    code = (
        "import sys, json; from pathlib import Path; from reliability import fuzz; "
        "print(json.dumps(fuzz.fuzz(Path(sys.argv[1]), 600, 3)))"
    )
    root = Path(command.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=root, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["failures"] == []
    outcomes = {name for counts in found["outcomes"].values() for name in counts}
    assert outcomes == {"read", "refused"}


def test_the_page_is_what_the_kept_results_come_to():
    assert command.PAGE.read_text(encoding="utf-8") == command.page()
