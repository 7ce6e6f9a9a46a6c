"""The committed report is what the committed ledgers say."""

from __future__ import annotations

import json
import re
import shutil
from importlib import import_module

import pytest

from experiments.cells import Ledger, study
from experiments.finished import EXPERIMENTS, read
from experiments.plan import COMMITTED
from experiments.report import section, write

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


def test_a_figure_of_the_paper_stands_beside_ours(report):
    text = report.read_text(encoding="utf-8")
    table = text.split("## The paper's figures")[1].split("\n## ")[0]
    row = next(line for line in table.splitlines() if "datainf with exact, MRPC" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    found = [
        line["result"]["agreement"]["none, tensor"]["datainf"]["pearson"]
        for line in map(json.loads, (DESK / "glue.jsonl").read_text().splitlines())
        if line["key"]["task"] == "MRPC" and line["key"]["rank"] == 1
        and line["key"]["labels"] == "noisy"
    ]  # fmt: skip
    assert cells[1] == ".64"
    assert float(cells[2].split(" ± ")[0]) == pytest.approx(sum(found) / len(found), abs=6e-4)
    assert cells[5] == str(len(found))


def test_findings_are_said_of_the_committed_runs_alone(report, tmp_path):
    assert "**Findings.**" in report.read_text(encoding="utf-8")
    other = Ledger.of(study("glue", "quick"), tmp_path)
    line = json.loads((DESK / "glue.jsonl").read_text().splitlines()[0])
    key = {"task": "made-up", "labels": "noisy", "rank": 1, "seed": 0}
    other.add(key, line["result"], 1.0, "a machine")
    assert "Findings" not in write(tmp_path, "quick").read_text(encoding="utf-8")


def test_findings_are_not_said_of_a_run_that_found_something_else(report, tmp_path):
    folder = tmp_path / "desk"
    shutil.copytree(DESK, folder)
    file = folder / "adapters.jsonl"
    first, *others = file.read_text(encoding="utf-8").splitlines()
    line = json.loads(first)
    line["result"]["rows"] += 1
    file.write_text("\n".join([json.dumps(line), *others]) + "\n", encoding="utf-8")
    changed, text = read(folder, "desk"), report.read_text(encoding="utf-8")
    for name, still in (("adapters", False), ("runtime", True)):
        assert _has_findings(text, name)
        assert _has_findings("\n".join(section(changed, name)), name) == still


def _has_findings(text, name):
    title = import_module(f"experiments.sections.{name}").TITLE
    return "**Findings.**" in text.split(f"## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("name", [name for name, needed in EXPERIMENTS.items() if len(needed) > 1])
def test_a_section_stands_on_the_first_of_its_studies(name, tmp_path):
    for lacking in EXPERIMENTS[name][1:]:
        folder = tmp_path / lacking
        shutil.copytree(DESK, folder, ignore=shutil.ignore_patterns(f"{lacking}.jsonl"))
        text = "\n".join(section(read(folder, "desk"), name))
        assert "|---|" in text
        assert not _has_findings(text, name)
