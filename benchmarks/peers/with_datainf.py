"""datainf itself, for the same table, with gradients on disk between its two steps.

`dot` and `datainf` are all that there is to do, from the model to the scores, with the check
against autograd at every start; `new queries` asks a training store that is there for the scores
of others.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import truth
from torch import Tensor
from work import Row, losses, make_model, padded

from datainf import GradientStore, attribute, collect
from datainf.tasks import Custom

PACKAGE = "datainf"
TRUTHS = {"dot": truth.dot, "datainf": truth.datainf, "new queries": truth.datainf}
NOTES = ["stores written to disk and synced; `new queries` has the training store from before"]
DAMPING = f"abs:{truth.DAMPING}"


def stages(folder: Path) -> dict[str, Callable[[list[Row], list[Row]], Tensor]]:
    model, task = make_model(), Custom(losses, collate=padded, length=len)

    def collected(rows: list[Row], name: str) -> GradientStore:
        shutil.rmtree(folder / name, ignore_errors=True)
        return collect(model, rows, task, out=folder / name)

    def whole(method: str) -> Callable[[list[Row], list[Row]], Tensor]:
        return lambda rows, queries: (
            attribute(
                collected(rows, "train"), collected(queries, "query"), method, damping=DAMPING
            ).values
        )

    def new_queries(_: list[Row], queries: list[Row]) -> Tensor:
        train = GradientStore.open(folder / "train")
        return attribute(train, collected(queries, "query"), "datainf", damping=DAMPING).values

    return {"dot": whole("gradient"), "datainf": whole("datainf"), "new queries": new_queries}
