"""Training again: who is left out, and a cell of the study."""

from __future__ import annotations

import json

import pytest
import torch
from tiny_glue import tiny_base, tiny_settings, without_seconds

import datainf
from experiments.glue.cell import gradients
from experiments.glue.data import split
from experiments.glue.finetune import lora
from experiments.glue.overlap import apart
from experiments.glue.retrain import retrain
from experiments.retraining.cell import run
from experiments.retraining.settings import RetrainingSettings


@pytest.fixture(scope="module")
def settings(tmp_path_factory, tokenizer):
    return tiny_settings(tiny_base(tmp_path_factory.mktemp("base"), tokenizer))


def test_training_again_leaves_out_who_was_chosen(settings, tmp_path):
    rows = split("made-up", settings, 0.2, seed=0)
    n, wrong = len(rows.train), sum(rows.flipped)
    right_first = {"own loss": torch.tensor(rows.flipped).float()}
    found = retrain(right_first, rows, settings, 2, 0, tmp_path)
    assert list(found) == ["own loss", "random", "oracle", "all"]
    kept = round(settings.keep * n)
    assert 0 < wrong <= n - kept
    assert [found[name]["rows"] for name in found] == [kept, kept, kept, n]
    assert found["own loss"]["flipped"] == found["oracle"]["flipped"] == 0
    assert found["all"]["flipped"] == wrong
    assert 0 < found["random"]["flipped"] <= wrong


def test_a_cell_lets_each_arm_choose(settings, tmp_path):
    study = RetrainingSettings(settings, arms=("datainf", "datainf, unit", "own loss"), apart=False)
    key = {"task": "made-up", "rank": 2, "seed": 0}
    found = run(key, study, tmp_path)
    json.dumps(found, allow_nan=False)
    arms = found["retraining"]
    assert list(arms) == ["datainf", "datainf, unit", "own loss", "random", "oracle", "all"]
    assert {name: arm["flipped"] for name, arm in arms.items()}["all"] == found["flipped"] > 0
    assert without_seconds(run(key, study, tmp_path / "again")) == without_seconds(found)


def test_who_is_dropped_comes_from_the_scores_with_their_sign(settings, tmp_path, monkeypatch):
    """Against a choice by hand from the same gradients: the least influence goes."""
    asked = {}
    monkeypatch.setattr(
        "experiments.retraining.cell.retrain",
        lambda suspicion, *_: asked.update(suspicion) or {},
    )
    run(
        {"task": "made-up", "rank": 2, "seed": 0},
        RetrainingSettings(settings, apart=False),
        tmp_path / "a",
    )
    rows = split("made-up", settings, settings.noise, 0)
    done = gradients(rows, settings, lora(settings, 2), 0, tmp_path / "b")
    influence = datainf.attribute(done.train, done.query, "datainf").values.mean(dim=0)
    torch.testing.assert_close(asked["datainf"], -influence)
    torch.testing.assert_close(asked["own loss"], done.train.losses)


def test_test_rows_apart_share_no_four_words_with_a_training_row():
    train = [
        {"text": "a lovely film full of charm", "label": 1},
        {"text": "who was he ?", "text_pair": "a man of means and manners", "label": 0},
    ]
    shared = ["Film Full of Charm and wit", "charm", "full of", "a man of means", "who was he ?"]
    alone = ["a lovely film and dull", "of charm full", "wit", "he ? a man of", "full of it"]
    rows = [{"text": text, "label": 1} for text in shared + alone]
    pair = {"text": "wit", "text_pair": "so of means and manners he had", "label": 1}
    assert apart([*rows, pair], train) == rows[len(shared) :]


def test_the_rows_that_are_tested_are_apart_unless_told(settings, tmp_path, monkeypatch):
    tested = []
    monkeypatch.setattr(
        "experiments.retraining.cell.retrain", lambda _, rows, *__: tested.append(rows.test) or {}
    )
    key = {"task": "made-up", "rank": 2, "seed": 0}
    for choice in (True, False):
        run(key, RetrainingSettings(settings, apart=choice), tmp_path / str(choice))
    rows = split("made-up", settings, settings.noise, 0)
    assert tested == [apart(rows.test, rows.train), rows.test]
    assert len(tested[0]) < len(tested[1])
