"""Parts that do not sum to what they are parts of are not shown."""

from __future__ import annotations

import torch

from datainf.explanations import Explanation
from datainf.report.insight import drop_unsummed, largest_of, that_sum


def explained(by_tensor, tokens, elsewhere=0.0):
    parts = torch.tensor(by_tensor, dtype=torch.float64)
    return Explanation(parts, [torch.tensor(tokens, dtype=torch.float64)], elsewhere)


def dropped(found, off=0.02):
    return drop_unsummed(found, largest_of({pair: one.score for pair, one in found.items()}), off)


def test_tokens_are_held_to_the_score_and_not_to_the_tensors_sizes():
    """Large parts that cancel leave little to be off by."""
    wrong, right = explained([10.0, -9.9], [-0.25]), explained([10.0, -9.9], [0.06, 0.0399])
    found = {(0, 0): wrong, (0, 1): right}
    assert dropped(found) == 1
    assert wrong.streams is None
    assert right.streams is not None


def test_an_error_is_small_beside_the_query_s_largest_score():
    large, small = explained([5.0], [4.0], 1.0), explained([0.01], [0.05])
    assert dropped({(0, 0): large, (0, 1): small}) == 0
    assert dropped({(0, 0): large, (1, 1): small}) == 1, "of another query"
    assert dropped({(0, 0): explained([1.0], [float("nan")])}) == 1


def test_scores_that_are_not_the_parts_sum_are_left_out():
    one = explained([1.0, 2.0], [3.0])
    scores = {(0, 0): 3.0, (0, 1): 2.0}
    found, wrong = that_sum({(0, 0): one, (0, 1): one}, scores, largest_of(scores))
    assert list(found) == [(0, 0)]
    assert wrong == 1
