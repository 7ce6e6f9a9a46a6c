"""Per-example gradients: rules by kind of module, capture, the start-up check, collection."""

from datainf.gradients.capture import BatchGradients, GradientCapture
from datainf.gradients.collect import collect
from datainf.gradients.rules import rule

__all__ = ["BatchGradients", "GradientCapture", "collect", "rule"]
