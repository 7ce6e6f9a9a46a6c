"""What is asked of the wheel; `make wheel` builds one and installs it where nothing else is."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
check_wheel = importlib.import_module("check_wheel")

GOOD = [*check_wheel.NEEDED, "datainf/__init__.py", "datainf-0.1.0.dist-info/licenses/LICENSE"]


def test_a_good_one():
    assert check_wheel.faults(GOOD, 1000) == []


def test_what_is_wrong_is_named():
    assert check_wheel.faults([*GOOD, "tests/a.py"], 1000) == ["tests is at the top"]
    assert check_wheel.faults(GOOD[1:], 1000) == ["datainf/py.typed is not there"]
    assert check_wheel.faults(GOOD[:-1], 1000) == ["the licence is not there"]
    assert check_wheel.faults(GOOD, 10**9) == ["1,000,000,000 bytes are too many"]
    assert check_wheel.faults([*GOOD, "datainf/__pycache__/a.pyc"], 1) == [
        "datainf/__pycache__/a.pyc is no part of it"
    ]
