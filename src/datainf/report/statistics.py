"""What is told of all scores together: how they are spread, where in the model they come from, and
how far methods agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datainf.evaluation.metrics import rank_correlations, top_overlap
from datainf.explanations import Explanation, Pair
from datainf.report.layers import Layers
from datainf.scores import AnyScores, Scores

BINS = 60
KINDS_SHOWN = 24
"""Tensors whose shares are shown each by itself."""
SAMPLED = 2_000_000
"""Of so many scores the histogram is made."""
AGREEMENT_SCORES = 20_000_000
"""More scores are not ranked anew for the agreement of methods: of some queries, spread over all.
"""


def tensor_shares(
    explanations: Mapping[Pair, Explanation], layers: Layers
) -> dict[str, list[tuple[str, float]]] | None:
    """Σ over pairs of |a tensor's part| / Σ of all: `layers`, those of all tensors of each layer as
    the model runs them, and `kinds`, those of the same tensor in all layers, the largest first and
    the smallest as one; None without explanations. `layers`: the explanations' tensors."""
    if not explanations:
        return None
    total = torch.stack([one.by_tensor.abs() for one in explanations.values()]).sum(dim=0)
    every = (total / total.sum().clamp(min=1e-300)).tolist()
    by_layer, by_kind = dict.fromkeys(layers.order, 0.0), dict[str, float]()
    for share, layer, kind in zip(every, layers.layer, layers.kind, strict=True):
        by_layer[layer] += share
        by_kind[kind] = by_kind.get(kind, 0.0) + share
    kinds = sorted(by_kind.items(), key=lambda entry: -entry[1])
    if rest := kinds[KINDS_SHOWN:]:
        kinds[KINDS_SHOWN:] = [(f"and {len(rest):,} more", sum(share for _, share in rest))]
    return {
        name: [(key, short(share)) for key, share in entries]
        for name, entries in (("layers", by_layer.items()), ("kinds", kinds))
    }


def histogram(scores: AnyScores) -> dict[str, Any]:
    """How the scores are spread, between the 0.1 and 99.9 % quantiles; of those that are kept."""
    if isinstance(scores, Scores):
        values = scores.values.flatten().numpy()
        of = f"all {values.size:,} scores"
        if (step := -(-values.size // SAMPLED)) > 1:
            of = f"every {step}th of {values.size:,} scores"
            values = values[::step]
    else:
        values = torch.cat([rows.scores for rows in scores._table_rows()]).numpy()
        of = f"the {values.size:,} scores that are kept, of the ends of every query's order"
    if not values.size:
        return {"edges": [], "counts": [], "below": 0, "above": 0, "of": of}
    low, high = np.quantile(values, [0.001, 0.999])
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(values, BINS, (low, high))
    return {
        "edges": [short(float(edge)) for edge in edges],
        "counts": counts.tolist(),
        "below": int((values < low).sum()),
        "above": int((values > high).sum()),
        "of": of,
    }


def agreement(methods: Sequence[AnyScores], k: int) -> dict[str, Any] | None:
    """Of every pair of scores their mean Spearman correlation over queries, where all scores are
    there, and the share of a query's first most helpful examples that they have in common: of the
    first k, or of as many as are kept of both, `first`. None of fewer than two.

    Means over `queries` that have an order by each of the methods, of `looked_at`, of `all`; None
    where there are none.
    """
    if len(methods) < 2:
        return None
    m, n = methods[0].shape
    looked_at = spread(m, max(1, AGREEMENT_SCORES // max(1, n)))
    ordered = torch.stack([_have_order(one, looked_at) for one in methods]).all(dim=0)
    queries = [row for row, has in zip(looked_at, ordered.tolist(), strict=True) if has]
    first = [[min(k, a.kept, b.kept) for b in methods] for a in methods]
    same = 1.0 if queries else None
    return {
        "spearman": _square(
            lambda a, b: _spearman(methods[a], methods[b], queries),
            [same if isinstance(one, Scores) else None for one in methods],
        ),
        "overlap": _square(
            lambda a, b: _overlap(methods[a], methods[b], queries, first[a][b]),
            [same] * len(methods),
        ),
        "first": first,
        "queries": len(queries),
        "looked_at": len(looked_at),
        "all": m,
    }


def _square(
    of_pair: Callable[[int, int], float | None], diagonal: Sequence[float | None]
) -> list[list[float | None]]:
    """What is the same either way round, told once of every pair of two."""
    found = [[own] * len(diagonal) for own in diagonal]
    for a, b in combinations(range(len(diagonal)), 2):
        found[a][b] = found[b][a] = of_pair(a, b)
    return found


def spread(m: int, most: int) -> list[int]:
    """Rows of m, all or so many that are spread evenly over them."""
    count = min(m, most)
    return [place * m // count for place in range(count)]


def _have_order(scores: AnyScores, queries: Sequence[int]) -> Tensor:
    """Whether any two scores of each query differ, bool [queries]; not where one is NaN."""
    if isinstance(scores, Scores):
        values = scores.values[queries]
        return values.amax(dim=1) > values.amin(dim=1)
    return scores.helpful.scores[queries, 0] > scores.harmful.scores[queries, 0]


def _spearman(left: AnyScores, right: AnyScores, queries: Sequence[int]) -> float | None:
    if not isinstance(left, Scores) or not isinstance(right, Scores) or not queries:
        return None
    found = rank_correlations(left.values[queries], right.values[queries])
    return short(float(found.mean()))


def _overlap(left: AnyScores, right: AnyScores, queries: Sequence[int], k: int) -> float | None:
    if not queries:
        return None
    if isinstance(left, Scores) and isinstance(right, Scores):
        return short(float(top_overlap(left.values[queries], right.values[queries], k).mean()))
    shares = []
    for query in queries:
        rows = [{row for row, _ in one.top_rows(query, k)} for one in (left, right)]
        shares.append(len(rows[0] & rows[1]) / k)
    return short(sum(shares) / len(shares))


def short(value: float) -> float:
    """Six significant digits."""
    return float(f"{value:.6g}")
