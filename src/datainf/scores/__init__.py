"""Scores: who influenced what, and by how much.

A score is Σ_l v_qᵀ F_l⁻¹ g_k. Positive = helpful: training more on example k lowers the loss of
query q; negative = harmful. To first order, giving example k the weight 1 + ε in the mean
training loss changes query q's loss by −ε/n times the score.

`Scores` has them all, [m queries, n training examples]. `TopScores` has the first of either end of
every query's order, where m · n would be too many.
"""

from __future__ import annotations

from pathlib import Path

from datainf.scores.file import read, reading
from datainf.scores.matrix import Scores, weighted_sum
from datainf.scores.ranked import SIGN, Influence, over_checkpoints
from datainf.scores.top import End, TopScores

AnyScores = Scores | TopScores
"""Of either kind: `top`, `means`, `of_query` and all else but a matrix are the same for both."""


def load_scores(path: str | Path) -> AnyScores:
    """A scores file, of either kind; its tensors are mapped into memory and read once, against
    their checksum.

    Raises `StoreError` if it is no scores file, `StoreCorruptError` if its bytes are not the ones
    that were written.
    """
    contents = read(path)
    kind = TopScores if contents.kind == TopScores.kind else Scores
    with reading(path):
        return kind.of_contents(contents)


__all__ = [
    "SIGN",
    "AnyScores",
    "End",
    "Influence",
    "Scores",
    "TopScores",
    "load_scores",
    "over_checkpoints",
    "weighted_sum",
]
