"""Batches of every form as rows, and what is none."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, default_collate

from datainf.errors import InputError
from datainf.integrations.rows import by_number, rows_of

IDS = torch.tensor([[5, 6, 0], [7, 8, 9]])


def plain(value):
    """Its tensors as Python's numbers."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return type(value)(map(plain, value)) if isinstance(value, list | tuple) else value


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
    assert plain(rows_of((columns, IDS.tolist())))[1]["labels"] == [7, 8, 9]
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


def numbered(count, length):
    """`count` rows of `length` numbers, of which no two are alike."""
    return torch.arange(count * length).view(count, length).tolist()


def lists(count, length):
    """As a tokenizer leaves rows in a data set: every column a list."""
    return [{"input_ids": row, "attention_mask": [1] * length} for row in numbered(count, length)]


OF_LISTS = {
    "lists": lambda row: {"input_ids": row, "attention_mask": [1] * len(row)},
    "lists and a label": lambda row: {"input_ids": row, "label": row[0] % 3},
    "pairs": lambda row: (row, row[0] % 3),
    "pairs of lists": lambda row: (row, [-one for one in row]),
    "pairs of columns": lambda row: {"boxes": [[one, -one] for one in row], "of": {"ids": row}},
    "texts": lambda row: {"text": f"text {row[0]}", "words": [f"w{one}" for one in row]},
    "numbers of other kinds": lambda row: {
        "halves": [one / 2 for one in row], "even": [one % 2 == 0 for one in row],
    },
}  # fmt: skip


@pytest.mark.parametrize(("count", "length"), [(4, 3), (3, 4), (4, 4), (1, 4), (4, 1)])
@pytest.mark.parametrize("kind", OF_LISTS)
def test_what_default_collate_makes_of_lists_is_taken_apart_again(kind, count, length):
    data = [OF_LISTS[kind](row) for row in numbered(count, length)]
    for size in {count, 2}:
        rows = rows_of(DataLoader(data, batch_size=size))
        assert plain(rows) == data
        assert repr(default_collate(rows)) == repr(default_collate(data))
        if kind in ("lists", "numbers of other kinds"):
            assert repr(rows) == repr(data)  # numbers, and no tensors that print as they do


def test_lists_of_tensors_and_texts_alone():
    data = [
        {
            "parts": [torch.tensor([i, 1.0]), torch.tensor([2.0, i])],
            "numbers": [torch.tensor(i / 3)],
        }
        for i in range(3)
    ]
    rows = rows_of(DataLoader(data, batch_size=3))
    assert repr(rows) == repr(data)
    assert rows_of(DataLoader(["a", "b", "c"], batch_size=2)) == ["a", "b", "c"]


@pytest.mark.parametrize("collate", [list, lambda rows: rows])
def test_a_loader_may_leave_examples_as_they_are(collate):
    pairs = [(torch.randn(2), torch.tensor(label)) for label in (0, 1)]
    mappings = [{"input_ids": [1, 2], "label": 0}, {"input_ids": [3, 4], "label": 1}]
    listed, tensors = [[1, 2], [3, 4]], list(torch.randn(2, 2))
    for data, plainly in ((pairs, True), (mappings, True), (listed, False), (tensors, False)):
        loader = DataLoader(data, batch_size=2, collate_fn=collate)
        told = plainly or collate is list  # without a training example, too
        for like in [data[0], None] if told else [data[0]]:
            rows = rows_of(loader, like)
            assert all(row is one for row, one in zip(rows, data, strict=True))
    columns = [[row[0] for row in pairs], [row[1] for row in pairs]]
    rows = rows_of(DataLoader(pairs, batch_size=2, collate_fn=lambda _: columns), like=pairs[0])
    assert plain(rows) == plain(pairs)


def of_tensors(rows):
    """A list of one tensor an example, as some collate functions leave a column."""
    return {name: [torch.tensor(row[name]) for row in rows] for name in rows[0]}


def test_a_list_of_tensors_is_read_by_the_other_columns():
    """Whose length is the number of examples, whatever made the batch."""
    four = lists(4, 3)
    labels = torch.tensor([0, 1, 2, 0])
    truth = [{**row, "labels": label} for row, label in zip(four, labels.tolist(), strict=True)]
    for columns in (default_collate(four), of_tensors(four)):
        assert plain(rows_of(({**columns}, labels))) == truth
        assert plain(rows_of(iter([{**columns, "labels": labels}]))) == truth
    transposed = [column.tolist() for column in default_collate(four)["input_ids"]]
    assert transposed != [row["input_ids"] for row in four]
    parts = (default_collate(four)["input_ids"], labels)
    pairs = [(row["input_ids"], row["labels"]) for row in truth]
    assert plain(rows_of(parts)) == pairs
    assert plain(rows_of(list(parts), like=([1, 2], 0))) == pairs


@pytest.mark.parametrize("length", [3, 4])
def test_a_list_of_tensors_is_read_by_a_training_example(length):
    rows = lists(4, length)
    tensors = {name: torch.tensor(column) for name, column in rows[0].items()}
    loader = DataLoader(rows, batch_size=4, collate_fn=of_tensors)
    for batch in (of_tensors(rows), loader):
        assert plain(rows_of(batch, like=tensors)) == rows
    for like in (None, rows[0], {"text": "a"}, (1, 2)):
        for batch in (of_tensors(rows), default_collate(rows), iter([default_collate(rows)])):
            with pytest.raises(InputError, match="positions of") as raised:
                rows_of(batch, like=like)
            assert "torch.stack(part, dim=1)" in raised.value.remedy
    uneven = {"input_ids": [torch.tensor([1, 2]), torch.tensor([3])]}
    assert plain(rows_of(uneven, like=rows[0])) == [{"input_ids": [1, 2]}, {"input_ids": [3]}]


def test_a_list_of_tensors_of_no_length_that_fits_is_said():
    with pytest.raises(InputError, match=r"\[2, 4\] rows"):
        rows_of({"input_ids": [IDS[0]] * 4, "label": [0, 1]})


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
