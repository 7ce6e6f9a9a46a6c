"""The released code's loss, against the model's own and against what it must not see."""

from __future__ import annotations

import torch

from conftest import make_base
from experiments.text.prompt_loss import padded, released_task

ROWS = [
    {"id": "a", "prompt": "ab -> ", "completion": "x"},
    {"id": "b", "prompt": "a longer prompt -> ", "completion": "y"},
]


def test_it_is_the_models_own_loss_with_the_input_ids_as_labels(tokenizer):
    model, task = make_base("llama").eval(), released_task()
    made = padded(ROWS, tokenizer, 64)
    found = task.losses(model, task.collate(made))
    for row, loss in zip(made, found, strict=True):
        ids, mask = torch.tensor([row["input_ids"]]), torch.tensor([row["attention_mask"]])
        own = model(input_ids=ids, attention_mask=mask, labels=ids).loss
        torch.testing.assert_close(loss, own)


def test_padding_counts_up_to_the_longest_of_the_split(tokenizer):
    model, task = make_base("llama").eval(), released_task()
    both, alone = padded(ROWS, tokenizer, 64), padded(ROWS[:1], tokenizer, 64)
    assert len(both[0]["input_ids"]) == len(ROWS[1]["prompt"])
    assert both[0]["input_ids"][len("ab -> ") :] == [tokenizer.eos_token_id] * 13
    assert sum(both[0]["attention_mask"]) == len("ab -> ")
    losses = [task.losses(model, task.collate(rows))[0] for rows in (both, alone)]
    assert abs(losses[0] - losses[1]) > 1e-3


def test_long_prompts_are_cut(tokenizer):
    assert [len(row["input_ids"]) for row in padded(ROWS, tokenizer, 8)] == [8, 8]
