"""The study of training: what is kept on the way, and what is found of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from tiny_glue import tiny_base, tiny_settings, without_seconds

from experiments.glue.data import split
from experiments.glue.finetune import finetune, lora
from experiments.training.cell import run
from experiments.training.checkpoints import Checkpoints
from experiments.training.settings import SETTINGS

KEY = {"task": "made-up", "seed": 0}


@pytest.fixture(scope="module")
def settings(tmp_path_factory, tokenizer):
    base = tiny_base(tmp_path_factory.mktemp("base"), tokenizer)
    return replace(SETTINGS["quick"], glue=tiny_settings(base), epochs=(0, 1, 2), rank=2)


@pytest.fixture(scope="module")
def found(settings, tmp_path_factory):
    return run(KEY, settings, tmp_path_factory.mktemp("cell"))


def trained(model):
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def test_keeping_checkpoints_changes_no_training(settings, tmp_path):
    sizes = settings.glue
    rows = split("made-up", sizes, 0.2, 0).train
    kept = Checkpoints((0, 2))
    plain, _ = finetune(rows, sizes, lora(sizes, 2), 0, tmp_path)
    model, _ = finetune(rows, sizes, lora(sizes, 2), 0, tmp_path, [kept])
    last = trained(model)
    assert list(kept.states) == [0, 2]
    for state in (trained(plain), kept.states[2]):
        assert all(torch.equal(state[name], value) for name, value in last.items())
    kept.load(0, model)
    before = trained(model)
    assert all(not value.any() for name, value in before.items() if "lora_B" in name)
    still, _ = finetune(rows, replace(sizes, learning_rate=0.0), lora(sizes, 2), 0, tmp_path)
    assert all(torch.equal(before[name], value) for name, value in trained(still).items())
    kept.load(2, model)
    assert all(torch.equal(last[name], value) for name, value in trained(model).items())


def test_a_cell_has_every_look(found):
    json.dumps(found, allow_nan=False)
    assert list(found["epochs"]) == ["0", "1", "2"]
    names = {"datainf", "gradient", "datainf, unit", "gradient, unit"}
    for look in found["epochs"].values():
        assert set(look["agreement"]) == names
        assert set(look["auc"]) == names | {
            "exact", "exact, unit", "own loss", "gradient norm",
            "representation similarity", "BM25", "random",
        }  # fmt: skip
        assert all(0 <= auc <= 1 for auc in look["auc"].values())


def test_before_training_half_of_lora_has_no_gradient(found):
    before, after = found["epochs"]["0"], found["epochs"]["1"]
    halves = [name for name in before["norms"] if "lora_A" in name]
    assert halves
    for name in halves:
        assert before["norms"][name]["max"] == 0 < after["norms"][name]["min"]


def test_the_same_cell_gives_the_same_figures(settings, found, tmp_path):
    assert without_seconds(run(KEY, settings, tmp_path)) == without_seconds(found)


@pytest.mark.parametrize("scale", list(SETTINGS))
def test_the_last_look_is_at_the_end(scale):
    assert SETTINGS[scale].epochs[-1] == SETTINGS[scale].glue.epochs
