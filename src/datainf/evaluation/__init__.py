"""Metrics against labels and against other scores, and what attribution has to beat."""

from datainf.evaluation.compression import CompressionCheck, check_compression
from datainf.evaluation.lds import Ceiling, Interval, ceiling, lds
from datainf.evaluation.metrics import (
    ClassDetection,
    agreement,
    class_detection,
    detection_auc,
    detection_precision,
    rank_correlations,
    top_overlap,
)
from datainf.evaluation.removal import Change, Removal, removal
from datainf.evaluation.representations import representations, similarity
from datainf.evaluation.residuals import InverseResiduals, inverse_residuals
from datainf.evaluation.retraining import GroundTruth, Training, random_parts
from datainf.evaluation.run_evaluation import Budget, Evaluation, evaluate
from datainf.evaluation.store_baselines import store_baselines
from datainf.evaluation.training_again import Command, Function
from datainf.evaluation.ways import WAYS, Judged, Scored, Way, held_out, judge, judge_ways

__all__ = [
    "WAYS",
    "Budget",
    "Ceiling",
    "Change",
    "ClassDetection",
    "Command",
    "CompressionCheck",
    "Evaluation",
    "Function",
    "GroundTruth",
    "Interval",
    "InverseResiduals",
    "Judged",
    "Removal",
    "Scored",
    "Training",
    "Way",
    "agreement",
    "ceiling",
    "check_compression",
    "class_detection",
    "detection_auc",
    "detection_precision",
    "evaluate",
    "held_out",
    "inverse_residuals",
    "judge",
    "judge_ways",
    "lds",
    "random_parts",
    "rank_correlations",
    "removal",
    "representations",
    "similarity",
    "store_baselines",
    "top_overlap",
]
