"""Baselines that no gradient is needed for, as influence on the validation rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from datainf.evaluation import representations, similarity
from datainf.tasks import SequenceClassification
from experiments.baselines import bm25, chance
from experiments.glue.data import Row, Split


def likeness(
    model: nn.Module, task: SequenceClassification, rows: Split, seed: int
) -> dict[str, Tensor]:
    """Influence [n] by name: alike with the same label helps, with the other label hurts."""
    train, validation = rows.train, rows.validation
    labels = [torch.tensor([row["label"] for row in part]) for part in (validation, train)]
    sign = torch.where(labels[0][:, None] == labels[1], 1.0, -1.0)
    h = [representations(model, part, task) for part in (validation, train)]
    texts = [[_text(row) for row in part] for part in (validation, train)]
    return {
        "representation similarity": (sign * similarity(h[0], h[1])).mean(dim=0),
        "BM25": (sign * bm25(texts[0], texts[1])).mean(dim=0),
        "random": chance(1, len(train), seed)[0],
    }


def _text(row: Row) -> str:
    return f"{row['text']} {row.get('text_pair', '')}"
