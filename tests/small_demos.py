"""The demos with less data and less training, which go the same way in a fraction of the time."""

from __future__ import annotations

import pytest

from conftest import write_rows
from datainf.demos import demo, images, labels
from datainf.demos.transformations import rows


def small_text(monkeypatch: pytest.MonkeyPatch, kinds: int, phrases: int, queries: int) -> None:
    """The first `kinds` of transformations, of each the first `phrases` and `queries`."""

    def write(folder, *, seed, hard):
        train, test = rows(seed, hard=hard)
        kept = list(dict.fromkeys(row["class"] for row in train))[:kinds]
        parts = {"train": (train, range(phrases)), "test": (test, range(90, 90 + queries))}
        ids = {f"{kind}-{i:02d}" for kind in kept for _, some in parts.values() for i in some}
        return tuple(
            write_rows(folder / f"{name}.jsonl", [row for row in part if row["id"] in ids])
            for name, (part, _) in parts.items()
        )

    monkeypatch.setattr(demo, "write", write)


def small_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "PRETRAINED", 1400)
    monkeypatch.setattr(labels, "TUNED", 200)
    monkeypatch.setattr(labels, "EPOCHS", (12, 8))
    monkeypatch.setattr(labels, "REVIEWED", 20)


def small_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "STEPS", 20)
    monkeypatch.setattr(images, "TIMESTEPS", "250,650")
