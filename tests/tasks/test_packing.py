"""Packed rows are refused, however they say that they are."""

from __future__ import annotations

import pytest

from conftest import write_rows
from datainf import tasks
from datainf.data import load
from datainf.errors import DataError

IDS = [5, 6, 7, 8]


@pytest.mark.parametrize(("row", "message"), [
    ({"seq_lengths": [3, 1]}, "seq_lengths name 2 sequences"),
    ({"position_ids": [0, 1, 0, 1]}, "position_ids start again 1 times"),
    ({"position_ids": [0, 0, 0, 0]}, "position_ids start again 3 times"),
    ({"attention_mask": [1, 1, 2, 2]}, "attention_mask numbers 2 sequences"),
    ({"input_ids": [[5, 6], [7]]}, "input_ids hold 2 sequences"),
])  # fmt: skip
def test_packed_rows(row, message, tokenizer, tmp_path):
    row = {"input_ids": IDS} | row
    with pytest.raises(DataError, match=f"the row is packed: its {message}") as caught:
        tasks.CausalLM(tokenizer).encode(row)
    assert "packing=False" in caught.value.remedy
    # The columns that say so come through from a file.
    data = load(write_rows(tmp_path / "d.jsonl", [row])) if "seq_lengths" in row else [row]
    with pytest.raises(DataError, match="packed"):
        tasks.CausalLM(tokenizer).encode(data[0])


@pytest.mark.parametrize("row", [
    {"seq_lengths": [4]},
    {"position_ids": [0, 1, 2, 3]},
    {"position_ids": [1, 1, 0, 1], "attention_mask": [0, 0, 1, 1]},  # padded on the left
])  # fmt: skip
def test_rows_with_one_sequence(row, tokenizer):
    assert tasks.CausalLM(tokenizer).encode({"input_ids": IDS} | row)["input_ids"][-1] == 8


def test_masks_of_what_is_supervised(tokenizer):
    task = tasks.CausalLM(tokenizer)
    for part in ("completion_mask", "assistant_masks"):
        encoded = task.encode({"input_ids": IDS, part: [0, 0, 1, 1]})
        assert encoded["labels"] == [-100, -100, 7, 8]
    with pytest.raises(DataError, match="differ in length"):
        task.encode({"input_ids": IDS, "completion_mask": [1]})
