"""Representations against the hidden states of one example at a time, and cosines by hand."""

from __future__ import annotations

import pytest
import torch

from conftest import make_model, make_rows
from datainf import tasks
from datainf.errors import ModelError, OptionError
from datainf.evaluation import representations, similarity


@pytest.mark.parametrize("kind", ["llama", "bert"])
@pytest.mark.parametrize("pool", ["mean", "last"])
def test_padding_and_dropout_do_not_count(kind, pool, tokenizer):
    model, rows = make_model(kind).train(), make_rows(kind)
    kinds = {"llama": tasks.CausalLM, "bert": tasks.SequenceClassification}
    task = kinds[kind](tokenizer)
    found = representations(model, rows, task, pool=pool, batch_size=4)
    assert model.training  # left as it was found
    model.eval()
    for row, h in zip(rows, found, strict=True):
        batch = task.for_model(model).collate([row])
        batch.pop("labels")
        with torch.no_grad():
            states = model(**batch, output_hidden_states=True).hidden_states[-1][0]
        expected = states.mean(0) if pool == "mean" else states[-1]
        torch.testing.assert_close(h, expected)


def test_what_cannot_be_represented(tokenizer):
    model, rows, task = make_model("llama"), make_rows("llama"), tasks.CausalLM(tokenizer)
    assert representations(model, [], task).shape == (0, 0)
    with pytest.raises(OptionError, match="unknown pool"):
        representations(model, rows, task, pool="max")

    class Bare(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(1, 1)

        def forward(self, **inputs):
            return inputs

    with pytest.raises(ModelError, match="Bare gives no hidden states"):
        representations(Bare(), rows, task)


def test_similarity_is_centred_on_the_training_examples():
    train = torch.tensor([[3.0, 1.0], [1.0, 3.0], [2.0, 2.0]])
    found = similarity(torch.tensor([[4.0, 0.0], [2.0, 2.0]]), train)
    expected = torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(found, expected)
