"""pyDVL: DataInf, which it calls the inverse harmonic mean, in two divisions into blocks.

- `datainf`: a block is a matrix of the LoRA, as DataInf has it; every block takes gradients of its
  own, in passes of its own over the rows;
- `datainf in one block`: all matrices together, which is another approximation.

The queries are one batch, whose products with the approximate inverse are then multiplied with the
rows' gradients, so that they are taken once. Sequences are padded at the right under causal
attention and have no mask, which vmap would not pass.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import truth
from pydvl.influence import SequentialInfluenceCalculator
from pydvl.influence.torch import BlockMode, InverseHarmonicMeanInfluence
from pydvl.influence.torch.util import NestedTorchCatAggregator
from torch import Tensor, nn
from torch.utils.data import DataLoader
from work import BATCH, Row, losses_of, make_model, padded

PACKAGE = "pydvl"
TRUTHS = {"datainf": truth.datainf, "datainf in one block": truth.datainf_in_one}
NOTES = [
    "its mean over batches counts the first one once and every other one m times (PointAveraging)"
]
BLOCKS = {
    "datainf": BlockMode.PARAMETER_WISE,
    "datainf in one block": BlockMode.FULL,
}


class Logits(nn.Module):
    """The model as pyDVL calls it: from a tensor to a tensor."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model(input_ids=tokens).logits


def stages(_: Path) -> dict[str, Callable[[list[Row], list[Row]], Tensor]]:
    model = Logits(make_model())
    return {name: partial(datainf, model, blocks) for name, blocks in BLOCKS.items()}


def datainf(model: Logits, blocks: BlockMode, rows: list[Row], queries: list[Row]) -> Tensor:
    influence = InverseHarmonicMeanInfluence(
        model, lambda logits, labels: losses_of(logits, labels).mean(), truth.DAMPING, blocks
    )
    train = DataLoader(rows, BATCH, collate_fn=pair)
    query = DataLoader(queries, len(queries), collate_fn=pair)
    calculator = SequentialInfluenceCalculator(influence.fit(train))
    factors = calculator.influence_factors(query).compute()
    found = calculator.influences_from_factors(factors, train)
    return found.compute(aggregator=NestedTorchCatAggregator())


def pair(rows: list[Row]) -> tuple[Tensor, Tensor]:
    batch = padded(rows)
    return batch["input_ids"], batch["labels"]
