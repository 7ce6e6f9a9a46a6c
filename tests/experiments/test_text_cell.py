"""A whole cell on a base too small to learn anything: what must hold anyway."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from conftest import make_base
from experiments.methods import VARIANTS
from experiments.text import SETTINGS, cells
from experiments.text.cell import run


@pytest.fixture(scope="module")
def settings(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("base")
    make_base("llama", max_position_embeddings=320).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return replace(
        SETTINGS["quick"], base=str(folder), train_per_class=3, test_per_class=1, norm_rows=5
    )


@pytest.fixture(scope="module")
def found(settings, tmp_path_factory):
    key = {"task": "sentences-hard", "seed": 0}
    return [run(key, settings, tmp_path_factory.mktemp(f"cell{i}")) for i in range(2)]


def test_the_same_key_gives_the_same_figures(found):
    times = {"seconds", "score_seconds"}
    left, right = ({k: v for k, v in f.items() if k not in times} for f in found)
    assert json.dumps(left) == json.dumps(right)


def test_every_method_stands_under_both_losses(found):
    for loss in ("completion", "prompt"):
        assert list(found[0]["detection"][loss]) == [variant.name for variant in VARIANTS]
    assert "random" in found[0]["detection"]["baselines"]


def test_a_prompt_that_says_nothing_of_the_class_gives_chance(found):
    """The ten rows of a phrase have one prompt, so that their gradients of the prompt are equal;
    those of the completion are not."""
    assert found[0]["detection"]["prompt"]["gradient"]["auc_mean"] == pytest.approx(0.5)
    assert found[0]["detection"]["baselines"]["BM25, prompt"]["auc_mean"] == pytest.approx(0.5)
    assert found[0]["detection"]["completion"]["gradient"]["auc_std"] > 0


def test_training_moves_norms_and_loss(found):
    norms = [found[0]["norms"][moment]["all"]["mean"] for moment in ("before", "middle", "after")]
    assert len(set(norms)) == 3
    quality = found[0]["quality"]
    assert quality["after"]["loss"] < quality["before"]["loss"]


def test_examples_show_the_top_rows(found):
    first, second = found[0]["examples"]
    assert first["class"] != second["class"]
    scores = [row["score"] for row in first["top"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 3


def test_cells_are_seed_by_seed():
    keys = cells(replace(SETTINGS["desk"], seeds=2))
    assert [key["seed"] for key in keys] == [0] * 5 + [1] * 5
