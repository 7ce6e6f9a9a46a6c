"""A Parquet file whose pages are damaged is named, and not the copy that was being made of it."""

from __future__ import annotations

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datainf.data import load, parquet
from datainf.errors import DataError, WriteError


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A sound file of several pages, and a cache of its own."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    texts = [f"text {i} " * 10 for i in range(2000)]
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": texts}), path, use_dictionary=False, row_group_size=500)
    return path


def overwrite(path, at, count):
    content = bytearray(path.read_bytes())
    content[at : at + count] = b"\xff" * count
    path.write_bytes(content)


@pytest.mark.parametrize(("behind", "cause"), [(0, "thrift"), (500, "snappy")])
def test_a_damaged_page_is_the_files_fault(source, tmp_path, behind, cause):
    """In its header, and in what it holds."""
    assert len(load(source, "causal-lm")) == 2000
    page = pq.ParquetFile(source).metadata.row_group(2).column(0).data_page_offset
    overwrite(source, page + behind, 64)
    with pytest.raises(DataError, match=rf"^rows\.parquet: not a readable .*{cause}") as caught:
        load(source, "causal-lm")
    assert "write it again" in caught.value.remedy
    assert len(list((tmp_path / "cache" / "datainf").iterdir())) == 1, "that of the sound file"


def test_a_full_disk_is_not_the_files_fault(source, monkeypatch):
    monkeypatch.setattr(parquet, "table_cast", refused)
    with pytest.raises(WriteError, match=r"cannot write .*\.arrow: No space left"):
        load(source, "causal-lm")


def refused(*_):
    raise OSError(28, "No space left on device")
