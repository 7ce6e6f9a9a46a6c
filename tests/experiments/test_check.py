"""Committed figures against a second run of their cells."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from experiments import __main__ as main
from experiments.cells import Ledger, study
from experiments.check import compare, sample

KEY = {"adapter": "LoRA", "seed": 0}


def test_figures_are_compared_wherever_they_are_and_times_are_not():
    known = {
        "auc": {"a": 0.5, "b": 0.25}, "path": [1, 2.0], "kind": "LoRA", "gone": 3,
        "seconds": {"train": 4.0}, "score_seconds": {"a": 1.0}, "passes": {"ratio": 2.0},
    }  # fmt: skip
    found = {
        "auc": {"a": 0.5, "b": 0.2}, "path": [1, 4.0], "kind": "DoRA", "new": 3,
        "seconds": {"train": 9.0}, "score_seconds": {"a": 9.0}, "passes": {"ratio": 9.0},
    }  # fmt: skip
    same = compare(KEY, "adapters", known, known)
    assert (same.figures, same.different, same.worst) == (5, {}, None)
    other = compare(KEY, "adapters", known, found)
    assert other.cell == "adapters LoRA-seed=0"
    assert other.figures == 4
    assert other.different == {"/auc/b": (0.25, 0.2), "/path/1": (2.0, 4.0)}
    assert other.worst == ("/path/1", pytest.approx(0.5))


def test_a_sample_has_finished_cells_alone_and_none_that_are_timed(tmp_path):
    wanted = [(made, made.keys) for made in (study("text", "quick"), study("runtime", "quick"))]
    known = {made.name: Ledger.of(made, tmp_path) for made, _ in wanted}
    assert sample(wanted, known, 3, 0) == []
    text, runtime = wanted
    known["text"].add(text[1][1], {}, 1.0, "a machine")
    known["runtime"].add(runtime[1][0], {}, 1.0, "a machine")
    assert sample(wanted, known, 3, 0) == [(text[0], [text[1][1]])]


@pytest.mark.parametrize(("found", "code", "said"), [
    ({"auc": 0.5}, 0, "all 1 figures are the same"),
    ({"auc": 0.4}, 1, "1 of 1 figures differ, most by 0.2 of the larger: /auc"),
])  # fmt: skip
def test_the_command_says_what_differs(tmp_path, monkeypatch, found, code, said):
    text = study("text", "quick")
    Ledger.of(text, tmp_path).add(text.keys[0], {"auc": 0.5}, 1.0, "a machine")
    before = (tmp_path / "text.jsonl").read_text()

    def in_place_of_processes(plan, **_):
        for cell in list(plan.pending):
            cell.ledger.add(cell.key, found, 1.0, "a machine")
        return []

    monkeypatch.setattr(main, "work", in_place_of_processes)
    done = CliRunner().invoke(
        main.app, ["check", "text", "--scale", "quick", "--out", str(tmp_path)]
    )
    assert done.exit_code == code, done.output
    assert said in " ".join(done.output.split())
    assert (tmp_path / "text.jsonl").read_text() == before
    assert json.loads(before)["result"] == {"auc": 0.5}
