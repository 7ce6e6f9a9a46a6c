"""Metrics against labels and against other scores."""

from datainf.evaluation.metrics import ClassDetection, agreement, class_detection, detection_auc

__all__ = ["ClassDetection", "agreement", "class_detection", "detection_auc"]
