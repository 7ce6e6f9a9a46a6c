"""Sources, targets and their limits."""

from __future__ import annotations

import pytest

from conftest import make_base
from datainf import tasks
from datainf.errors import DataError, ModelError, OptionError
from datainf.tasks.base import TRUNCATED
from tiny_models import tiny_base


def test_limits_of_source_and_target_are_apart(tokenizer):
    task = tasks.Seq2Seq(tokenizer, max_length=4, max_target_length=3)
    encoded = task.encode({"source": "abcdef", "target": "uvwxyz"})
    assert tokenizer.decode(encoded["input_ids"]) == "abcd"
    assert tokenizer.decode(encoded["labels"]) == "uvw"
    assert encoded[TRUNCATED] == 2 + 3
    assert task.length(encoded) == 7
    assert task.encode(encoded) == encoded


def test_the_models_limits_are_kept(tokenizer):
    task = tasks.Seq2Seq(tokenizer, max_target_length=20).for_model(tiny_base("bart"))
    assert (task.max_length, task.max_target_length) == (96, 20)
    free = tasks.Seq2Seq(tokenizer).for_model(tiny_base("t5"))
    assert (free.max_length, free.max_target_length) == (None, None)  # relative positions
    with pytest.raises(ModelError, match="LlamaForCausalLM has no encoder and decoder"):
        tasks.Seq2Seq(tokenizer).for_model(make_base("llama"))
    with pytest.raises(OptionError, match="at least 1"):
        tasks.Seq2Seq(tokenizer, max_target_length=0)


def test_tokenised_rows(tokenizer):
    task = tasks.Seq2Seq(tokenizer, max_length=3, max_target_length=2)
    encoded = task.encode({"input_ids": [5, 6], "labels": [7, -100]})
    assert (encoded["labels"], encoded["attention_mask"]) == ([7], [1, 1])
    assert task.encode({"input_ids": [5], "labels": [7, 8, 9]})[TRUNCATED] == 1
    for row, message in [
        ({"input_ids": [5], "labels": [-100]}, "no label to learn from"),
        ({"input_ids": [5]}, "no label to learn from"),
        ({"input_ids": [5] * 4, "labels": [7]}, "4 tokens and the limit is 3"),
        ({"source": "a"}, "no source and target"),
        ({"source": "a", "target": ""}, "the target has no token"),
    ]:
        with pytest.raises(DataError, match=message):
            task.encode(row)


def test_description(tokenizer):
    task = tasks.Seq2Seq(tokenizer)
    assert task.describe({"source": "a", "target": "b"}) == "a → b"
    ids = {
        "input_ids": tokenizer("ab")["input_ids"],
        "labels": [*tokenizer("c")["input_ids"], -100],
    }
    assert task.describe(ids) == "ab → c"
