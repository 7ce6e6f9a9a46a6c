"""What is typed becomes a row as the training examples are."""

from __future__ import annotations

import json

import pytest

from datainf.data import load
from datainf.errors import DataError
from datainf.tasks.labels import Labels
from datainf.viewer.typed import Typed

USER, SAID = ({"role": role, "content": role} for role in ("user", "assistant"))


def typed_of(tmp_path, row, **options):
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(row) + "\n")
    return Typed.of(load(path, **options))


def turn(role, content):
    return {"role": role, "content": content}


@pytest.mark.parametrize("row", [
    {"prompt": "a", "completion": "b"}, {"text": "a", "label": 1},
    {"text": "a", "text_pair": "b", "label": "yes"}, {"text": "a"},
    {"prompt": "a", "chosen": "b", "rejected": "c"}, {"id": "q", "prompt": "a", "completion": "b"},
])  # fmt: skip
def test_texts_are_themselves(row, tmp_path):
    typed = typed_of(tmp_path, row)
    own = {name: value for name, value in row.items() if name != "id"}
    assert set(typed.fields) == set(own)
    assert typed.example({name: str(value) for name, value in own.items()}) == own


def test_conversations(tmp_path):
    typed = typed_of(tmp_path, {"messages": [USER, SAID]})
    assert typed.fields == ("prompt", "completion")
    assert typed.example({"prompt": "hi", "completion": "ho"}) == {
        "messages": [turn("user", "hi"), turn("assistant", "ho")]
    }


def test_preferred_conversations(tmp_path):
    said = {"prompt": "hi", "chosen": "ho", "rejected": "no"}
    typed = typed_of(tmp_path, {"prompt": [USER], "chosen": [SAID], "rejected": [SAID]})
    assert typed.fields == ("prompt", "chosen", "rejected")
    assert typed.example(said) == {
        "prompt": [turn("user", "hi")], "chosen": [turn("assistant", "ho")],
        "rejected": [turn("assistant", "no")],
    }  # fmt: skip
    typed = typed_of(tmp_path, {"chosen": [USER, SAID], "rejected": [USER, SAID]})
    assert typed.fields == ("prompt", "chosen", "rejected")
    assert typed.example(said) == {
        "chosen": [turn("user", "hi"), turn("assistant", "ho")],
        "rejected": [turn("user", "hi"), turn("assistant", "no")],
    }  # fmt: skip


@pytest.mark.parametrize(("own", "text", "truth"), [
    (1, "2", 2), (1, "good", "good"), ("1", "2", "2"), ("nan", "nan", "nan"), (0.5, ".25", 0.25),
    (["x", "y"], "x, z", ["x", "z"]), (["2024"], "2024,nan", ["2024", "nan"]),
    ([0, 1, 0], "0,1,1", [0, 1, 1]), ([0.5], ".5", [0.5]), ([2], "cat", ["cat"]),
])  # fmt: skip
def test_a_label_is_of_the_training_examples_kind(own, text, truth, tmp_path):
    found = typed_of(tmp_path, {"text": "a", "label": own}).example({"text": "b", "label": text})
    assert found["label"] == truth
    assert type(found["label"]) is type(truth)


def test_an_index_is_no_name_of_a_class(tmp_path):
    """The model may call its classes by numbers of their own."""
    labels = Labels(label2id={"1": 0, "2": 1, "3": 2}, count=3)
    typed = typed_of(tmp_path, {"text": "a", "label": 1})
    assert labels.read(typed.example({"text": "b", "label": "1"})) == 1


def test_what_is_no_text_is_not_typed(tmp_path):
    assert typed_of(tmp_path, {"input_ids": [1, 2], "label": 0}).fields == ()
    assert typed_of(tmp_path, {"tokens": ["a"], "tags": ["B"]}).fields == ()


def test_what_is_missing_or_empty_is_said(tmp_path):
    typed = typed_of(tmp_path, {"prompt": "a", "completion": "b"})
    with pytest.raises(DataError, match="completion is missing"):
        typed.example({"prompt": "a"})
    with pytest.raises(DataError, match="completion is empty"):
        typed.example({"prompt": "", "completion": ""})
