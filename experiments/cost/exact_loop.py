"""The released loop for `exact`, timed within a limit.

It adds up n outer products a block, which takes most of the time there is. Where it would not end
within the limit, some blocks are measured, at least one of each width; the others are taken to
need as long as those of their width, and the record says so: `scaled`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

import datainf
from datainf.estimators import Exact
from experiments.cost import released
from experiments.cost.collected import Gradients
from experiments.cost.timing import Seconds, Timed, alternating


def exact_loop(found: Gradients, limit: float) -> tuple[dict[str, Any], float]:
    """Time of the released loop for `exact`, blocks in turn, each once; and how far its scores are
    from the package's over the blocks that were measured."""
    blocks = _one_of_each_width_first(found.loop_query)
    measured: dict[str, Timed] = {}
    scores = torch.zeros(len(found.train), dtype=torch.float64)
    for name in blocks:
        known = _alike(measured, found.loop_query, name)
        spent = sum(timed.longest for timed in measured.values())
        if known and spent + known[0]["with_products"] > limit:
            continue

        def one_block(name: str = name) -> Seconds:
            train = [{name: gradient[name]} for gradient in found.loop_train]
            scored = released.exact(train, {name: found.loop_query[name]})
            scores.add_(scored.scores)
            return asdict(scored.timing)

        measured[name] = alternating({name: one_block}, rounds=1)[name]
    total = {"as_released": 0.0, "with_products": 0.0}
    for name in blocks:
        own = [measured[name].runs[0]] if name in measured else None
        alike = own or _alike(measured, found.loop_query, name)
        for what in total:
            total[what] += sum(times[what] for times in alike) / len(alike)
    record = total | {
        "runs": 1, "blocks": len(blocks), "blocks_measured": len(measured),
        "scaled": len(measured) < len(blocks),
    }  # fmt: skip
    return record, relative_difference(scores, _exact_scores(found, list(measured)))


def _one_of_each_width_first(query: released.Gradients) -> list[str]:
    first = {v.numel(): name for name, v in reversed(query.items())}
    return [*first.values(), *(name for name in query if name not in first.values())]


def _alike(measured: dict[str, Timed], query: released.Gradients, name: str) -> list[Seconds]:
    """The times of the measured blocks that are as wide as this one."""
    width = query[name].numel()
    return [timed.runs[0] for other, timed in measured.items() if query[other].numel() == width]


def _exact_scores(found: Gradients, names: Sequence[str]) -> Tensor:
    """The package's `exact` over some of the blocks, [n]."""
    total = torch.zeros(len(found.train), dtype=torch.float64)
    for name in names:
        G = found.train.blocks[name]
        lam = datainf.Damping().lambda_of(G)
        total += Exact().fit(G).scores(found.one.blocks[name].to_dense(), lam).values[0]
    return total


def relative_difference(found: Tensor, truth: Tensor) -> float:
    return float((found.double() - truth.double()).norm() / truth.double().norm())
