"""Batches of every form as rows, and what is none."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from datainf.errors import InputError
from datainf.integrations.rows import by_number, rows_of

IDS = torch.tensor([[5, 6, 0], [7, 8, 9]])


def plain(rows):
    return [{key: torch.as_tensor(v).tolist() for key, v in row.items()} for row in rows]


def test_columns_and_targets_are_rows_with_labels():
    columns = {"input_ids": IDS, "attention_mask": (IDS > 0).long()}
    each = [
        {"input_ids": [5, 6, 0], "attention_mask": [1, 1, 0]},
        {"input_ids": [7, 8, 9], "attention_mask": [1, 1, 1]},
    ]
    assert plain(rows_of(columns)) == plain(rows_of((columns, None))) == each
    with_labels = [{**row, "labels": label} for row, label in zip(each, (2, 0), strict=True)]
    for targets in (torch.tensor([2, 0]), [2, 0]):
        assert plain(rows_of((columns, targets))) == with_labels
        assert plain(rows_of((each, targets))) == with_labels
    assert plain(rows_of((columns, IDS)))[1]["labels"] == [7, 8, 9]
    assert plain(rows_of(({**columns, "labels": IDS}, IDS[:, :1])))[0]["labels"] == [5]


def test_what_is_no_batch_is_said():
    for batch, match in [
        (({"input_ids": IDS}, [1, 2, 3]), r"\[2, 3\] rows"),
        (({"input_ids": IDS, "odd": "text"}, [1, 2]), "part of the batch is a str"),
        ((IDS, None), "part of the batch is a NoneType"),
        ((["a", "b"], [1, 2]), "holds a str"),
        (torch.tensor(1.0), "one example"),
        (3, "a int is no batch"),
    ]:
        with pytest.raises(InputError, match=match):
            rows_of(batch)


def test_data_that_only_come_one_after_another_are_refused():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([(torch.zeros(2), 0)])

    for data in (Stream(), DataLoader(Stream()), iter([1]), {1, 2}):
        with pytest.raises(InputError, match="no length or no rows") as raised:
            by_number(data)
        assert "list(dataset)" in raised.value.remedy
    data = TensorDataset(IDS)
    assert by_number(DataLoader(data)) is by_number(data) is data
