"""Metrics against labels and against other scores, and what attribution has to beat."""

from datainf.evaluation.lds import Ceiling, Interval, ceiling, lds
from datainf.evaluation.metrics import (
    ClassDetection,
    agreement,
    class_detection,
    detection_auc,
    detection_precision,
)
from datainf.evaluation.representations import representations, similarity
from datainf.evaluation.residuals import InverseResiduals, inverse_residuals
from datainf.evaluation.retraining import GroundTruth, Training, random_parts

__all__ = [
    "Ceiling",
    "ClassDetection",
    "GroundTruth",
    "Interval",
    "InverseResiduals",
    "Training",
    "agreement",
    "ceiling",
    "class_detection",
    "detection_auc",
    "detection_precision",
    "inverse_residuals",
    "lds",
    "random_parts",
    "representations",
    "similarity",
]
