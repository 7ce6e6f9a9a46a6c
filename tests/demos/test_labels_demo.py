"""The demo of flipped labels, with fewer digits and epochs."""

from __future__ import annotations

import json

import pytest

from datainf.data import load
from datainf.demos import claim
from datainf.demos.labels import run_labels_demo, write_digits
from datainf.errors import InputError, OptionError
from small_demos import small_labels


@pytest.fixture
def quick(monkeypatch):
    small_labels(monkeypatch)


def test_a_tenth_of_the_labels_is_flipped_and_no_digit_is_there_twice(tmp_path):
    flipped = write_digits(tmp_path, seed=3)
    assert 0.05 < sum(flipped) / len(flipped) < 0.15
    parts = {name: load(str(tmp_path / name), "image-classification")
             for name in ("pretraining", "train", "validation")}  # fmt: skip
    assert [len(part) for part in parts.values()] == [900, 697, 200]
    ids = [one for part in parts.values() for one in part.ids]
    assert len(set(ids)) == 1797
    from sklearn.datasets import load_digits

    truth = load_digits().target
    train = parts["train"]
    wrong = [train[row]["label"] != truth[int(str(train.ids[row])[6:])] for row in range(697)]
    assert wrong == flipped


@pytest.mark.usefixtures("quick")
def test_the_demo_finds_them_and_shows_them(tmp_path):
    said = []
    result = run_labels_demo(tmp_path / "d", say=said.append)
    flipped, n = sum(result.flipped), len(result.flipped)
    assert result.found_among(flipped) > 2 * flipped * flipped / n
    assert result.report.is_file()
    assert result.review.is_file()
    config = json.loads((tmp_path / "d" / "adapter" / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert config["base_model_name_or_path"] == str((tmp_path / "d" / "base").resolve())
    again = run_labels_demo(tmp_path / "d")
    assert again.suspects.order == result.suspects.order
    with pytest.raises(OptionError, match="other settings"):
        run_labels_demo(tmp_path / "d", seed=1)


def test_without_pillow_it_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(claim, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="needs Pillow"):
        run_labels_demo(tmp_path / "d")
    assert not (tmp_path / "d").exists()
