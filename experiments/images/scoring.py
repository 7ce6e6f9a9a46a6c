"""How well scores find the training pictures of each query's class."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from datainf import GradientStore
from datainf.evaluation import class_detection
from experiments.images.tasks import Rows
from experiments.methods import VARIANTS, swept, timed

FEW_CLASSES = 5


def judged(scores: Tensor, rows: Rows) -> dict[str, Any]:
    """Means and deviations of AUC and recall over the queries; and where classes are few, the mean
    AUC of each class's queries."""
    found = class_detection(scores, *rows.classes)
    classes = np.asarray(rows.classes[0])
    few = sorted(set(rows.classes[0]))
    if len(few) > FEW_CLASSES:
        return found.summary
    means = {name: float(found.auc[classes == name].mean()) for name in few}
    return {**found.summary, "auc_by_class": means}


def judge_all(train: GradientStore, query: GradientStore, rows: Rows) -> dict[str, dict[str, Any]]:
    """Variant → its figures, with the seconds of all its products; gradients are not counted."""
    return {
        variant.name: {**judged(values, rows), "seconds": seconds}
        for variant, values, seconds in timed(VARIANTS, train, query)
    }


def judge_dampings(
    train: GradientStore, query: GradientStore, rows: Rows, dampings: tuple[str, ...]
) -> dict[str, dict[str, float]]:
    """Method → damping → mean AUC."""
    out: dict[str, dict[str, float]] = {}
    for method, damping, values in swept(train, query, dampings):
        out.setdefault(method, {})[damping] = judged(values, rows)["auc_mean"]
    return out
