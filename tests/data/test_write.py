"""A part of a data set, written as it came, reads as the same rows of the whole."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from datainf.data import load, write_parquet, write_saved
from datainf.errors import DataError, WriteError

ROWS = [
    {"id": f"r{i}", "prompt": f'say "{i}" – ü', "completion": f"{i}, and\nmore", "extra": i}
    for i in range(6)
]
FLAT = [{k: str(v).replace("\n", " ") for k, v in row.items()} for row in ROWS]


def make(folder, kind):
    path = folder / f"rows.{kind}"
    if kind in ("jsonl", "ndjson"):
        path.write_text("\n\n".join(json.dumps(row) for row in ROWS), encoding="utf-8")
    elif kind == "json":
        path.write_text(json.dumps(ROWS), encoding="utf-8")
    elif kind == "wrapped":
        path = folder / "rows.json"
        path.write_text(json.dumps({"version": 3, "data": ROWS}), encoding="utf-8")
    elif kind == "csv":
        datasets.Dataset.from_list(ROWS).to_csv(str(path), index=False)
    elif kind == "tsv":
        lines = ["\t".join(FLAT[0]), *("\t".join(row.values()) for row in FLAT)]
        path.write_text("\n".join(lines), encoding="utf-8")
    elif kind == "parquet":
        datasets.Dataset.from_list(ROWS).to_parquet(str(path))
    else:
        datasets.Dataset.from_list(ROWS).save_to_disk(str(path))
    return path


KINDS = ["jsonl", "ndjson", "json", "wrapped", "csv", "tsv", "parquet", "saved"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_reads_as_the_same_rows(tmp_path, kind):
    source = make(tmp_path, kind)
    whole = load(source)
    chosen = [4, 0, 3]
    for _ in range(2):  # a part that is there already is replaced
        written = whole.write(chosen, tmp_path / "part")
    assert written == tmp_path / "part" / source.name
    part = load(written)
    assert [part.raw(i) for i in range(3)] == [whole.raw(row) for row in chosen]
    assert (part.task, part.ids) == (whole.task, ["r4", "r0", "r3"])
    if kind == "wrapped":
        assert json.loads(written.read_text())["version"] == 3


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "cat").mkdir(parents=True)
    (folder / "dog").mkdir()
    for i in range(4):
        Image.new("RGB", (4, 4), (i, 0, 0)).save(folder / ("cat", "dog")[i % 2] / f"{i}.png")
    return folder


def colours(examples):
    return [Image.open(row["image"]).getpixel((0, 0))[0] for row in examples]


def test_a_folder_of_images_by_class(pictures, tmp_path):
    whole = load(pictures)
    part = load(whole.write([1, 2], tmp_path / "part"))
    assert colours(part) == colours([whole[1], whole[2]])
    assert [row["label"] for row in part] == [whole[1]["label"], whole[2]["label"]]


def test_a_folder_of_images_with_metadata(pictures, tmp_path):
    names = ["cat/0.png", "dog/1.png", "cat/2.png"]
    (pictures / "metadata.jsonl").write_text(
        "\n".join(json.dumps({"file_name": n, "text": f"a {n}", "style": "s"}) for n in names)
    )
    whole = load(pictures)
    part = load(whole.write([2, 0], tmp_path / "part"))
    assert colours(part) == [2, 0]
    assert [row["text"] for row in part] == ["a cat/2.png", "a cat/0.png"]
    assert part.raw(0)["style"] == "s"


def test_images_that_a_file_names_are_found_from_elsewhere(pictures, tmp_path):
    source = pictures / "rows.jsonl"
    source.write_text(
        "\n".join(json.dumps({"image": f"cat/{i}.png", "text": f"{i}"}) for i in (0, 2))
    )
    part = load(load(source).write([1], tmp_path / "part"))
    assert colours(part) == [2]


def test_an_image_with_another_label_goes_to_that_one_s_folder(pictures, tmp_path):
    """And pushes none out that has its name there."""
    (pictures / "dog" / "0.png").write_bytes((pictures / "dog" / "1.png").read_bytes())
    whole = load(pictures)
    rows = list(range(len(whole)))
    row = next(r for r in rows if whole.where(r).startswith("pictures/cat/0.png"))
    part = load(whole.write(rows, tmp_path / "part", {row: "dog"}))
    assert len(part) == len(whole) == 5
    assert sorted(example["label"] for example in part) == ["cat", "dog", "dog", "dog", "dog"]
    assert sorted(colours(part)) == sorted(colours(whole))


@pytest.mark.parametrize("label", ["", ".", ".cat", "..", "a/b", "/tmp/x", "../out", "bird"])
def test_a_label_is_no_path(pictures, tmp_path, label):
    with pytest.raises(DataError, match="is none of the data's"):
        load(pictures).write([0, 1], tmp_path / "part", {0: label})
    assert not (tmp_path / "out").exists()


def labelled(folder, labels):
    path = folder / "rows.jsonl"
    rows = [{"text": f"text {i}", "label": label} for i, label in enumerate(labels)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(("own", "text", "truth"), [
    (True, "False", False), (False, "true", True), (1, "0", 0), (0.5, "2", 2.0), ("a", "b", "b"),
])  # fmt: skip
def test_labels_keep_their_kind(tmp_path, own, text, truth):
    source = labelled(tmp_path, [own, own, truth])
    written = load(source, "classification").write([0, 1], tmp_path / "part", {1: text})
    found = [json.loads(line)["label"] for line in written.read_text().splitlines()]
    assert found == [own, truth]
    assert type(found[1]) is type(own)


@pytest.mark.parametrize(("own", "text"), [
    (True, "maybe"), (1, "one"), (1, "1.5"), (0.5, "nan"), (0.5, "inf"), ([0, 1], "[1, 0]"),
    (1, "11"), (1, "-1"), ("a", "a "), ("a", ""), (0.5, "0.25"),
])  # fmt: skip
def test_labels_that_the_data_do_not_have_are_refused(tmp_path, own, text):
    source = labelled(tmp_path, [own, own])
    with pytest.raises(DataError, match="row 1"):
        load(source, "classification").write([0, 1], tmp_path / "part", {1: text})


def exact(folder, kind):
    """A data set whose other columns are easily lost on the way through Python."""
    table = pa.table({
        "text": [f"text {i}" for i in range(5)],
        "label": pa.array([0, 1, 0, 1, 1], pa.int64()),
        "exactly": pa.array([1_714_566_615_123_456_789 + i for i in range(5)]).cast(
            pa.timestamp("ns")),
        "took": pa.array([7 + i for i in range(5)]).cast(pa.duration("ns")),
        "of_day": pa.array([11 + i for i in range(5)]).cast(pa.time64("ns")),
        "big": pa.array([2**64 - 1 - i for i in range(5)], pa.uint64()),
        "half": pa.array(np.arange(5, dtype=np.float16) / 3),
        "nothing": pa.array([None, "x", None, "y", None]),
        "lists": pa.array([[i, i + 1] for i in range(5)], pa.list_(pa.int8())),
    })  # fmt: skip
    named = datasets.ClassLabel(names=["bad", "good", "2"])
    data = datasets.Dataset(table).cast_column("label", named)
    path = folder / ("rows" if kind == "saved" else "rows.parquet")
    (data.save_to_disk if kind == "saved" else data.to_parquet)(str(path))
    return path


def columns_of(path):
    if path.suffix == ".parquet":
        return pq.read_table(path)
    return datasets.load_from_disk(str(path)).with_format("arrow")[:]


@pytest.mark.parametrize("batch", [1, 2, 1000])
@pytest.mark.parametrize("kind", ["saved", "parquet"])
def test_a_label_is_changed_and_nothing_else(tmp_path, monkeypatch, kind, batch):
    for module in (write_saved, write_parquet):
        monkeypatch.setattr(module, "BATCH", batch)
    source = exact(tmp_path, kind)
    before = sorted(path.name for path in source.rglob("*")) if source.is_dir() else []
    whole = load(source, "classification")
    rows = [4, 0, 3]
    written = whole.write(rows, tmp_path / "part", {0: "good", 4: "2", 3: "0"})
    old, new = columns_of(source).take(rows), columns_of(written)
    assert new.column("label").to_pylist() == [2, 1, 0]
    for name in old.column_names:
        if name != "label":
            assert new.column(name).combine_chunks().equals(old.column(name).combine_chunks()), name
    assert new.schema.remove_metadata() == old.schema.remove_metadata()
    assert load(written, "classification").raw(0)["label"] == 2
    after = sorted(path.name for path in source.rglob("*")) if source.is_dir() else []
    assert after == before, "the original has nothing new in its folder"
    assert sorted(path.name for path in (tmp_path / "part").iterdir()) == [source.name]


@pytest.mark.parametrize("text", ["3", "-1", "better"])
def test_a_class_that_the_data_do_not_know_is_refused(tmp_path, text):
    with pytest.raises(DataError, match="none of the data's"):
        load(exact(tmp_path, "saved"), "classification").write([0], tmp_path / "part", {0: text})


def test_pictures_that_a_parquet_file_names_are_found_from_elsewhere(pictures, tmp_path):
    table = pa.table({
        "image": ["cat/0.png", "cat/2.png"], "text": ["zero", "two"],
        "at": pa.array([1_714_566_615_123_456_789] * 2).cast(pa.timestamp("ns")),
    })  # fmt: skip
    pq.write_table(table, pictures / "rows.parquet")
    written = load(pictures / "rows.parquet").write([1], tmp_path / "part")
    assert colours(load(written)) == [2]
    assert pq.read_table(written).column("at").cast(pa.int64()).to_pylist() == [
        1_714_566_615_123_456_789
    ]


def test_half_a_letter_is_written_as_it_was_read(tmp_path):
    source = tmp_path / "rows.jsonl"
    source.write_text('{"prompt": "a", "completion": "b", "note": "\\ud83d"}\n' * 2)
    written = load(source).write([1], tmp_path / "part")
    assert json.loads(written.read_text()) == json.loads(source.read_text().splitlines()[0])


def test_a_part_that_cannot_be_written_leaves_the_earlier_one(pictures, tmp_path, monkeypatch):
    whole = load(pictures)
    written = whole.write([0, 1], tmp_path / "part")
    monkeypatch.setattr(Path, "symlink_to", refused)
    with pytest.raises(WriteError):
        whole.write([2], tmp_path / "part")
    monkeypatch.undo()
    assert len(load(written)) == 2
    assert [path.name for path in (tmp_path / "part").iterdir()] == ["pictures"]


def refused(*_):
    raise OSError(28, "No space left on device")
