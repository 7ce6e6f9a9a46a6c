"""Kronfluence: inner products of gradients (its strategy `identity`), and EK-FAC.

Its pairwise scores never write a row's gradient out: modules multiply the queries' gradients with
activations as the backward pass goes over them, for all queries at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import truth
from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments, ScoreArguments
from kronfluence.task import Task
from kronfluence.utils.dataset import DataLoaderKwargs
from torch import Tensor, nn
from torch.distributions import Categorical
from work import BATCH, NONE, Batch, Row, losses, losses_of, make_model, padded

PACKAGE = "kronfluence"
TRUTHS = {"dot": truth.dot}
NOTES = ["ekfac has its own damping, 1e-8; factors and scores go to disk, as always with it"]


class Losses(Task):
    """Sums of the sequences' mean losses, so that each has the gradient that it has alone."""

    def __init__(self, tracked: list[str]) -> None:
        super().__init__()
        self.tracked = tracked

    def compute_train_loss(self, batch: Batch, model: nn.Module, sample: bool = False) -> Tensor:
        if not sample:
            return losses(model, batch).sum()
        labels = batch["labels"].clone()
        logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        drawn = Categorical(logits=logits.detach()[:, :-1]).sample()
        labels[:, 1:] = drawn.where(labels[:, 1:] != NONE, labels[:, 1:])
        return losses_of(logits, labels).sum()

    def compute_measurement(self, batch: Batch, model: nn.Module) -> Tensor:
        return self.compute_train_loss(batch, model)

    def get_influence_tracked_modules(self) -> list[str]:
        return self.tracked

    def get_attention_mask(self, batch: Batch) -> Tensor:
        return batch["attention_mask"]


class Kronfluence:
    def __init__(self, folder: Path) -> None:
        model = make_model()
        task = Losses([
            name for name, module in model.named_modules()
            if "lora_" in name and isinstance(module, nn.Linear)
        ])  # fmt: skip
        self.analyzer = Analyzer(
            "run", prepare_model(model, task), task, cpu=True, output_dir=str(folder),
            disable_tqdm=True,
        )  # fmt: skip
        self.analyzer.set_dataloader_kwargs(DataLoaderKwargs(collate_fn=padded))

    def dot(self, rows: list[Row], queries: list[Row]) -> Tensor:
        self.factors("identity", rows)  # computes nothing but is asked for
        return self.scores("identity", rows, queries)

    def ekfac_factors(self, rows: list[Row], _: list[Row]) -> None:
        self.factors("ekfac", rows)

    def ekfac(self, rows: list[Row], queries: list[Row]) -> Tensor:
        return self.scores("ekfac", rows, queries)

    def factors(self, strategy: str, rows: list[Row]) -> None:
        self.analyzer.fit_all_factors(
            strategy, rows, per_device_batch_size=BATCH,
            factor_args=FactorArguments(strategy=strategy), overwrite_output_dir=True,
        )  # fmt: skip

    def scores(self, strategy: str, rows: list[Row], queries: list[Row]) -> Tensor:
        self.analyzer.compute_pairwise_scores(
            strategy, strategy, queries, rows, per_device_query_batch_size=len(queries),
            per_device_train_batch_size=BATCH, score_args=ScoreArguments(),
            overwrite_output_dir=True,
        )  # fmt: skip
        return self.analyzer.load_pairwise_scores(strategy)["all_modules"]


def stages(folder: Path) -> dict[str, Any]:
    tool = Kronfluence(folder)
    return {"dot": tool.dot, "ekfac factors": tool.ekfac_factors, "ekfac": tool.ekfac}
