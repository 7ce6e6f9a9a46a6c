"""A BERT classifier of which only the last layers are trained: what the others make of a text is
computed once, and a hundred trainings start from there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from datainf.tasks import SequenceClassification


class UpperLayers:
    """The losses of a BertForSequenceClassification from its layer number `first` on, of texts
    whose states below it are kept."""

    def __init__(
        self, model: Any, task: SequenceClassification, first: int, rows: Sequence[Any]
    ) -> None:
        self.first = first
        encoded = [task.encode(row) for row in rows]
        self.labels = task.collate(encoded)["labels"]
        self.states = [_below(model, task.collate([row]), first) for row in encoded]

    def losses(self, model: nn.Module, chosen: Sequence[int]) -> Tensor:
        """[rows] of the chosen ones, under a model in a peft adapter."""
        bert, classifier = _parts(model)
        states = [self.states[i] for i in chosen]
        h = pad_sequence(states, batch_first=True)
        mask = pad_sequence([torch.zeros(len(s)) for s in states], True, float("-inf"))
        for layer in bert.encoder.layer[self.first :]:
            h = layer(h, attention_mask=mask[:, None, None, :])
        logits = classifier(bert.pooler(h))
        return cross_entropy(logits, self.labels[list(chosen)], reduction="none")


def _parts(model: Any) -> tuple[Any, Any]:
    inner = model.base_model.model
    return inner.bert, inner.classifier


@torch.no_grad()
def _below(model: Any, batch: dict[str, Tensor], first: int) -> Tensor:
    """[tokens, width]: what layer `first` is given."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    states: Tensor = _parts(model)[0](**inputs, output_hidden_states=True).hidden_states[first][0]
    return states
