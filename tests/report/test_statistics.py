"""What is told of all scores together, held against all of them by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from datainf import Scores
from datainf.evaluation.metrics import rank_correlations
from datainf.report import statistics
from datainf.report.statistics import agreement, histogram, spread
from datainf.scores import TopScores
from datainf.scores.top import End


def scores_of(values, method="exact"):
    m, n = values.shape
    return Scores(values, list(range(m)), list(range(n)), method)


def ends_of(scores, k):
    """No more than k of either end of all scores."""
    ranks = torch.sort(scores.values, dim=1, descending=True, stable=True).indices
    rows = {True: ranks[:, :k], False: ranks.flip(1)[:, :k]}
    places = torch.argsort(ranks, dim=1)
    ends = [
        End(own.int(), scores.values.gather(1, own), places.gather(1, own).int())
        for own in rows.values()
    ]
    return TopScores(*ends, scores.means(), scores.query_ids, scores.train_ids, scores.method)


@pytest.fixture
def two():
    torch.manual_seed(0)
    values = torch.randn(6, 9)
    return scores_of(values), scores_of(values + 0.5 * torch.randn(6, 9), "cg")


def test_a_histogram_counts_every_score():
    values = torch.randn(40, 60)
    found = histogram(scores_of(values))
    assert sum(found["counts"]) + found["below"] + found["above"] == values.numel()
    assert histogram(scores_of(torch.zeros(1, 3)))["counts"]


@pytest.mark.parametrize(("k", "pairs"), [(2, 6 * 4), (5, 6 * 9), (9, 6 * 9)])
def test_a_score_that_is_kept_at_both_ends_is_one(two, k, pairs):
    found = histogram(ends_of(two[0], k))
    assert sum(found["counts"]) + found["below"] + found["above"] == pairs
    assert found["of"].startswith(f"the {pairs} scores")


def test_queries_without_an_order_agree_with_nothing(two):
    left, right = two
    for row in (0, 4):  # one is skipped by either method
        (left, right)[row // 4].values[row] = 0
    found = agreement([left, right], 3)
    rows = [1, 2, 3, 5]
    truth = rank_correlations(left.values[rows], right.values[rows]).mean()
    assert found["spearman"][0][1] == pytest.approx(float(truth), rel=1e-5)
    common = [
        len({row for row, _ in left.top_rows(q, 3)} & {row for row, _ in right.top_rows(q, 3)}) / 3
        for q in rows
    ]
    assert found["overlap"][0][1] == pytest.approx(sum(common) / 4, rel=1e-5)
    assert (found["queries"], found["looked_at"], found["all"]) == (4, 6, 6)
    kept = agreement([ends_of(left, 3), ends_of(right, 3)], 3)
    assert kept["overlap"] == found["overlap"]
    assert kept["queries"] == 4
    none = agreement([scores_of(torch.zeros(2, 3)), scores_of(torch.ones(2, 3))], 2)
    assert none["overlap"] == none["spearman"] == [[None, None], [None, None]]


def test_queries_at_the_end_are_looked_at_too(two, monkeypatch):
    """Two methods that agree on the first half of the queries alone."""
    left, right = two
    mixed = replace(right, values=torch.cat([left.values[:3], -left.values[3:]]))
    monkeypatch.setattr(statistics, "AGREEMENT_SCORES", 4 * 9)
    found = agreement([left, mixed], 3)
    assert (found["queries"], found["looked_at"], found["all"]) == (4, 4, 6)
    assert found["spearman"][0][1] == pytest.approx(0, abs=1e-6)
    assert found["overlap"][0][1] == pytest.approx(0.5)
    assert spread(10, 4) == [0, 2, 5, 7]
    assert spread(3, 10) == [0, 1, 2]


def test_every_two_methods_are_compared_once(two, monkeypatch):
    """And no method with itself; the square is the same as if all were."""
    calls = []

    def counting(left, right):
        calls.append((left, right))
        return rank_correlations(left, right)

    methods = [*two, scores_of(-two[0].values), ends_of(two[1], 3)]
    monkeypatch.setattr(statistics, "rank_correlations", counting)
    found = agreement(methods, 3)
    assert len(calls) == 3
    for a, one in enumerate(methods):
        for b, other in enumerate(methods):
            common = [
                len(
                    {row for row, _ in one.top_rows(q, 3)}
                    & {row for row, _ in other.top_rows(q, 3)}
                )
                for q in range(6)
            ]
            assert found["overlap"][a][b] == pytest.approx(sum(common) / 18, rel=1e-5)
            if 3 in (a, b):
                assert found["spearman"][a][b] is None, "the matrix was not kept"
            else:
                truth = float(rank_correlations(one.values, other.values).mean())
                assert found["spearman"][a][b] == pytest.approx(truth, rel=1e-5)


def test_of_how_many_examples_the_share_in_common_is(two):
    left, right = two
    found = agreement([left, right, ends_of(left, 2)], 4)
    assert found["first"] == [[4, 4, 2], [4, 4, 2], [2, 2, 2]]
    assert found["overlap"][0][2] == 1
