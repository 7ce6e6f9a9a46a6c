"""The demo of pictures, with fewer steps."""

from __future__ import annotations

import pytest
import torch

from datainf.data import load
from datainf.demos.images import BASE, EMOJI, lay_out, run_images_demo
from datainf.errors import OptionError
from datainf.evaluation import class_detection
from small_demos import small_images


def test_what_is_shipped_is_small_and_says_whose_it_is():
    assert sum(path.stat().st_size for path in BASE.rglob("*") if path.is_file()) < 8 * 2**20
    assert "Apache License 2.0" in (EMOJI / "README.md").read_text(encoding="utf-8")
    assert len(list(EMOJI.glob("*.png"))) == 48


def test_a_quarter_of_every_kind_is_asked_about(tmp_path):
    train, query = lay_out(tmp_path)
    assert [train.count(kind) for kind in ("face", "fruit", "vehicle")] == [12, 12, 12]
    assert [query.count(kind) for kind in ("face", "fruit", "vehicle")] == [4, 4, 4]
    parts = [load(str(tmp_path / name), "text-to-image") for name in ("train", "query")]
    assert not set(parts[0].ids) & set(parts[1].ids)


def test_the_demo_shows_the_pictures(tmp_path, monkeypatch):
    small_images(monkeypatch)
    result = run_images_demo(tmp_path / "d")
    assert result.run.scores.shape == (12, 36)
    scores, (train, query) = result.run.scores.values, lay_out(tmp_path / "again")
    drawn = torch.Generator().manual_seed(0)
    by_chance = [
        class_detection(scores[:, torch.randperm(36, generator=drawn)], query, train)
        for _ in range(100)
    ]
    assert result.detection.auc.mean() > max(found.auc.mean() for found in by_chance)
    assert result.report.stat().st_size > 50_000, "the pictures are in the page"
    with pytest.raises(OptionError, match="other settings"):
        run_images_demo(tmp_path / "d", seed=1)
