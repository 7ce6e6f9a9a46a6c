"""Which tokens get a word's tag."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from datainf import tasks
from datainf.errors import DataError, ModelError
from datainf.tasks.base import TRUNCATED
from datainf.tasks.labels import Labels

LABELS = Labels("single_label_classification", 3, {"O": 0, "B": 1, "I": 2})


def task_of(tokenizer, **options):
    return tasks.TokenClassification(tokenizer, labels=LABELS, **options)


def test_the_first_token_of_a_word_has_its_tag(tokenizer):
    encoded = task_of(tokenizer).encode({"tokens": ["ab", "c", "def"], "tags": ["B", 0, "2"]})
    assert encoded["labels"] == [1, -100, 0, 2, -100, -100]
    assert len(encoded["input_ids"]) == 6
    assert task_of(tokenizer).encode(encoded) == encoded
    for plain in (np.array([1, 0, 2]), (torch.tensor(1), np.int64(0), "2")):
        same = task_of(tokenizer).encode({"tokens": ["ab", "c", "def"], "tags": plain})
        assert same == encoded
    ignored = task_of(tokenizer).encode({"tokens": ["ab", "c"], "tags": [-100, 1]})
    assert ignored["labels"] == [-100, -100, 1]


def test_special_tokens_have_none():
    made = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "a": 2, "b": 3, "?": 4}, "?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<s>")
    encoded = task_of(fast).encode({"tokens": ["a", "b"], "tags": [1, 2]})
    assert encoded["labels"] == [-100, 1, 2, -100]
    cut = task_of(fast, max_length=3).encode({"tokens": ["a", "b"], "tags": [1, 2]})
    assert cut["labels"] == [-100, 1, -100]
    assert cut[TRUNCATED] == 1


def test_tokenised_rows(tokenizer):
    task = task_of(tokenizer, max_length=4)
    row = {"input_ids": [5, 6, 7, 0], "attention_mask": [1, 1, 1, 0], "labels": [1, -100, "I", 2]}
    assert task.encode(row)["labels"] == [1, -100, 2, -100]  # padding has none
    for change, message in [
        ({"labels": [1, 2]}, "4 input_ids and 2 labels"),
        ({"labels": [-100] * 4}, "no labelled token"),
        ({"labels": [3, 0, 0, 0]}, "label 3 is out of range"),
        ({"attention_mask": [1]}, "differ in length"),
        ({"input_ids": [5] * 5, "attention_mask": [1] * 5}, "5 tokens and the limit is 4"),
    ]:
        with pytest.raises(DataError, match=message):
            task.encode(row | change)
    with pytest.raises(DataError, match="input_ids and no labels"):
        task.encode({"input_ids": [5]})


@pytest.mark.parametrize(("row", "message"), [
    ({"tokens": [], "tags": []}, "not a list of words"),
    ({"tokens": ["a", 3], "tags": [0, 0]}, "not a list of words"),
    ({"tokens": ["a", "b"], "tags": [0]}, "2 tokens and 1 tags"),
    ({"tokens": ["a"], "tags": ["X"]}, "'X' is not a class of the model"),
    ({"tokens": ["a"], "tags": [3]}, "out of range"),
    ({"tokens": ["a"], "tags": [None]}, "neither a class index nor a class name"),
    ({"tokens": ["a"], "tags": [0.5]}, "not a class index"),
    ({"tokens": ["a"], "tags": [-100]}, "no labelled token"),
    ({"tokens": ["aaaa", "b"], "tags": [-100, 1]}, "no labelled token within the first 3 tokens"),
    ({"text": "a"}, "no tagged words"),
])  # fmt: skip
def test_rows_that_do_not_fit(row, message, tokenizer):
    with pytest.raises(DataError, match=message):
        task_of(tokenizer, max_length=3).encode(row)


def test_a_tokenizer_that_knows_no_words_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(ModelError, match="needs a fast tokenizer, and Slow is none"):
        task_of(Slow()).encode({"tokens": ["a"], "tags": [0]})


def test_description(tokenizer):
    task = task_of(tokenizer)
    assert task.describe({"tokens": ["a", "b"], "tags": ["O", "B"]}) == "a/O b/B"
    assert task.describe({"input_ids": tokenizer("xyz")["input_ids"], "labels": []}) == "xyz"
