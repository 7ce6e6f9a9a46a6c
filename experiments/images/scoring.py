"""Every method's scores of two stores, and how well they find the queries' class."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

import datainf
from datainf import GradientStore
from datainf.attribute import Blocks, Normalize
from datainf.evaluation import class_detection
from experiments.images.tasks import Rows

FEW_CLASSES = 5


@dataclass(frozen=True)
class Method:
    """What `datainf.attribute` is asked for; damping as the paper has it, if not said otherwise."""

    name: str
    steps: int | None = None
    blocks: Blocks = "tensor"
    normalize: Normalize = "none"
    damping: str = "0.1"

    def scores(self, train: GradientStore, query: GradientStore) -> Tensor:
        return datainf.attribute(
            train, query, self.name, steps=self.steps, blocks=self.blocks,
            normalize=self.normalize, damping=self.damping,
        ).values  # fmt: skip

    @property
    def words(self) -> dict[str, Any]:
        """As columns of a table."""
        return {
            "method": self.name if self.steps is None else f"{self.name} {self.steps}",
            "blocks": self.blocks,
            "normalize": self.normalize,
            "damping": self.damping,
        }


def methods() -> Iterator[Method]:
    """All that the table compares."""
    for normalize in ("none", "unit"):
        yield Method("gradient", normalize=normalize)
        yield Method("weighted-gradient", normalize=normalize)
        yield Method("datainf", normalize=normalize)
        yield Method("lissa", 10, normalize=normalize)
        yield Method("cg", 2, normalize=normalize)
        yield Method("cg", 5, normalize=normalize)
        for blocks in ("tensor", "module", "model"):
            yield Method("exact", blocks=blocks, normalize=normalize)
    for name, steps in (("datainf", None), ("cg", 3), ("exact", None)):
        yield Method(name, steps, "model", "unit", "trace:0.02")


def score_all(train: GradientStore, query: GradientStore, rows: Rows) -> list[dict[str, Any]]:
    """A line a method: its settings, AUC and recall over queries, and seconds; all of its products
    are counted, the gradients are not."""
    return [_line(method, train, query, rows) for method in methods()]


def sweep_damping(
    train: GradientStore, query: GradientStore, rows: Rows, dampings: Sequence[str]
) -> list[dict[str, Any]]:
    """A line a method and damping: its mean AUC."""
    lines = []
    for name, steps in (("datainf", None), ("cg", 5), ("exact", None)):
        found = datainf.sweep(train, query, name, steps=steps, dampings=list(dampings))
        for damping, scores in zip(dampings, found, strict=True):
            words = Method(name, steps, damping=damping).words
            lines.append({**words, "auc": judged(scores.values, rows)["auc_mean"]})
    return lines


def judged(scores: Tensor, rows: Rows) -> dict[str, Any]:
    """Means and deviations of AUC and recall over the queries; and where classes are few, the mean
    AUC of each class's queries."""
    found = class_detection(scores, *rows.classes)
    classes = np.asarray(rows.classes[0])
    few = sorted(set(rows.classes[0]))
    if len(few) > FEW_CLASSES:
        return found.summary
    return {
        **found.summary,
        "auc_by_class": {c: float(found.auc[classes == c].mean()) for c in few},
    }


def _line(method: Method, train: GradientStore, query: GradientStore, rows: Rows) -> dict[str, Any]:
    started = time.perf_counter()
    scores = method.scores(train, query)
    seconds = time.perf_counter() - started
    return {**method.words, **judged(scores, rows), "seconds": seconds}
