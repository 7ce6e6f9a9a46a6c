"""Metrics against hand-worked cases."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from datainf.errors import OptionError
from datainf.evaluation import (
    agreement,
    class_detection,
    detection_auc,
    detection_precision,
    rank_correlations,
    top_overlap,
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


def test_rank_correlations_are_scipy_s_row_by_row():
    torch.manual_seed(0)
    truth, found = torch.randint(0, 9, (5, 30)).float(), torch.randn(5, 30)
    right = [spearmanr(a, b)[0] for a, b in zip(truth, found, strict=True)]
    assert rank_correlations(truth, found).tolist() == pytest.approx(right)
    assert rank_correlations(truth, truth).tolist() == pytest.approx([1] * 5)
    assert rank_correlations(truth, -truth).tolist() == pytest.approx([-1] * 5)


def test_where_all_scores_are_equal_there_is_no_correlation():
    order, equal = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.1, 0.1, 0.1]])
    assert rank_correlations(equal, order).isnan().all()
    assert rank_correlations(equal, equal).isnan().all()
    assert rank_correlations(order, equal).tolist() == [0]  # there was one to find


def test_top_overlap():
    truth = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0, 1.0]])
    found = torch.tensor([[5.0, 1.0, 4.0, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0, 1.0]])
    assert top_overlap(truth, found, 2).tolist() == [0.5, 1]  # ties go by position
    assert top_overlap(truth, found, 2, largest=False).tolist() == [0.5, 1]
    assert top_overlap(truth, found, 3).tolist() == [pytest.approx(2 / 3), 1]
    assert top_overlap(truth, found, 5).tolist() == [1, 1]
