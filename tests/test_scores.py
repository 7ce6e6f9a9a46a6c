"""Scores: order, files, errors."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from datainf.errors import OptionError, StoreCorruptError, StoreError
from datainf.fingerprint import digest
from datainf.scores import Scores, load_scores
from datainf.scores.file import read_about

VALUES = torch.tensor([[0.5, -2.0, 0.5, 3.0], [0.0, 1.0, -1.0, 2.0]])


@pytest.fixture
def scores():
    return Scores(VALUES, ["q", 7], [10, 11, "c", 13], "exact", {"damping": "0.1"}, {"blocks": {}})


def test_top(scores):
    assert scores.top(0, 2) == [(13, 3.0), (10, 0.5)]
    assert scores.top(0, 3, largest=False) == [(11, -2.0), (10, 0.5), ("c", 0.5)]
    assert len(scores.top(1, 100)) == 4
    assert scores.top(query=0, k=1)[0].train_id == 13
    assert scores.top(None, 2) == [(13, 2.5), (10, 0.25)]
    assert scores.top(None, 1, largest=False) == [(11, -0.5)]
    for wrong in ({"query": 2}, {"query": -3}, {"k": 0}):
        with pytest.raises(OptionError):
            scores.top(**wrong)
    assert [scores.query_row(q) for q in ("q", 7, "7")] == [0, 1, 1]
    with pytest.raises(OptionError, match="no query 'x'"):
        scores.query_row("x")


def test_a_query_is_asked_for_by_its_row_or_its_id(scores):
    assert scores.top("q", 2) == scores.top(0, 2)
    assert scores.top("7", 2, largest=False) == scores.top(1, 2, largest=False)
    assert scores.top_rows("7", 1) == scores.top_rows(1, 1)
    with pytest.raises(OptionError, match=r'no query in row 7\n.*from 0 to 1; .* as text, "7"'):
        scores.top(7)  # a number is a row, whatever the ids are


def test_ids_that_are_like_an_unknown_one_are_named():
    ids = [f"{name}-{row}" for name in ("sort", "reverse") for row in range(88, 91)]
    scores = Scores(torch.zeros((6, 1)), ids, [0], "gradient")
    with pytest.raises(OptionError, match="there is no query 'reverse-91'") as caught:
        scores.top("reverse-91")
    like, more = caught.value.remedy.removeprefix("one of ").rsplit(", ", 1)
    assert set(like.split(", ")) == set(ids[3:])
    assert more == "…"
    with pytest.raises(OptionError, match=r"one of sort-88, sort-89, .*, …"):
        scores.top("x")


def test_a_file_gives_back_what_was_saved(scores, tmp_path):
    path = tmp_path / "new" / "scores.safetensors"
    scores.save(path)
    loaded = Scores.load(path)
    assert torch.equal(loaded.values, VALUES)
    assert (loaded.query_ids, loaded.train_ids) == (scores.query_ids, scores.train_ids)
    assert (loaded.method, loaded.settings) == ("exact", {"damping": "0.1"})
    assert "positive = helpful" in repr(loaded)
    loaded.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_a_damaged_file_is_refused(scores, tmp_path):
    path = tmp_path / "scores.safetensors"
    with pytest.raises(StoreError, match="no scores file"):
        Scores.load(path)
    scores.save(path)
    data = path.read_bytes()
    for position in range(0, len(data), 3):
        flipped = bytearray(data)
        flipped[position] ^= 4
        path.write_bytes(flipped)
        with pytest.raises(StoreCorruptError):
            Scores.load(path)
    path.write_bytes(data[:50])
    with pytest.raises(StoreCorruptError):
        Scores.load(path)


def test_a_file_of_something_else_is_no_scores_file(tmp_path):
    path = tmp_path / "adapter_model.safetensors"
    save_file({"weight": VALUES}, path, metadata={"format": "pt"})
    with pytest.raises(StoreError, match="is no scores file") as raised:
        load_scores(path)
    assert not isinstance(raised.value, StoreCorruptError)


def test_what_a_file_says_is_read_alone(scores, tmp_path):
    path = tmp_path / "scores.safetensors"
    scores.save(path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # of a tensor
    path.write_bytes(data)
    assert read_about(path)["settings"] == scores.settings
    assert read_about(path)["diagnostics"] == scores.diagnostics
    place = bytes(data).index(b"exact")
    data[place] ^= 4
    path.write_bytes(data)
    with pytest.raises(StoreCorruptError):
        read_about(path)


def test_a_file_of_an_older_version_is_read(scores, tmp_path):
    path = tmp_path / "scores.safetensors"
    scores.save(path)
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
        about = json.loads(file.metadata()[Scores.kind])["about"]
    every = [[name, tensors[name]] for name in sorted(tensors)]
    entry = json.dumps({"about": about, "checksum": digest([about, every])})
    save_file(tensors, path, metadata={Scores.kind: entry})
    assert torch.equal(Scores.load(path).values, VALUES)
    assert read_about(path)["method"] == "exact"


def test_the_long_table(scores, tmp_path):
    scores.to_parquet(tmp_path / "s.parquet")
    table = pq.read_table(tmp_path / "s.parquet")
    assert table.column_names == ["query_id", "train_id", "query_row", "train_row", "score", "rank"]
    rows = table.to_pylist()
    assert rows[1] == {"query_id": "q", "train_id": "11", "query_row": 0, "train_row": 1,
                       "score": -2.0, "rank": 3}  # fmt: skip
    assert [row["rank"] for row in rows[4:]] == [2, 1, 3, 0]
    assert pq.ParquetFile(tmp_path / "s.parquet").num_row_groups == 2


def test_ids_must_fit(scores):
    with pytest.raises(OptionError, match="for ids of"):
        Scores(VALUES, [1], scores.train_ids, "exact")


def test_a_query_is_found_by_its_id_or_else_its_row():
    scores = Scores(torch.zeros((3, 1)), ["a", "b", "c"], [0], "gradient")
    assert [scores.query_row(name) for name in ("c", "2", 0)] == [2, 2, 0]
    with pytest.raises(OptionError, match="no query '3'"):
        scores.query_row("3")
    numbered = Scores(torch.zeros((3, 1)), [1, 2, 3], [0], "gradient")
    assert numbered.query_row("2") == 1
    with pytest.raises(OptionError, match="no query '0'"):
        numbered.query_row("0")
