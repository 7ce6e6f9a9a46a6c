"""Ledgers: what is finished is found again, and nothing that was made otherwise."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace

import pytest
from made_up import Inner, Settings, made_up

from experiments.cells import PACKAGES, Ledger, Scale, name, study

KEY = {"task": "MRPC", "rank": 4, "seed": 0}
OTHER = {"task": "MRPC", "rank": 4, "seed": 1}


def ledger(folder, settings=None):
    return Ledger.of(made_up(settings=settings), folder)


def test_a_finished_cell_is_found_again(tmp_path):
    first = ledger(tmp_path)
    first.add(KEY, {"auc": 0.75}, 1.26, "a machine")
    again = ledger(tmp_path)
    assert KEY in again
    assert OTHER not in again
    assert again.line(KEY) == {
        "key": KEY, "settings": made_up().fingerprint, "seconds": 1.3, "machine": "a machine",
        "result": {"auc": 0.75},
    }  # fmt: skip
    assert first.lines == again.lines


@pytest.mark.parametrize("cut", [1, 20])
def test_a_torn_last_line_costs_its_cell_alone(tmp_path, cut):
    written = ledger(tmp_path)
    written.add(KEY, {"auc": 0.75}, 1, "")
    written.add(OTHER, {"auc": 0.5}, 1, "")
    whole = written.file.read_bytes()
    written.file.write_bytes(whole[:-cut] if cut > 1 else whole[:-2])
    torn = ledger(tmp_path)
    assert KEY in torn
    assert OTHER not in torn
    torn.add(OTHER, {"auc": 0.25}, 1, "")
    again = ledger(tmp_path)
    assert [again.line(key)["result"] for key in (KEY, OTHER)] == [{"auc": 0.75}, {"auc": 0.25}]


@pytest.mark.parametrize("line", [
    b"[1]", b"null", b"{}", b'{"key": {}, "settings": "a"}', b"\xff\xfe", b"[" * 100_000,
    b'{"key": 1, "settings": "a", "seconds": 1, "machine": "", "result": {}}',
])  # fmt: skip
def test_a_line_that_is_none_is_named_and_costs_nothing_else(tmp_path, line):
    written = ledger(tmp_path)
    written.add(KEY, {"auc": 0.75}, 1, "")
    with written.file.open("ab") as file:
        file.write(line + b"\n")
    written.add(OTHER, {"auc": 0.5}, 1, "")
    again = ledger(tmp_path)
    assert again.broken == [2]
    assert KEY in again
    assert OTHER in again


def test_a_line_without_its_newline_is_kept_and_not_run_into(tmp_path):
    written = ledger(tmp_path)
    written.add(KEY, {"auc": 0.75}, 1, "")
    written.file.write_bytes(written.file.read_bytes()[:-1])
    ledger(tmp_path).add(OTHER, {"auc": 0.5}, 1, "")
    again = ledger(tmp_path)
    assert KEY in again
    assert OTHER in again


@pytest.mark.parametrize("changed", [Settings(rate=0.2), Settings(inner=Inner(rows=4))])
def test_cells_of_other_settings_do_not_count_and_are_kept(tmp_path, changed):
    ledger(tmp_path).add(KEY, {"auc": 0.75}, 1, "")
    assert KEY not in ledger(tmp_path, changed)
    ledger(tmp_path, changed).add(KEY, {"auc": 0.5}, 1, "")
    assert ledger(tmp_path).line(KEY)["result"] == {"auc": 0.75}
    assert ledger(tmp_path, changed).line(KEY)["result"] == {"auc": 0.5}


def test_more_seeds_and_another_place_of_the_data_keep_what_is_done(tmp_path):
    ledger(tmp_path).add(KEY, {"auc": 0.75}, 1, "")
    more = Settings(seeds=9, data=tmp_path, inner=Inner(seeds=9))
    assert KEY in ledger(tmp_path, more)


def test_floats_are_rounded_to_six_digits_wherever_they_stand(tmp_path):
    result = {"a": 1 / 3, "b": [2e9 / 3, {"c": (1e-9 / 3, 7, True, None, "0.123456789")}]}
    written = ledger(tmp_path)
    written.add(KEY, result, 1, "")
    rounded = {"a": 0.333333, "b": [666667000, {"c": [3.33333e-10, 7, True, None, "0.123456789"]}]}
    assert json.loads(written.file.read_text())["result"] == rounded
    assert written.line(KEY)["result"] == rounded


def test_select_finds_by_values_of_the_key(tmp_path):
    written = ledger(tmp_path)
    for key in (OTHER, KEY, KEY | {"task": "QQP"}):
        written.add(key, {}, 1, "")
    assert [line["key"] for line in written.select(task="MRPC", rank=4)] == [KEY, OTHER]
    assert written.select(rank=8) == []


def test_a_key_has_a_name_of_one_line():
    assert name(KEY) == "MRPC-rank=4-seed=0"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_cell_of_a_study_has_a_name_of_its_own(package, tmp_path):
    for scale in Scale:
        made = study(package, scale, tmp_path)
        assert len({name(key) for key in made.keys}) == len(made.keys)
        assert made.keys or (package in ("fullsize", "retraining") and scale == "paper")
        assert made.fingerprint == study(package, scale).fingerprint
    prints = {study(package, scale).fingerprint for scale in Scale}
    assert len(prints) == len(Scale)


def test_planning_loads_no_torch():
    code = (
        "import sys\nfrom experiments import plan\nfrom experiments.cells import study\n"
        f"for name in {tuple(PACKAGES)}: study(name, 'desk')\n"
        "print(*{'torch', 'transformers', 'peft'} & set(sys.modules), end='')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_settings_replaced_by_themselves_have_the_same_fingerprint():
    assert made_up(settings=replace(Settings())).fingerprint == made_up().fingerprint


def test_other_weights_of_a_base_that_we_carry_make_other_cells(tmp_path, monkeypatch):
    @dataclass(frozen=True)
    class Based:
        base: str = "bases:small"

    monkeypatch.setattr("experiments.shipped.BASES", tmp_path)
    (tmp_path / "small").mkdir()
    prints = []
    for weights in (b"first", b"second", b"first"):
        (tmp_path / "small" / "model.safetensors").write_bytes(weights)
        prints.append(made_up(settings=Based()).fingerprint)
    assert prints[0] == prints[2] != prints[1]
    assert made_up(settings=Based("elsewhere/small")).fingerprint not in prints


def test_cells_of_another_grid_do_not_count(tmp_path):
    study = made_up("work", "work")
    both = Ledger.of(study, tmp_path)
    for key in study.keys:
        both.add(key, {}, 1.0, "here")
    fewer = both.within(study.keys[:1])
    assert [line["key"] for line in fewer.select()] == study.keys[:1]
    assert len(both.select()) == 2
