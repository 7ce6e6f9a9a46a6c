"""The first examples are encoded once, as many as have room, and the store is the same."""

from __future__ import annotations

import pytest
import torch

from datainf import collect, tasks
from datainf.gradients import survey as surveys
from datainf.gradients.survey import survey
from datainf.progress import Silent
from datainf.tasks.base import TRUNCATED


@pytest.fixture
def rows():
    return [{"text": "ab" * (1 + i % 5), "id": f"r{i}"} for i in range(9)]


def test_examples_are_encoded_once_while_there_is_room(
    llama, rows, tokenizer, tmp_path, monkeypatch
):
    encode, texts = tasks.CausalLM.encode, []

    def counting(task, example):
        texts.extend([example["text"]] if "text" in example else [])
        return encode(task, example)

    monkeypatch.setattr(tasks.CausalLM, "encode", counting)
    once = collect(llama, rows, tasks.CausalLM(tokenizer), out=tmp_path / "once", shard_rows=4)
    assert texts == [row["text"] for row in rows]
    monkeypatch.setattr(surveys, "KEPT_NUMBERS", 0)
    twice = collect(llama, rows, tasks.CausalLM(tokenizer), out=tmp_path / "twice", shard_rows=4)
    assert len(texts) > 3 * len(rows)
    assert once.index.fingerprints == twice.index.fingerprints
    for left, right in zip(once.index.shards, twice.index.shards, strict=True):
        assert left.checksum == right.checksum


def test_only_so_many_numbers_are_kept_and_of_the_first(rows, tokenizer, monkeypatch):
    task = tasks.CausalLM(tokenizer)
    sizes = [surveys._numbers(task.encode(row)) for row in rows]
    monkeypatch.setattr(surveys, "KEPT_NUMBERS", sum(sizes[:4]) + 1)
    # A fifth has no room, and a shorter one after it is not kept in its place.
    assert len(survey(rows, task, Silent()).first) == 4
    found = survey(rows, task, Silent())
    assert found.examples(range(9), task, rows) == [task.encode(row) for row in rows]


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        ({}, False),
        ({TRUNCATED: 0}, True),
        ({TRUNCATED: 0, "inner": {"ids": [1], TRUNCATED: 0}}, True),
        ({TRUNCATED: 0, "inner": {"ids": [1]}}, False),
        ({TRUNCATED: 0, "pixels": torch.zeros(2)}, False),
        ({TRUNCATED: 0, "text": "a"}, False),
    ],
)
def test_what_may_be_large_is_not_kept(more, kept):
    task = tasks.Custom(lambda _, batch: batch, collate=list, length=len)
    rows = [{"ids": [1, 2], **more}]
    assert survey(rows, task, Silent()).first == (rows if kept else [])


def test_a_collator_may_change_what_it_gets():
    task = tasks.Custom(lambda _, batch: batch, collate=list, length=len)
    row = {"ids": [1], "inner": {"ids": [2], TRUNCATED: 0}, TRUNCATED: 0}
    rows = [row]
    found = survey(rows, task, Silent())
    (given,) = found.examples([0], task, rows)
    given["ids"].append(0)
    given["inner"]["ids"].append(0)
    given.pop(TRUNCATED)
    assert found.examples([0], task, rows) == [row]
    row["ids"].append(9)  # and so may whoever made the rows
    assert found.examples([0], task, rows)[0]["ids"] == [1]
