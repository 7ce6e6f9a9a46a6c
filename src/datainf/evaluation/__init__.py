"""Metrics against labels and against other scores, and what attribution has to beat."""

from datainf.evaluation.metrics import (
    ClassDetection,
    agreement,
    class_detection,
    detection_auc,
    detection_precision,
)
from datainf.evaluation.representations import representations, similarity
from datainf.evaluation.residuals import InverseResiduals, inverse_residuals

__all__ = [
    "ClassDetection",
    "InverseResiduals",
    "agreement",
    "class_detection",
    "detection_auc",
    "detection_precision",
    "inverse_residuals",
    "representations",
    "similarity",
]
