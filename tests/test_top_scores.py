"""The ends of every query's order against the whole order: ties, files, tables, errors."""

from __future__ import annotations

from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import torch

from datainf.errors import OptionError, StoreCorruptError, StoreError
from datainf.ranks import Ranks
from datainf.scores import Scores, TopScores, load_scores
from datainf.scores.running import RunningEnd


def running(scores, k, step, columns, *, largest):
    """The end of some of a matrix's columns, which come `step` at a time."""
    m, n = scores.shape
    cpu, start = torch.device("cpu"), columns.start
    end = RunningEnd(m, min(k, n), cpu, largest=largest, start=start)
    for first in range(start, columns.stop, step):
        end.add(scores.values[:, first : min(first + step, columns.stop)])
    return end


def kept_of(scores, k, step, parts=1):
    """The top scores of a matrix whose columns come `step` at a time, in parts whose ends make
    the end."""
    n, ends = scores.shape[1], []
    for largest in (True, False):
        pieces = [
            running(scores, k, step, columns, largest=largest)
            for columns in Ranks(0, parts).parts(n)
        ]
        for piece in pieces[1:]:
            pieces[0].add_end(piece)
        ends.append(pieces[0])
    helpful, harmful = ends
    mean = scores.values.double().mean(dim=0)
    about = (scores.query_ids, scores.train_ids, scores.method, scores.settings)
    return TopScores(helpful.end(), harmful.end(), mean, *about, scores.diagnostics)


def matrix(m, n, seed=0, spread=2):
    """Whole numbers, most of which others equal, with rows and columns of nothing but zeros."""
    draw = torch.Generator().manual_seed(seed)
    values = torch.randint(-spread, spread + 1, (m, n), generator=draw).float()
    values[:, 1::4] = 0
    values[m // 2] = 0
    names = [f"q{row}" for row in range(m)], [f"t{row}" if row % 2 else row for row in range(n)]
    return Scores(values, *names, "exact", {"damping": "0.1"}, {"blocks": {}})


SIZES = [(3, 9, 2, 4), (3, 9, 5, 1), (4, 50, 7, 8), (1, 9, 3, 9), (3, 1, 2, 1), (2, 5, 9, 2),
         (5, 40, 1, 3), (2, 6, 6, 4)]  # fmt: skip
"""Queries, training examples, how many are kept, how many come at a time."""


@pytest.mark.parametrize(("m", "n", "k", "step"), SIZES)
@pytest.mark.parametrize("spread", [0, 1, 2, 100])
def test_the_ends_are_those_of_the_whole_order(m, n, k, step, spread):
    for seed, parts in enumerate((1, 1, 2, 3, 5)):
        whole = matrix(m, n, seed, spread)
        found = kept_of(whole, k, step, parts)
        assert found.shape == (m, n)
        assert found.kept == min(k, n)
        for largest in (True, False):
            for query in (*range(m), None, -1):
                for few in {1, min(k, n), k}:
                    told = found.top(query, few, largest=largest)
                    assert told == whole.top(query, few, largest=largest)
            assert found.top(None, n + 3, largest=largest) == whole.top(None, n, largest=largest)


@pytest.mark.parametrize(("m", "n", "k", "step"), SIZES)
@pytest.mark.parametrize("spread", [0, 1, 2, 100])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_the_table_has_the_rows_of_the_whole_one(m, n, k, step, spread, parts, tmp_path):
    whole = matrix(m, n, 1, spread)
    whole.to_parquet(tmp_path / "whole.parquet")
    kept_of(whole, k, step, parts).to_parquet(tmp_path / "top.parquet")
    tables = [pq.read_table(tmp_path / name) for name in ("whole.parquet", "top.parquet")]
    assert tables[0].schema == tables[1].schema
    assert pq.ParquetFile(tmp_path / "top.parquet").num_row_groups == m
    there, found = (table.to_pylist() for table in tables)
    expected = {
        (query, row)
        for query in range(m)
        for largest in (True, False)
        for row, _ in whole.top_rows(query, k, largest=largest)
    }
    pairs = [(row["query_row"], row["train_row"]) for row in found]
    assert len(pairs) == len(expected)
    assert set(pairs) == expected
    by_pair = {(row["query_row"], row["train_row"]): row for row in there}
    assert found == [by_pair[pair] for pair in pairs]
    order = [(row["query_row"], row["rank"]) for row in found]
    assert order == sorted(order)


def test_more_than_is_kept_is_refused():
    whole = matrix(3, 9)
    found = kept_of(whole, 2, 4)
    with pytest.raises(
        OptionError,
        match=r"the 2 most helpful and 2 most harmful of each query are kept[^-]*--keep 3",
    ):
        found.top(0, 3)
    with pytest.raises(OptionError, match="2 most harmful"):
        found.top(0, 3, largest=False)
    for wrong in ({"query": 3}, {"query": -4}, {"k": 0}):
        with pytest.raises(OptionError):
            found.top(**wrong)
    assert [found.query_row(name) for name in ("q1", "2")] == [1, 2]


def test_by_default_ten_are_told_or_as_many_as_are_kept():
    whole = matrix(3, 24)
    few, many = kept_of(whole, 2, 4), kept_of(whole, 12, 4)
    for largest in (True, False):
        assert few.top(0, largest=largest) == whole.top(0, 2, largest=largest)
        assert many.top(0, largest=largest) == whole.top(0, 10, largest=largest)
        assert whole.top(0, largest=largest) == whole.top(0, 10, largest=largest)
        assert len(few.top(None, largest=largest)) == 10, "of the mean all are kept"


def test_a_query_is_asked_for_by_its_row_or_its_id():
    found = kept_of(matrix(3, 9), 2, 4)
    for largest in (True, False):
        told = found.top("q1", 2, largest=largest)
        assert told == found.top(1, 2, largest=largest)
    with pytest.raises(OptionError, match=r"no query 'q7'\n.*one of q"):
        found.top("q7", 2)


def test_there_is_no_matrix_and_what_there_is_instead_is_named():
    found = kept_of(matrix(3, 9), 2, 4)
    with pytest.raises(AttributeError, match="TopScores keeps no matrix") as caught:
        found.values  # noqa: B018
    for name in ("helpful", "harmful", "mean", "top", "save", "to_parquet"):
        assert name in str(caught.value)
        assert hasattr(found, name)
    assert "datainf.attribute gives" in str(caught.value)
    assert not hasattr(found, "values")


def test_shapes_must_fit():
    found = kept_of(matrix(3, 9), 2, 4)
    for wrong in (
        {"query_ids": [1]}, {"train_ids": [1]}, {"mean": found.mean[1:]},
        {"helpful": kept_of(matrix(3, 9), 3, 4).helpful},
    ):  # fmt: skip
        with pytest.raises(OptionError, match="for ids of"):
            replace(found, **wrong)


def test_a_file_gives_back_what_was_saved(tmp_path):
    whole = matrix(3, 9)
    found, path = kept_of(whole, 2, 4), tmp_path / "new" / "scores.safetensors"
    found.save(path)
    for loaded in (TopScores.load(path), load_scores(path)):
        assert isinstance(loaded, TopScores)
        for one, other in ((loaded.helpful, found.helpful), (loaded.harmful, found.harmful)):
            assert all(torch.equal(a, vars(other)[name]) for name, a in vars(one).items())
        assert torch.equal(loaded.mean, found.mean)
        about = ("query_ids", "train_ids", "method", "settings", "diagnostics")
        assert all(getattr(loaded, name) == getattr(found, name) for name in about)
    assert "kept=2" in repr(loaded)
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    with pytest.raises(StoreError, match="another kind than Scores"):
        Scores.load(path)
    whole.save(path)
    assert torch.equal(load_scores(path).values, whole.values)
    with pytest.raises(StoreError, match=r"another kind than TopScores[^.]*datainf.load_scores"):
        TopScores.load(path)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "scores.safetensors"
    kept_of(matrix(2, 4), 1, 4).save(path)
    data = path.read_bytes()
    for position in range(0, len(data), 3):
        flipped = bytearray(data)
        flipped[position] ^= 4
        path.write_bytes(flipped)
        with pytest.raises(StoreCorruptError):
            load_scores(path)
    path.write_bytes(data[:50])
    with pytest.raises(StoreCorruptError):
        load_scores(path)
