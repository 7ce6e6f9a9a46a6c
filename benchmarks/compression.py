"""What smaller stores keep of the scores: MiniLM with LoRA, fine-tuned on SST-2, 1,000 rows.

Each store's scores beside those of the float32 store, by the same method and damping: Spearman's
rank correlation and the share of the top 10 that is the same, means over 100 queries. `datainf
score --check` says the same of any store, of a sample. Nothing is timed.
"""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from typing import Any

import torch

import datainf
from benchmarks.works import Work, minilm
from datainf.evaluation.metrics import rank_correlations, top_overlap

ROWS, QUERIES, EPOCHS, BATCH, RATE = 1000, 100, 3, 32, 1e-3
STORES: dict[str, dict[str, Any]] = {
    "float32": {},
    "bfloat16": {"dtype": "bfloat16"},
    "int8": {"dtype": "int8"},
    "1/4": {"project": 4},
    "1/16": {"project": 16},
    "1/64": {"project": 64},
    "1/4, int8": {"project": 4, "dtype": "int8"},
    "1/8, int8": {"project": 8, "dtype": "int8"},
    "1/16, int8": {"project": 16, "dtype": "int8"},
    "1/32, int8": {"project": 32, "dtype": "int8"},
}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "datainf": ("datainf", {}),
    "gradient": ("gradient", {}),
    "ridge, rows:20, unit, model": ("ridge", {"damping": "rows:20", "metric": "none"}),
    "exact, trace:0.1": ("exact", {"damping": "trace:0.1"}),
    "exact, trace:0.02, unit, model": (
        "exact", {"damping": "trace:0.02", "normalize": "unit", "blocks": "model"}
    ),
    "exact": ("exact", {}),
    "cg": ("cg", {}),
}  # fmt: skip
TOP = 10


def run(data: Path | None) -> dict[str, Any]:
    if data is None:
        return {}
    train, query = minilm(data, "SST-2", ROWS), validation(data)
    finetune(train)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        full: dict[str, torch.Tensor] = {}
        for kind, options in STORES.items():
            stores = [
                datainf.collect(
                    train.model, rows, train.task, out=Path(name) / kind.replace("/", "-") / part,
                    sample=False, **options,
                )
                for part, rows in (("train", train.rows), ("query", query))
            ]  # fmt: skip
            scores = {
                label: datainf.attribute(*stores, method, **settings).values
                for label, (method, settings) in METHODS.items()
            }
            full = full or scores
            found[kind] = {"row_bytes": stores[0].index.row_bytes} | {
                label: compared(values, full[label]) for label, values in scores.items()
            }
    return found


def validation(data: Path) -> list[dict[str, Any]]:
    with (data / "SST-2/dev.tsv").open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        rows = [{"text": row["sentence"], "label": int(row["label"])} for row in table]
    return rows[:QUERIES]


def finetune(work: Work) -> None:
    task = work.task.for_model(work.model)
    chosen = [p for p in work.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(chosen, lr=RATE)
    torch.manual_seed(0)
    for _ in range(EPOCHS):
        for places in torch.randperm(len(work.rows)).split(BATCH):
            batch = task.collate([work.rows[place] for place in places.tolist()])
            task.losses(work.model, batch).mean().backward()
            optimizer.step()
            optimizer.zero_grad()


def compared(values: torch.Tensor, full: torch.Tensor) -> list[float]:
    """Spearman and the overlap of the top, means over queries."""
    overlap = top_overlap(values, full, TOP)
    return [float(rank_correlations(values, full).mean()), float(overlap.mean())]


def lines(found: dict[str, Any]) -> list[str]:
    full = found["float32"]["row_bytes"]
    table = [
        f"| store | size | {' | '.join(METHODS)} |",
        "|---" * (2 + len(METHODS)) + "|",
    ]
    for kind, one in found.items():
        cells = " | ".join(f"{one[m][0]:.4f} / {one[m][1]:.2f}" for m in METHODS)
        table.append(f"| {kind} | 1/{full / one['row_bytes']:.1f} | {cells} |")
    return table
