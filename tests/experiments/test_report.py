"""The committed report is what the committed ledgers say."""

from __future__ import annotations

import re
import shutil

import pytest

from experiments.plan import COMMITTED
from experiments.report import EXPERIMENTS, write

DESK = COMMITTED / "desk"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of a copy of the committed ledgers, and where it is."""
    folder = tmp_path_factory.mktemp("experiments")
    shutil.copytree(DESK, folder / "results" / "desk")
    return write(folder / "results" / "desk", "desk")


def test_the_committed_report_is_current(report):
    committed = COMMITTED.parent / "RESULTS.md"
    assert report.read_text(encoding="utf-8") == committed.read_text(encoding="utf-8"), (
        "python -m experiments report"
    )


def test_every_figure_that_the_report_shows_is_there_and_committed(report):
    links = re.findall(r"!\[[^]]*\]\(([^)]+)\)", report.read_text(encoding="utf-8"))
    assert links
    for link in links:
        assert (report.parent / link).stat().st_size > 0
        assert (COMMITTED.parent / link).exists(), "python -m experiments report"


def test_a_report_without_any_cell_says_so(tmp_path):
    text = write(tmp_path, "desk").read_text(encoding="utf-8")
    assert text.count("Not run yet.") == len(EXPERIMENTS)
