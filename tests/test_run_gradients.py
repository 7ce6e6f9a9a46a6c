"""What is said of stores that were collected."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from datainf import collect, tasks
from datainf.run_gradients import _collected


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({}, "was cut"),
        ({"max_length": 9}, "was cut to 9 tokens"),
        ({"max_length": 9, "max_target_length": 4}, "was cut to 9 and 4 tokens"),
    ],
)
def test_cut_examples_are_counted_with_the_limits_that_are_known(limits, told, tmp_path):
    task = tasks.Custom(lambda m, b: m(b)[:, 0])
    store = collect(torch.nn.Linear(2, 1), [torch.ones(2)], task, out=tmp_path)
    store.index.notes["truncated"] = 1
    text = _collected(store, SimpleNamespace(**limits))
    assert text.endswith(f"; 1 of 1 example {told}")
