"""What a selection's folder holds after another one has been written to it."""

from __future__ import annotations

import json

import datasets
import pytest
import torch

from datainf.applications import selected_files
from datainf.applications.select import Amount, select
from datainf.applications.selected_files import write_selection
from datainf.data import load
from datainf.errors import OptionError
from datainf.files import write_atomically

ROWS = [{"text": f"text {i}", "label": i % 2} for i in range(4)]
OURS = {"manifest.jsonl", "selection.json", "kept.json", "weights.npy"}


def source(folder, name):
    folder.mkdir(exist_ok=True)
    path = folder / name
    if path.suffix:
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    else:
        datasets.Dataset.from_list(ROWS).save_to_disk(str(path))
    return path


def selected(path, out, split=None):
    train = load(path, "classification", split=split)
    chosen = select(torch.arange(len(train)).double(), drop=Amount(number=1))
    return write_selection(out, chosen, train, {})


def names(out):
    return {path.name for path in out.iterdir()} - OURS


@pytest.mark.parametrize(("first", "second"), [
    ("a.jsonl", "b.jsonl"), ("a.jsonl", "saved"), ("saved", "b.jsonl"), ("b.jsonl", "b.jsonl"),
])  # fmt: skip
def test_the_earlier_data_make_way(tmp_path, first, second):
    out = tmp_path / "out"
    selected(source(tmp_path / "one", first), out)
    (out / "mine.txt").write_text("a person's own")
    selected(source(tmp_path / "two", second), out)
    assert names(out) == {second, "mine.txt"}
    assert len(load(out / second, "classification")) == 3


def test_data_by_a_name_of_ours_make_way_too(tmp_path):
    out = tmp_path / "out"
    selected(source(tmp_path, "kept.json").rename(tmp_path / "manifest.jsonl"), out)
    selected(source(tmp_path, "a.jsonl"), out)
    assert names(out) == {"a.jsonl", "data"}
    assert list((out / "data").iterdir()) == []
    selected(source(tmp_path, "data"), out)
    assert names(out) == {"data"}
    with pytest.raises(OptionError, match="would lie in it"):
        selected(tmp_path / "manifest.jsonl", out)
    assert len(load(out / "data", "classification")) == 3


@pytest.mark.parametrize("name", [
    "../secret", "/secret", ".", "..", "", "link", "folder/inner", None, 3, ["secret"], "nothing",
])  # fmt: skip
def test_nothing_else_is_taken_away(tmp_path, name):
    out = tmp_path / "out"
    selected(source(tmp_path, "a.jsonl"), out)
    (out / "a.jsonl").unlink()
    for folder in (tmp_path / "secret", out / "folder"):
        folder.mkdir()
        (folder / "inner").write_text("kept")
    (out / "link").symlink_to(tmp_path / "secret")
    name = str(tmp_path / "secret") if name == "/secret" else name
    (out / "selection.json").write_text(json.dumps({"data": name}))
    selected(source(tmp_path, "b.jsonl"), out)
    assert names(out) == {"b.jsonl", "folder", "link"}
    assert (tmp_path / "secret" / "inner").read_text() == "kept"
    assert (out / "folder" / "inner").read_text() == "kept"


def test_an_original_that_lies_there_stays(tmp_path):
    out = tmp_path / "out"
    path = selected(source(tmp_path, "a.jsonl"), out)
    before = path.read_bytes()
    with pytest.raises(OptionError, match="holds the original"):
        selected(path, out)
    assert path.read_bytes() == before


class Stopped(Exception):
    pass


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("at", range(6))
def test_what_was_broken_off_is_done_by_the_same_call(tmp_path, monkeypatch, at, again):
    """At each of its writes; and until then what stands beside other data than its own is gone."""
    out, whole = tmp_path / "out", tmp_path / "whole"
    path = source(tmp_path, "a.jsonl")
    if again:
        selected(source(tmp_path / "one", "b.jsonl"), out)
    writes = []

    def stops(real):
        def write(*arguments):
            writes.append(arguments)
            if len(writes) > at:
                raise Stopped
            return real(*arguments)

        return write

    with monkeypatch.context() as patched:
        patched.setattr(selected_files, "write_atomically", stops(write_atomically))
        patched.setattr(selected_files, "_sync", stops(selected_files._sync))
        with pytest.raises(Stopped):
            selected(path, out)
    if at:  # it has begun
        (out / ".writing-killed").mkdir()
        assert json.loads((out / "selection.json").read_text())["unfinished"]
        assert len(writes) == at + 1
    selected(path, out)
    selected(path, whole)
    for name in OURS | {"a.jsonl"}:
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert names(out) == {"a.jsonl"}


def test_the_split_is_noted(tmp_path):
    data = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"train": data, "test": data}).save_to_disk(str(tmp_path / "both"))
    written = selected(tmp_path / "both", tmp_path / "out", "train")
    assert json.loads((tmp_path / "out" / "selection.json").read_text())["split"] == "train"
    found = datasets.load_from_disk(str(written))
    assert {name: len(rows) for name, rows in found.items()} == {"train": 3, "test": 4}
