"""How well scores agree with labels, and with other scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import pearsonr, rankdata, spearmanr
from sklearn.metrics import roc_auc_score
from torch import Tensor

from datainf.errors import OptionError


@dataclass(frozen=True)
class ClassDetection:
    """For every query [m]: `auc` of the scores, and `recall`, the share of the query's class
    among the s top-scored training examples, s being that class's size in the training data.
    Relevant are the training examples of the query's own class (the paper, section 4.3)."""

    auc: np.ndarray
    recall: np.ndarray

    @property
    def summary(self) -> dict[str, float]:
        """Means and (population) standard deviations over the queries."""
        return {
            "auc_mean": float(self.auc.mean()),
            "auc_std": float(self.auc.std()),
            "recall_mean": float(self.recall.mean()),
            "recall_std": float(self.recall.std()),
        }


def class_detection(
    scores: Tensor, query_classes: Sequence[object], train_classes: Sequence[object]
) -> ClassDetection:
    """Do the scores [m, n] find the training examples of each query's class?

    Raises `OptionError` if a query's class is absent from the training data, or is all of it:
    an AUC is not defined then.
    """
    values = scores.double().numpy()
    labels = np.asarray([str(label) for label in train_classes])
    # AUC by ranks, ties sharing theirs: roc_auc_score takes milliseconds to check its input, for
    # every query again.
    ranks = rankdata(values, axis=1)
    aucs, recalls = [], []
    for row, rank, label in zip(values, ranks, query_classes, strict=True):
        relevant = labels == str(label)
        if not relevant.any() or relevant.all():
            raise OptionError(f"class {label!r} is none or all of the training examples")
        some, others = relevant.sum(), (~relevant).sum()
        aucs.append((rank[relevant].sum() - some * (some + 1) / 2) / (some * others))
        top = np.argsort(-row, kind="stable")[: relevant.sum()]
        recalls.append(relevant[top].mean())
    return ClassDetection(np.asarray(aucs), np.asarray(recalls))


def detection_auc(suspicion: Tensor, flagged: Sequence[bool]) -> float:
    """AUC of a score that should be high where `flagged` is true (a mislabelled example)."""
    truth = np.asarray(flagged, dtype=bool)
    if truth.all() or not truth.any():
        raise OptionError("all or none of the examples are flagged; an AUC is not defined")
    return float(roc_auc_score(truth, suspicion.double().numpy()))


def detection_precision(suspicion: Tensor, flagged: Sequence[bool], k: int | None = None) -> float:
    """Share of flagged examples among the k of highest suspicion; k is by default how many are
    flagged (R-precision: 1 for a perfect ranking). Ties go by position.

    Raises `OptionError` if none is flagged, or for a k that is not 1 … n.
    """
    truth = np.asarray(flagged, dtype=bool)
    k = int(truth.sum()) if k is None else k
    if not truth.any() or not 1 <= k <= len(truth):
        raise OptionError(
            f"precision at {k} of {len(truth)} examples, {int(truth.sum())} of them flagged",
            remedy="at least one flagged example, and a k from 1 to the number of examples",
        )
    top = np.argsort(-suspicion.double().numpy(), kind="stable")[:k]
    return float(truth[top].mean())


def agreement(left: Tensor, right: Tensor) -> dict[str, float]:
    """Pearson and Spearman correlation of two score tensors of one shape, over all entries."""
    a, b = left.double().numpy().ravel(), right.double().numpy().ravel()
    return {"pearson": float(pearsonr(a, b)[0]), "spearman": float(spearmanr(a, b)[0])}


def rank_correlations(truth: Tensor, found: Tensor) -> Tensor:
    """Spearman correlation of each row of two score tensors [m, n], ties sharing their ranks; [m],
    float64. NaN for a row whose true scores are all equal, since there is no order to find; 0 where
    only the others are, since they tell nothing of it."""
    a, b = (
        torch.from_numpy(rankdata(scores.double().numpy(), axis=1)) for scores in (truth, found)
    )
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    size = a.norm(dim=1) * b.norm(dim=1)
    correlation = (a * b).sum(dim=1) / torch.where(size > 0, size, 1)
    return torch.where(a.any(dim=1), correlation, torch.nan)


def top_overlap(truth: Tensor, found: Tensor, k: int, *, largest: bool = True) -> Tensor:
    """Share of the k highest scores of each row [m, n] that are among the k highest of the other's
    row, or of the lowest; [m], float64. Ties go by position."""
    left, right = (
        torch.sort(scores, dim=1, descending=largest, stable=True).indices[:, :k]
        for scores in (truth, found)
    )
    return (left[:, :, None] == right[:, None, :]).any(dim=2).double().mean(dim=1)
