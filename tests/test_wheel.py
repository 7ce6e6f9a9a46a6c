"""What is asked of wheel and sdist; `make wheel` builds both and installs where nothing else is."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
check_wheel = importlib.import_module("check_wheel")

GOOD = [*check_wheel.NEEDED, "datainf/__init__.py", "datainf-0.1.0.dist-info/licenses/LICENSE"]

GOOD_SDIST = [
    f"datainf-0.1.0/{name}"
    for name in (
        *(f"src/{name}" for name in check_wheel.NEEDED),
        "PKG-INFO", "LICENSE", "README.md", "pyproject.toml",
    )
]  # fmt: skip


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


def test_a_good_sdist():
    assert check_wheel.sdist_faults(GOOD_SDIST, 1000) == []


def test_what_is_wrong_with_an_sdist_is_named():
    faults = check_wheel.sdist_faults
    for odd in ("tests/a.py", ".ci/run", "src/datainf/__pycache__/a.pyc"):
        name = odd if "__pycache__" in odd else odd.partition("/")[0]
        assert faults([*GOOD_SDIST, f"datainf-0.1.0/{odd}"], 1000) == [f"{name} is no part of it"]
    assert faults(GOOD_SDIST[:-1], 1000) == ["pyproject.toml is not there"]
    assert faults(GOOD_SDIST[1:], 1000) == ["src/datainf/py.typed is not there"]
    assert faults(GOOD_SDIST, 10**9) == ["1,000,000,000 bytes are too many"]
