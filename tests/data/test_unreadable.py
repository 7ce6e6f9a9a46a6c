"""What cannot be read while a part is written is named, and not the part."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from datainf.data import load, write_parquet
from datainf.data.reading import copy_file
from datainf.errors import DataError, WriteError

ROWS = [{"text": f"text {i}", "label": i % 2} for i in range(4)]
UNREADABLE = Path("/proc/self/mem")
"""Opens, and whoever reads its first byte is refused; other files are readable by root."""
needs_unreadable = pytest.mark.skipif(not UNREADABLE.exists(), reason="no such file here")


def make(folder, kind):
    path = folder / f"rows.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif kind == "json":
        path.write_text(json.dumps(ROWS))
    elif kind == "csv":
        path.write_text("text,label\n" + "".join(f"{r['text']},{r['label']}\n" for r in ROWS))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_a_file_that_is_gone(tmp_path, kind):
    source = make(tmp_path, kind)
    whole = load(source)
    written = whole.write([1, 2], tmp_path / "part")
    before = written.read_bytes()
    source.unlink()
    with pytest.raises(DataError, match=rf"^cannot read {source}: No such file") as caught:
        whole.write([0], tmp_path / "part")
    assert caught.value.remedy
    assert names(tmp_path / "part") == [source.name]
    assert written.read_bytes() == before, "what was there stays"


@pytest.fixture
def saved(tmp_path):
    data = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"train": data, "test": data}).save_to_disk(tmp_path / "all")
    return tmp_path / "all"


@needs_unreadable
def test_another_saved_split_that_cannot_be_read(saved, tmp_path):
    whole = load(saved, split="train")
    held = next((saved / "test").glob("*.arrow"))
    held.unlink()
    held.symlink_to(UNREADABLE)
    with pytest.raises(DataError, match=rf"^cannot read {held}: Input/output error"):
        whole.write([0], tmp_path / "part")
    assert names(tmp_path / "part") == []


@pytest.mark.parametrize("gone", ["test", "dataset_dict.json"])
def test_other_saved_splits_that_are_gone(saved, tmp_path, gone):
    """Without the list of the splits too the part is one of several."""
    whole = load(saved, split="train")
    path = saved / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(DataError, match=rf"^cannot read {path}: No such file"):
        whole.write([0], tmp_path / "part")
    assert names(tmp_path / "part") == []


def pictures(folder):
    for split in ("train", "test"):
        (folder / split / "cat").mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(folder / split / "cat" / "0.png")
        line = json.dumps({"file_name": "cat/0.png", "label": 0})
        (folder / split / "metadata.jsonl").write_text(line)
    return folder


@needs_unreadable
def test_another_split_of_pictures_whose_metadata_cannot_be_read(tmp_path):
    whole = load(pictures(tmp_path / "all"), split="train")
    metadata = tmp_path / "all/test/metadata.jsonl"
    metadata.unlink()
    metadata.symlink_to(UNREADABLE)
    with pytest.raises(DataError, match=rf"^cannot read {metadata}: Input/output error"):
        whole.write([0], tmp_path / "part")


def test_a_folder_of_splits_that_is_gone(tmp_path):
    whole = load(pictures(tmp_path / "all"), split="train")
    shutil.rmtree(tmp_path / "all")
    with pytest.raises(DataError, match=rf"^cannot read {tmp_path / 'all'}: No such file"):
        whole.write([0], tmp_path / "part")


def refused(*_, **__):
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_not_the_files_fault(tmp_path, monkeypatch):
    source = make(tmp_path, "parquet")
    monkeypatch.setattr(write_parquet, "with_values", refused)
    with pytest.raises(WriteError, match=rf"cannot write {tmp_path}/part/rows.parquet: No space"):
        load(source).write([0], tmp_path / "part")
    if (full := Path("/dev/full")).exists():
        with pytest.raises(OSError, match="No space") as caught:
            copy_file(source, full)
        assert not isinstance(caught.value, DataError)
