"""Metrics against hand-worked cases."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import roc_auc_score

from datainf.errors import OptionError
from datainf.evaluation import (
    agreement,
    class_detection,
    detection_auc,
    detection_precision,
)


def test_class_detection():
    scores = torch.tensor([[4.0, 3.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    found = class_detection(scores, ["a", "b", "a"], ["a", "a", "b", "b"])
    assert found.auc.tolist() == [1.0, 0.0, 0.5]
    assert found.recall.tolist() == [1.0, 0.0, 1.0]  # ties go by position
    assert found.summary["auc_mean"] == pytest.approx(0.5)
    with pytest.raises(OptionError):
        class_detection(scores[:1], ["c"], ["a", "a", "b", "b"])


def test_class_detections_auc_is_scikit_learns_ties_counted():
    torch.manual_seed(0)
    scores = torch.randint(0, 5, (7, 40)).float()
    classes = [str(i % 3) for i in range(40)]
    found = class_detection(scores, classes[:7], classes)
    for row, label, auc in zip(scores, classes, found.auc, strict=False):
        assert auc == pytest.approx(roc_auc_score([c == label for c in classes], row.numpy()))


def test_detection_auc():
    assert detection_auc(torch.tensor([0.9, 0.1, 0.8, 0.2]), [True, False, True, False]) == 1
    assert detection_auc(torch.tensor([0.9, 0.1, 0.8, 0.2]), [True, True, False, False]) == 0.5
    with pytest.raises(OptionError):
        detection_auc(torch.ones(2), [True, True])


def test_detection_precision():
    suspicion, flagged = torch.tensor([0.9, 0.1, 0.8, 0.2]), [True, True, False, False]
    assert detection_precision(suspicion, flagged) == 0.5
    assert detection_precision(suspicion, flagged, k=1) == 1
    assert detection_precision(suspicion, flagged, k=3) == pytest.approx(1 / 3)
    assert detection_precision(torch.zeros(4), flagged) == 1  # ties go by position
    for wrong in (0, 5):
        with pytest.raises(OptionError, match=f"precision at {wrong}"):
            detection_precision(suspicion, flagged, k=wrong)
    with pytest.raises(OptionError):
        detection_precision(suspicion, [False] * 4)


def test_agreement():
    a = torch.arange(6.0).reshape(2, 3)
    assert agreement(a, a.exp())["spearman"] == pytest.approx(1)
    assert agreement(a, -2 * a + 1)["pearson"] == pytest.approx(-1)
