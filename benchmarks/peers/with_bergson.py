"""Bergson: inner products of gradients, in one pass and through a store on disk.

- `dot`: the queries' gradients are collected in memory, and the rows are scored with them as they
  pass, which its documentation recommends for few queries;
- `build` writes the rows' gradients to disk, `search` collects the queries', loads the store and
  multiplies.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
import truth
from bergson import (
    Attributor,
    CollectorComputer,
    GradientProcessor,
    IndexConfig,
    InMemoryCollector,
    Scorer,
    collect_gradients,
)
from bergson.score.score_writer import InMemorySequenceScoreWriter
from bergson.utils.peft import detect_peft_modules
from datasets import Dataset
from torch import Tensor
from work import BATCH, Row, make_model

PACKAGE = "bergson"
TRUTHS = {"dot": truth.dot, "search": truth.dot}
NOTES = ["dot and build + search are two ways to the same scores"]


class Bergson:
    def __init__(self, folder: Path) -> None:
        self.model = make_model()
        self.modules = detect_peft_modules(self.model)
        self.cfg = IndexConfig(run_path=str(folder / "store"), loss_reduction="mean")

    def dot(self, rows: list[Row], queries: list[Row]) -> Tensor:
        of_queries = self.gradients(queries)
        writer = InMemorySequenceScoreWriter(len(rows), len(queries))
        scorer = Scorer(of_queries, list(of_queries), writer, torch.device("cpu"), torch.float32)
        self.collect(rows, scorer=scorer)
        return writer.scores.T

    def build(self, rows: list[Row], _: list[Row]) -> None:
        shutil.rmtree(self.cfg.partial_run_path, ignore_errors=True)
        self.cfg.partial_run_path.mkdir(parents=True)
        collect_gradients(
            self.model, data(rows), GradientProcessor(), self.cfg, batches=indices(rows),
            target_modules=self.modules,
        )  # fmt: skip

    def search(self, _: list[Row], queries: list[Row]) -> Tensor:
        scores, order = Attributor(self.cfg.partial_run_path).search(self.gradients(queries), None)
        return torch.zeros_like(scores).scatter(1, order, scores)

    def gradients(self, rows: list[Row]) -> dict[str, Tensor]:
        return self.collect(rows).gradients

    def collect(self, rows: list[Row], scorer: Scorer | None = None) -> InMemoryCollector:
        self.cfg.partial_run_path.mkdir(parents=True, exist_ok=True)
        collector = InMemoryCollector(
            model=self.model.base_model, data=data(rows), cfg=self.cfg, scorer=scorer,
            target_modules=self.modules,
        )  # fmt: skip
        CollectorComputer(
            self.model, collector.data, collector=collector, batches=indices(rows), cfg=self.cfg
        ).run_with_collector_hooks()
        return collector


def stages(folder: Path) -> dict[str, Any]:
    tool = Bergson(folder)
    return {"dot": tool.dot, "build": tool.build, "search": tool.search}


def data(rows: list[Row]) -> Dataset:
    return Dataset.from_dict({"input_ids": rows, "length": [len(row) for row in rows]})


def indices(rows: list[Row]) -> list[list[int]]:
    every = list(range(len(rows)))
    return [every[start : start + BATCH] for start in range(0, len(rows), BATCH)]
