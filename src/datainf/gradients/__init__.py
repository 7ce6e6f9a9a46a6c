"""Per-example gradients: rules by kind of module, capture, the start-up check, collection."""

import datainf.gradients.added_weights  # noqa: F401 - registers its rule
from datainf.gradients.capture import BatchGradients, GradientCapture
from datainf.gradients.collect import collect, prepare
from datainf.gradients.curvature import collect_curvature, prepare_curvature
from datainf.gradients.pending import PendingStore
from datainf.gradients.rules import rule

__all__ = [
    "BatchGradients",
    "GradientCapture",
    "PendingStore",
    "collect",
    "collect_curvature",
    "prepare",
    "prepare_curvature",
    "rule",
]
