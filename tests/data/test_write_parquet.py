"""A part of a Parquet file has the file's schema, metadata and compression."""

from __future__ import annotations

import uuid
from datetime import date

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datainf.data import load, write_parquet
from datainf.errors import DataError

N = 7


def table():
    text = pa.field("text", pa.string(), nullable=False, metadata={"unit": "words"})
    label = pa.DictionaryArray.from_arrays(
        pa.array([0, 1, 0, 1, 1, 0, 0], pa.int8()), ["bad", "good", "never"], ordered=True
    )
    columns = {
        "label": label,
        "pairs": pa.array([[("a", i)] if i % 3 else None for i in range(N)],
                          pa.map_(pa.string(), pa.int32())),
        "unique": pa.array([uuid.UUID(int=i).bytes for i in range(N)], pa.uuid()),
        "inner": pa.array([{"k": "x", "d": date(2026, 1, i + 1)} for i in range(N)]),
        "lists": pa.array([[i] * i for i in range(N)], pa.large_list(pa.int8())),
        "money": pa.array(range(N), pa.decimal128(30, 4)),
        "big": pa.array(["x"] * N, pa.large_string()),
        "at": pa.array(range(N), pa.timestamp("ns", "Europe/Berlin")),
    }  # fmt: skip
    fields = [text, *(pa.field(name, column.type) for name, column in columns.items())]
    schema = pa.schema(fields, {"mine": "kept", "pandas": "{}"})
    return pa.table([[f"text {i}" for i in range(N)], *columns.values()], schema=schema)


def packed(path):
    file = pq.ParquetFile(path).metadata
    group = file.row_group(0)
    columns = [group.column(place) for place in range(group.num_columns)]
    return [(each.path_in_schema, each.physical_type, each.compression) for each in columns]


@pytest.mark.parametrize("batch", [1, 2, 1000])
@pytest.mark.parametrize("rows", [[0, 2, 3, 6], [4, 0, 4]])
@pytest.mark.parametrize("options", [
    {"compression": "zstd"}, {"compression": {"text": "gzip"}, "use_compliant_nested_type": False},
    {"compression": "none", "store_schema": False},
])  # fmt: skip
def test_nothing_but_labels_is_another(tmp_path, monkeypatch, batch, rows, options):
    monkeypatch.setattr(write_parquet, "BATCH", batch)
    source = tmp_path / "rows.parquet"
    pq.write_table(table(), source, row_group_size=3, **options)
    whole = load(source, "classification")
    assert whole.raw(1)["label"] == "good"
    written = whole.write(rows, tmp_path / "part", {rows[1]: "bad"})
    old, new = pq.read_table(source), pq.read_table(written)
    assert new.schema.equals(old.schema, check_metadata=True)
    truth = old.take(rows)
    labels = truth.column("label").to_pylist()
    labels[1] = "bad"
    assert new.column("label").to_pylist() == labels
    for name in old.column_names:
        if name != "label":
            assert new.column(name).to_pylist() == truth.column(name).to_pylist(), name
    assert packed(written) == packed(source)
    file = pq.ParquetFile(written).metadata
    assert max(file.row_group(i).num_rows for i in range(file.num_row_groups)) <= 3


def test_words_that_no_row_has_stay_known(tmp_path):
    frame = pd.DataFrame({"text": list("abcd"), "label": pd.Categorical(
        ["x", "y", "x", "y"], categories=["x", "y", "z"], ordered=True),
        "count": pd.array([1, None, 3, 4], "Int64"), "month": pd.period_range("2026-01", periods=4,
        freq="M")}, index=pd.Index([3, 1, 4, 1], name="key"))  # fmt: skip
    frame.to_parquet(tmp_path / "rows.parquet")
    written = load(tmp_path / "rows.parquet").write([1, 3], tmp_path / "part", {3: "x"})
    truth = frame.iloc[[1, 3]].copy()
    truth.iloc[1, 1] = "x"
    pd.testing.assert_frame_equal(pd.read_parquet(written), truth)


def test_columns_that_datasets_does_not_know_are_shown_as_what_they_are_made_of(tmp_path):
    spans = pa.array([(1, 2, 3)] * N, pa.month_day_nano_interval())
    own = table().append_column("span", spans)
    try:
        pq.write_table(own, tmp_path / "rows.parquet")
    except pa.ArrowNotImplementedError:  # Parquet has no such column
        pq.write_table(table(), tmp_path / "rows.parquet")
    raw = load(tmp_path / "rows.parquet", "classification").raw(1)
    assert raw["pairs"] == [{"key": "a", "value": 1}]
    assert raw["unique"] == uuid.UUID(int=1).bytes


def test_two_columns_of_one_name(tmp_path):
    pq.write_table(pa.table([["a"], ["b"]], names=["text", "text"]), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"rows\.parquet: two columns have the same name: text"):
        load(tmp_path / "rows.parquet")


def with_codec(path, column, was, codec):
    """A column's codec, a number in the footer behind the column's name, made another."""
    content = path.read_bytes()
    held = column + b"\x15" + bytes([2 * was]) + b"\x16"
    assert content.count(held) == 1
    path.write_bytes(content.replace(held, column + b"\x15" + bytes([2 * codec]) + b"\x16"))


def test_the_lz4_of_hadoop(tmp_path):
    """It has no name in pyarrow, which reads it and does not write it."""
    source = tmp_path / "rows.parquet"
    own = pa.table({"text": [f"text {i}" for i in range(N)], "n": range(N)})
    pq.write_table(own, source, compression={"text": "lz4", "n": "zstd"})
    with_codec(source, b"text", 7, 5)
    assert [codec for _, _, codec in packed(source)] == ["UNKNOWN", "ZSTD"]
    written = load(source, "causal-lm").write([1, 3], tmp_path / "part")
    assert pq.read_table(written).equals(own.take([1, 3]))
    assert [codec for _, _, codec in packed(written)] == ["LZ4", "ZSTD"]


def test_names_of_lists_that_pyarrow_does_not_write(tmp_path):
    """Hive has words.bag.array_element; here the middle has as many letters as pyarrow's."""
    source = tmp_path / "rows.parquet"
    words = pa.list_(pa.field("array_element", pa.string()))
    pairs = pa.list_(pa.field("array", pa.struct({"k": pa.int32(), "v": pa.int32()})))
    own = pa.table({
        "words": pa.array([[f"word {j}" for j in range(i)] for i in range(N)], words),
        "a.b": pa.array(range(N)), "text": ["x"] * N,
        "pairs": pa.array([[{"k": i, "v": -i}] for i in range(N)], pairs),
    })  # fmt: skip
    codecs = {"words.list.array_element": "gzip", "a.b": "none", "text": "snappy",
              "pairs.list.array.k": "zstd", "pairs.list.array.v": "brotli"}  # fmt: skip
    options = {"store_schema": False, "use_compliant_nested_type": False}
    pq.write_table(own, source, compression=codecs, **options)
    source.write_bytes(source.read_bytes().replace(b"list", b"bag_"))
    before = packed(source)
    assert before[0] == ("words.bag_.array_element", "BYTE_ARRAY", "GZIP")
    written = load(source, "causal-lm").write([1, 3], tmp_path / "part")
    assert pq.read_table(written).to_pylist() == own.take([1, 3]).to_pylist()
    after = packed(written)
    assert [codec for _, _, codec in after] == [codec for _, _, codec in before]
    assert [codec for _, _, codec in after] == ["GZIP", "UNCOMPRESSED", "SNAPPY", "ZSTD", "BROTLI"]
