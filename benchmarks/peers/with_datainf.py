"""datainf itself, for the same table, with gradients on disk between its two steps.

`dot` and `datainf` are all that there is to do, from the model to the scores, with the check
against autograd at every start, once in batches like those of other tools and once in its own;
`new queries` asks a training store that is there for the scores of others.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import truth
from torch import Tensor
from work import BATCH, LONGEST, Row, losses, make_model, padded

from datainf import GradientStore, attribute, collect
from datainf.tasks import Custom

PACKAGE = "datainf"
TRUTHS = {
    "dot": truth.dot, "datainf": truth.datainf, "datainf, its own batches": truth.datainf,
    "new queries": truth.datainf,
}  # fmt: skip
LIKE_OTHERS = BATCH * LONGEST
"""Tokens a batch, padding counted: 32 of the longest rows, as all tools have them."""
NOTES = [
    f"stores written to disk and synced; batches of {LIKE_OTHERS:,} tokens, about those of other "
    "tools, or its own; `new queries` has the training store from before"
]
DAMPING = f"abs:{truth.DAMPING}"


def stages(folder: Path) -> dict[str, Callable[[list[Row], list[Row]], Tensor]]:
    model, task = make_model(), Custom(losses, collate=padded, length=len)

    def collected(rows: list[Row], name: str, tokens: int | None) -> GradientStore:
        shutil.rmtree(folder / name, ignore_errors=True)
        return collect(model, rows, task, out=folder / name, batch_tokens=tokens)

    def whole(
        method: str, tokens: int | None = LIKE_OTHERS
    ) -> Callable[[list[Row], list[Row]], Tensor]:
        def run(rows: list[Row], queries: list[Row]) -> Tensor:
            stores = collected(rows, "train", tokens), collected(queries, "query", tokens)
            return attribute(*stores, method, damping=DAMPING).values

        return run

    def new_queries(_: list[Row], queries: list[Row]) -> Tensor:
        train, query = GradientStore.open(folder / "train"), collected(queries, "query", None)
        return attribute(train, query, "datainf", damping=DAMPING).values

    return {
        "dot": whole("gradient"), "datainf": whole("datainf"),
        "datainf, its own batches": whole("datainf", None), "new queries": new_queries,
    }  # fmt: skip
