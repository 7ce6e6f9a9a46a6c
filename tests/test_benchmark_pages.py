"""The pages of benchmarks/ are what its kept results come to, and its modules can be imported."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

import benchmarks.__main__ as command
from benchmarks import cleaning, others, scale

HERE = Path(command.__file__).parent
ALONE = {"qlora"}
"""Needs a GPU's libraries to be imported."""
MODULES = [path.stem for path in HERE.glob("*.py") if path.stem not in {"__main__", *ALONE}]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_finds_what_it_imports(name):
    importlib.import_module(f"benchmarks.{name}")


def test_the_page_is_what_the_kept_results_come_to():
    assert (HERE / "RESULTS.md").read_text(encoding="utf-8") == command.page()


def test_the_page_of_cleaning_is_too():
    content = json.loads(cleaning.KEPT.read_text(encoding="utf-8"))
    assert cleaning.PAGE.read_text(encoding="utf-8") == cleaning.page(content)


def test_the_one_rank_is_no_worse_than_any_signal():
    """What COMBINED was chosen by."""
    seeds = json.loads(cleaning.KEPT.read_text(encoding="utf-8"))["seeds"]
    assert len(seeds) == 5
    for one in seeds:
        assert one["precision"]["suspicion"] == max(one["precision"].values())


def test_the_cost_model_s_tables_are_too():
    found = json.loads((HERE / "results/scale.json").read_text(encoding="utf-8"))["found"]
    text = scale.PAGE.read_text(encoding="utf-8")
    assert scale.with_tables(text, found) == text


def test_other_tools_are_kept_one_by_one_with_their_machines(monkeypatch):
    monkeypatch.setattr(
        others, "measured", lambda _, tool, only: {"peer": tool, "error": only, "machine": "new"}
    )
    kept = {"trak": [{"peer": "trak", "error": "gone", "machine": "old"}]}
    steps = list(others.run(None, ["released", "datainf"], kept))
    assert [list(step) for step in steps] == [["trak", "datainf"], ["trak", "datainf", "released"]]
    text = "\n".join(others.lines(steps[-1]))
    assert text.index("| datainf ") < text.index("| released ") < text.index("| trak ")
    assert "- trak was measured on old" in text
    assert "measured on" not in "\n".join(others.lines({"trak": kept["trak"]}))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["warp"], "no section warp"),
        (["growth"], "--data is needed"),
        (["others", "--tools", "trak"], "no environment for trak in --envs None"),
        (["others", "--envs", "nowhere", "--tools", "trka"], "no environment for trka"),
    ],
)
def test_arguments_that_make_no_sense_change_no_results(monkeypatch, capsys, arguments, said):
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    with pytest.raises(SystemExit):
        command.main()
    assert said in capsys.readouterr().err
