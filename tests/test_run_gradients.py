"""What is said of stores that were collected."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from conftest import write_rows
from datainf import collect, tasks
from datainf.data import load
from datainf.errors import DataError
from datainf.gradients.survey import survey
from datainf.progress import Silent
from datainf.run_gradients import _collected, _folders
from datainf.tasks.labels import Labels


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


def test_a_list_of_labels_names_no_class(tmp_path):
    """Which row it is, the task says, as of any label that it cannot use."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (2, 2)).save(folder / name)
    labels = [("a.png", "no"), ("b.png", [1, 2]), ("c.png", "yes")]
    write_rows(folder / "metadata.jsonl", [{"file_name": n, "label": one} for n, one in labels])
    data = load(folder, "image-classification")
    config = SimpleNamespace(num_labels=2, label2id={"LABEL_0": 0, "LABEL_1": 1})
    assert _folders(data, SimpleNamespace(config=config)) == ["no", "yes"]
    task = tasks.ImageClassification(None, Labels("single_label_classification", 2, {"no": 0}))
    task = replace(task, processor=lambda **_: {"pixel_values": torch.zeros(1, 3, 2, 2)})
    where = r"pictures/b\.png, row 1 \(line 2\): label \[1, 2\] is a list"
    with pytest.raises(DataError, match=where):
        survey(data, task, Silent())
