"""What labels may look like for each kind of output, and what is said of those that do not fit."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from transformers import BertConfig

from datainf import tasks
from datainf.errors import DataError, ModelError
from datainf.tasks.labels import Labels

NAMES = {"red": 0, "green": 1, "blue": 2}
ONE = Labels("single_label_classification", 3, NAMES)
SEVERAL = Labels("multi_label_classification", 3, NAMES)
UNSAID = Labels(None, 3, NAMES)
NUMBER = Labels("regression", 1)
NUMBERS = Labels("regression", 2)


@pytest.mark.parametrize(("labels", "given", "target"), [
    (ONE, "blue", 2), (ONE, "1", 1), (ONE, 2.0, 2), (ONE, True, 1), (UNSAID, 1, 1),
    (SEVERAL, ["red", "blue"], [1, 0, 1]), (SEVERAL, [2], [0, 0, 1]), (SEVERAL, [], [0, 0, 0]),
    (SEVERAL, [1, 0, 1], [1, 0, 1]), (SEVERAL, [0.0, 0.25, 1.0], [0, 0.25, 1]),
    (SEVERAL, [1, 2], [0, 1, 1]), (SEVERAL, torch.tensor([0.0, 1.0, 1.0]), [0, 1, 1]),
    (SEVERAL, [np.int64(0), np.int64(1), np.int64(1)], [0, 1, 1]), (SEVERAL, (0, 2), [1, 0, 1]),
    (SEVERAL, (torch.tensor(0), torch.tensor(2)), [1, 0, 1]), (ONE, np.int64(2), 2),
    (ONE, np.str_("blue"), 2), (NUMBERS, (np.float32(1), 2.5), [1, 2.5]),
    (UNSAID, ["green"], [0, 1, 0]),
    (NUMBER, 3.7, [3.7]), (NUMBER, "-2.5", [-2.5]), (NUMBER, [4], [4]),
    (NUMBERS, [1, 2.5], [1, 2.5]),
])  # fmt: skip
def test_labels_that_fit(labels, given, target):
    assert labels.read({"label": given}) == target


@pytest.mark.parametrize(("labels", "given", "message"), [
    (ONE, 3.7, "label 3.7 is not a class index"),
    (ONE, 3, "out of range: the model's classes are 0 to 2"),
    (ONE, "pink", r"'pink' is not a class of the model \(its classes: red, green, blue\)"),
    (SEVERAL, functools.reduce(lambda inner, _: [inner], range(5000), 1), "label .* is a list"),
    (ONE, b"1", "is a bytes, and the model gives one label"),
    (ONE, [1], r"label \[1\] is a list, and the model gives one label"),
    (SEVERAL, 1, "is not a list, and an example may have several labels"),
    (SEVERAL, "red", "is not a list"),
    (SEVERAL, ["pink"], "not a class of the model"),
    (SEVERAL, [0, 7], "label 7 is out of range"),
    (SEVERAL, [0.5, 1.0], "not a number from 0 to 1 for each of the model's 3 classes"),
    (SEVERAL, [0.0, 0.0, 1.5], "not a number from 0 to 1"),
    (SEVERAL, [math.nan, 0.0, 1.0], "not a number from 0 to 1"),
    (NUMBER, math.nan, "nan is not a finite number"),
    (NUMBER, math.inf, "inf is not a finite number"),
    (NUMBER, "many", "'many' is not a finite number"),
    (NUMBER, True, "True is not a finite number"),
    (NUMBER, [1, 2], "holds 2 numbers and the model gives 1"),
    (NUMBERS, 1.5, "holds 1 numbers and the model gives 2"),
    (NUMBER, None, "has no label"),
])  # fmt: skip
def test_labels_that_do_not_fit(labels, given, message):
    with pytest.raises(DataError, match=message) as caught:
        labels.read({"label": given})
    assert caught.value.remedy


def test_rows_with_one_label_and_with_several_do_not_mix():
    assert UNSAID.collate([1, 2]).dtype == torch.long
    assert UNSAID.collate([[1.0, 0.0]]).dtype == torch.float32
    with pytest.raises(DataError, match="one kind of label"):
        UNSAID.collate([1, [0.0, 1.0, 0.0]])


def test_what_a_configuration_says():
    assert Labels.of(BertConfig(num_labels=1)).problem == "regression"
    assert Labels.of(BertConfig(num_labels=3)).problem is None
    several = BertConfig(num_labels=3, problem_type="multi_label_classification")
    assert Labels.of(several).problem == "multi_label_classification"
    assert Labels.of(BertConfig(label2id=NAMES, id2label={0: "red", 1: "green", 2: "blue"})) == (
        Labels(None, 3, NAMES)
    )
    several.problem_type = "guessing"
    with pytest.raises(ModelError, match="problem_type is 'guessing'"):
        Labels.of(several)


def test_kinds_of_output_are_told_apart(tokenizer):
    task = tasks.SequenceClassification(tokenizer)
    assert task.settings() != tasks.SequenceClassification(tokenizer, labels=SEVERAL).settings()
