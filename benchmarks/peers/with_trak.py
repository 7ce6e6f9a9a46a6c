"""TRAK: gradients of all sequences through a random projection, and X (XᵀX)⁻¹ of the rows'.

Its model output is the loss itself, so that it differentiates what the others do. It projects to
512 dimensions, fewer than there are rows, for XᵀX to have an inverse; its default of 2,048 is for
data sets that are larger. Without a projection XᵀX would be a matrix of the adapter's size.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import truth
from torch import Tensor, nn
from torch.func import functional_call
from trak import TRAKer
from trak.gradient_computers import FunctionalGradientComputer
from trak.modelout_functions import AbstractModelOutput
from trak.projectors import BasicProjector, ProjectionType
from work import Row, adapter_of, batches, losses_of, make_model

PACKAGE = "traker"
TRUTHS: dict[str, Callable[..., Tensor]] = {}
NOTES = ["projected to 512 dimensions: other scores than the others' by intent"]
DIMENSIONS = 512


class Loss(AbstractModelOutput):
    def __init__(self) -> None:
        super().__init__()

    @staticmethod
    def get_output(
        model: nn.Module, weights: Any, buffers: Any, tokens: Tensor, labels: Tensor
    ) -> Tensor:
        logits = functional_call(model, (weights, buffers), (tokens[None],)).logits
        return losses_of(logits, labels[None])[0]

    def get_out_to_loss_grad(
        self,
        model: nn.Module,  # noqa: ARG002 - the loss's derivative in itself
        weights: Any,  # noqa: ARG002
        buffers: Any,  # noqa: ARG002
        batch: list[Tensor],
    ) -> Tensor:
        return torch.ones(len(batch[0]), 1)


class OfAdapter(FunctionalGradientComputer):
    """Differentiates in the adapter alone; TRAK itself does in all and keeps `grad_wrt`."""

    def load_model_params(self, model: nn.Module) -> None:
        super().load_model_params(model)
        self.func_weights = adapter_of(model)


class Kept(BasicProjector):
    """A projection whose matrix is one block, drawn once: with several it is drawn anew for every
    batch, and with one it is missed after `finalize_features`, which frees it."""

    def free_memory(self) -> None:
        pass


def stages(folder: Path) -> dict[str, Callable[[list[Row], list[Row]], Tensor]]:
    model = make_model()
    adapter = adapter_of(model)
    size = sum(parameter.numel() for parameter in adapter.values())

    @torch.no_grad()
    def trak(rows: list[Row], queries: list[Row]) -> Tensor:
        shutil.rmtree(folder / "trak", ignore_errors=True)
        projector = Kept(size, DIMENSIONS, 0, ProjectionType.normal, "cpu", block_size=DIMENSIONS)
        traker = TRAKer(
            model, Loss(), len(rows), save_dir=str(folder / "trak"), device="cpu",
            gradient_computer=OfAdapter, projector=projector, use_half_precision=False,
            grad_wrt=list(adapter), lambda_reg=truth.DAMPING, logging_level=logging.ERROR,
        )  # fmt: skip
        traker.load_checkpoint(model.state_dict(), model_id=0)
        for tokens, labels in pairs(rows):
            traker.featurize((tokens, labels), num_samples=len(tokens))
        traker.finalize_features()
        traker.start_scoring_checkpoint("queries", model.state_dict(), 0, len(queries))
        for tokens, labels in pairs(queries):
            traker.score((tokens, labels), num_samples=len(tokens))
        return torch.tensor(traker.finalize_scores("queries")).T

    return {"trak": trak}


def pairs(rows: list[Row]) -> list[tuple[Tensor, Tensor]]:
    return [(batch["input_ids"], batch["labels"]) for batch in batches(rows)]
