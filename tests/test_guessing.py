"""A model that does worse than one that knows nothing is told of: its labels are not the data's."""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch

from datainf import tasks
from datainf.runs import say_if_it_guesses
from datainf.tasks.labels import Labels


def said(task, losses):
    found = []
    say_if_it_guesses(task, torch.tensor(losses), found.append)
    return found


def test_worse_than_guessing_is_said():
    task = tasks.SequenceClassification(SimpleNamespace(), labels=Labels(count=2))
    assert task.guessing == math.log(2)
    assert said(task, [0.1, 0.9]) == []
    (text,) = said(task, [1.4, 2.1])
    assert text.startswith(
        "the model's mean loss on its training data is 1.75, and guessing has 0.693"
    )
    assert said(task, []) == []


def test_of_others_nothing_is_known():
    several = Labels("multi_label_classification", 3)
    numbers = Labels("regression", 1)
    for labels in (several, numbers, Labels()):
        assert tasks.SequenceClassification(SimpleNamespace(), labels=labels).guessing is None
    assert tasks.CausalLM(SimpleNamespace()).guessing is None
