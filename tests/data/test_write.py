"""A part of a data set, written as it came, reads as the same rows of the whole."""

from __future__ import annotations

import json
import os
import shutil
from datetime import date
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from datainf.data import Columns, load, write_parquet, write_saved
from datainf.data.arrow_paths import with_paths
from datainf.errors import DataError, OptionError, WriteError
from datainf.tasks.images import open_image

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
    return [open_image(row["image"]).getpixel((0, 0))[0] for row in examples]


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
    (1, "11"), (1, "-1"), ("a", "a "), ("a", ""), (0.5, "0,4"), (0.5, "1e999"),
    (0.5, "0x10"), (0.5, "1_0"), ("0.5", "half"), ("3", "3.5"), ("a", "0.5"), (True, "0.5"),
])  # fmt: skip
def test_labels_that_the_data_do_not_have_are_refused(tmp_path, own, text):
    source = labelled(tmp_path, [own, own])
    with pytest.raises(DataError, match="row 1"):
        load(source, "classification").write([0, 1], tmp_path / "part", {1: text})


@pytest.mark.parametrize(("own", "text", "truth"), [
    ([0.37, 0.74], "0.4", 0.4), ([0.37, 0.74], " -1e-3 ", -1e-3), ([0.37, 0.74], "3", 3.0),
    ([2, 0.5], "0.4", 0.4), ([2, 0.5], "3", 3.0), ([1.0, 1, 2], "1.5", 1.5),
    (["0.37", "1"], "0.4", "0.4"), (["1", "2.0"], " 3 ", "3"),
])  # fmt: skip
def test_any_number_is_a_label_where_labels_are_numbers(tmp_path, own, text, truth):
    source = load(labelled(tmp_path, own), "classification")
    assert source.largest_label == np.finfo(np.float64).max
    written = source.write(range(len(own)), tmp_path / "part", {0: text})
    found = [json.loads(line)["label"] for line in written.read_text().splitlines()]
    assert found == [truth, *own[1:]]
    assert type(found[0]) is type(truth)


@pytest.mark.parametrize("own", [
    [0, 1], ["0", "1"], ["a", "0.5"], [True, False], [True, 0.5], [[0.5], [0.25]], ["-1", "+1"],
])  # fmt: skip
def test_labels_of_classes_are_no_numbers(tmp_path, own):
    assert load(labelled(tmp_path, own), "classification").largest_label is None


@pytest.mark.parametrize(("own", "text", "truth"), [
    ([1, "spam", 1.0], "spam", "spam"), (["spam", 1], "1", 1), ([0, 1, True], "True", True),
])  # fmt: skip
def test_a_label_of_another_kind(tmp_path, own, text, truth):
    """What a page shows of a label is enough to give it, whatever kind the row's own is of."""
    written = load(labelled(tmp_path, own), "classification").write(
        [0], tmp_path / "part", {0: text}
    )
    found = json.loads(written.read_text())["label"]
    assert found == truth
    assert type(found) is type(truth)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_a_number_is_written_as_its_column_has_it(tmp_path, kind):
    labels = pa.array(np.array([0.37, 0.74, 1], kind))
    table, path = pa.table({"text": ["a", "b", "c"], "label": labels}), tmp_path / "rows.parquet"
    pq.write_table(table, path)
    source, largest = load(path, "classification"), float(np.finfo(kind).max)
    assert source.largest_label == largest
    written = source.write([0, 1, 2], tmp_path / "part", {0: "0.2", 2: repr(largest)})
    found = pq.read_table(written).column("label")
    assert found.type == labels.type
    truth = np.array([0.2, 0.74, largest], kind)
    assert np.array_equal(found.to_numpy(), truth)
    with pytest.raises(DataError, match="a number, such as"):
        source.write([0], tmp_path / "part", {0: f"9{largest}"})


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


@pytest.mark.parametrize("store_schema", [True, False])
def test_paths_that_are_categories_are_found_from_elsewhere(pictures, tmp_path, store_schema):
    """As pandas has them; two of them are one path."""
    words = ["dog/1.png", "cat/2.png", "./cat/2.png", "cat/0.png"]
    named = pd.Categorical([words[i] for i in (3, 1, 2, 0)], categories=words, ordered=True)
    frame = pd.DataFrame({"image": named, "text": list("abcd")})
    table = pa.Table.from_pandas(frame)
    pq.write_table(table, pictures / "rows.parquet", store_schema=store_schema)
    whole = load(pictures / "rows.parquet")
    written = whole.write([0, 1, 2], tmp_path / "part")
    assert colours(load(written)) == colours(whole)[:3] == [0, 2, 2]
    truth = [str(pictures / name) for name in ("dog/1.png", "cat/2.png", "cat/0.png")]
    assert pq.read_table(written).column("image").to_pylist() == [truth[2], truth[1], truth[1]]
    assert pq.read_table(written).schema == pq.read_table(pictures / "rows.parquet").schema
    if store_schema:
        image = pd.read_parquet(written)["image"]
        assert image.cat.ordered
        assert list(image.cat.categories) == truth


@pytest.mark.parametrize("kind", [
    pa.struct({"path": pa.string(), "bytes": pa.null()}),
    pa.struct({"bytes": pa.binary(), "path": pa.large_string()}),
    pa.struct({"path": pa.dictionary(pa.int8(), pa.string()), "bytes": pa.large_binary()}),
    pa.struct({"path": pa.string()}),
], ids=str)  # fmt: skip
def test_paths_in_a_picture_that_holds_none(pictures, tmp_path, kind):
    """Where pyarrow finds no bytes in any row their column is of no kind."""
    parts = [field.name for field in kind]
    images = [{part: f"cat/{i}.png" if part == "path" else None for part in parts} for i in (0, 2)]
    table = pa.table({"image": pa.array(images, kind), "text": ["zero", "two"]})
    pq.write_table(table, pictures / "rows.parquet")
    written = load(pictures / "rows.parquet").write([1], tmp_path / "part")
    (image,) = pq.read_table(written).column("image").to_pylist()
    assert image == {**images[1], "path": str(pictures / "cat/2.png")}
    assert colours(load(written)) == [2]


@pytest.mark.parametrize("kind", [
    pa.json_(), pa.run_end_encoded(pa.int32(), pa.string()), pa.struct({"path": pa.json_()}),
    pa.struct({"path": pa.string(), "bytes": pa.list_(pa.int8())}),
], ids=str)  # fmt: skip
def test_paths_of_a_kind_that_is_not_known_are_refused(tmp_path, kind):
    table = pa.table({"image": pa.nulls(1, kind)})
    with pytest.raises(DataError, match="column image: images named by") as caught:
        with_paths(table, "image", tmp_path)
    assert caught.value.remedy


@pytest.mark.parametrize("kind", [
    pa.binary(), pa.list_(pa.list_(pa.uint8())), pa.dictionary(pa.int8(), pa.binary()),
    pa.null(), pa.struct({"bytes": pa.binary()}),
], ids=str)  # fmt: skip
def test_pictures_in_the_column_itself_stay(tmp_path, kind):
    table = pa.table({"image": pa.nulls(1, kind)})
    assert with_paths(table, "image", tmp_path).equals(table)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [[2, -1], [6], [0, 7, 1]])
def test_rows_that_are_not_there_are_refused(tmp_path, kind, rows):
    whole = load(make(tmp_path, kind), limit=3)
    wrong = next(row for row in rows if not 0 <= row < len(ROWS))
    with pytest.raises(OptionError, match=rf"has 6 rows, and no row {wrong}\n") as caught:
        whole.write(rows, tmp_path / "part")
    assert caught.value.remedy == "rows from 0 to 5"
    assert not (tmp_path / "part").exists()
    last = load(whole.write([5], tmp_path / "part"))  # beyond the limit, and there
    assert last.ids == ["r5"]


def test_labels_of_rows_that_are_not_there_are_refused(tmp_path):
    source = load(labelled(tmp_path, [0, 1]), "classification")
    with pytest.raises(OptionError, match="no row -1"):
        source.write([0, 1], tmp_path / "part", {-1: "0"})


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


@pytest.mark.parametrize("form", [
    {"type": "torch"}, {"type": "numpy", "columns": ["label"], "output_all_columns": True},
    {"columns": ["text"]}, {"type": "torch", "dtype": "float"}, {"type": "pandas"},
])  # fmt: skip
def test_a_saved_set_keeps_its_form(tmp_path, form):
    data = datasets.load_from_disk(str(exact(tmp_path, "saved"))).with_format(**form)
    if "dtype" in form:  # as `datasets` has it in its file
        data._format_kwargs = {"dtype": "float"}
    data.save_to_disk(str(tmp_path / "formed"))
    whole = load(tmp_path / "formed", "classification")
    assert whole[1] == {"text": "text 1", "label": 1}
    written = whole.write([1, 2], tmp_path / "part", {2: "good"})
    again = datasets.load_from_disk(str(written))
    assert again.format == data.format
    assert again.with_format(None)["label"][:] == [1, 1]


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("names", [("train", "test"), ("test", "train", "extra"), ("train",)])
def test_other_saved_splits_go_along_as_they_are(tmp_path, names):
    data = datasets.load_from_disk(str(exact(tmp_path, "saved")))
    whole = datasets.DatasetDict({name: data.select(range(3 + i)) for i, name in enumerate(names)})
    whole.save_to_disk(str(tmp_path / "all"))
    before = contents(tmp_path / "all")
    (tmp_path / "all" / names[-1] / "cache-12.arrow").write_bytes(b"made by map()")
    examples = load(tmp_path / "all", "classification", split="train")
    assert examples.split == "train"
    written = examples.write([0, 2], tmp_path / "part", {0: "good"})
    after, own = datasets.load_from_disk(str(written)), f"train{os.sep}"
    assert list(after) == list(names)
    assert after["train"]["label"][:] == [1, 0]
    assert after["train"].features == data.features
    others = {name: held for name, held in before.items() if not name.startswith(own)}
    found = contents(written)
    assert {name: held for name, held in found.items() if not name.startswith(own)} == others
    assert load(written, "classification", split="train").raw(1) == examples.raw(2)


def test_a_split_is_a_name_and_no_path(tmp_path):
    data = datasets.load_from_disk(str(exact(tmp_path, "saved")))
    datasets.DatasetDict({"train": data, "test": data}).save_to_disk(str(tmp_path / "all"))
    (tmp_path / "all" / "dataset_dict.json").write_text('{"splits": ["train", "../rows"]}')
    with pytest.raises(DataError, match=r"a split '../rows'"):
        load(tmp_path / "all", "classification", split="train").write([0], tmp_path / "part")
    assert list((tmp_path / "part").iterdir()) == []


@pytest.mark.parametrize("metadata", [True, False])
def test_other_splits_of_pictures_go_along(pictures, tmp_path, metadata):
    for split in ("train", "test"):
        shutil.copytree(pictures, tmp_path / "all" / split)
        if metadata:
            lines = [f"cat/{i}.png,{split} {i}\r\n" for i in (0, 2)]
            content = "file_name,label\r\n" + "".join(lines)
            (tmp_path / "all" / split / "metadata.csv").write_text(content, newline="")
    examples = load(tmp_path / "all", split="train")
    written = examples.write([1], tmp_path / "part", {1: "train 0"} if metadata else {1: "dog"})
    other, own = load(written, split="test"), load(written, split="train")
    before = load(tmp_path / "all", split="test")
    assert [row["label"] for row in other] == [row["label"] for row in before]
    assert colours(other) == colours(before)
    assert (colours(own), own[0]["label"]) == ([2], "train 0" if metadata else "dog")
    held = datasets.load_dataset(
        "imagefolder", data_dir=str(written), cache_dir=str(tmp_path / "c")
    )
    assert {name: len(rows) for name, rows in held.items()} == {"train": 1, "test": len(before)}


def test_pictures_in_the_form_of_datasets_are_found_from_elsewhere(pictures, tmp_path):
    """By paths from the file on, in lines and in a table; what is held itself has no such path."""
    held = (pictures / "dog" / "1.png").read_bytes()
    rows = [
        {"image": {"path": "cat/0.png", "bytes": None}, "label": 0},
        {"image": {"path": "cat/2.png"}, "label": 1},
        {"image": {"path": str(pictures / "dog/3.png"), "bytes": None}, "label": 1},
    ]
    lines = pictures / "rows.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert colours(load(load(lines).write([0, 1, 2], tmp_path / "part"))) == [0, 2, 3]
    rows.append({"image": {"path": "inside.png", "bytes": held}, "label": 0})
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int8")})
    pq.write_table(pa.Table.from_pylist(rows, features.arrow_schema), pictures / "rows.parquet")
    written = load(pictures / "rows.parquet").write([0, 1, 2, 3], tmp_path / "part", {1: "0"})
    part = load(written)
    assert colours(part) == [0, 2, 3, 1]
    assert [row["label"] for row in part] == [0, 0, 1, 0]
    assert part.raw(3)["image"] == {"path": "inside.png", "bytes": held}


@pytest.mark.parametrize(("name", "content", "labels", "truth"), [
    ("metadata.csv", 'file_name,size,text\r\ncat/0.png,1.50,z\r\ndog/1.png,,"a ""b"""\r\n'
     "./cat/../cat/2.png,3,c\r\n", {2: "a \"b\""},
     'file_name,size,text\r\ndog/1.png,,"a ""b"""\r\ncat/2.png,3,"a ""b"""\r\n'),
    ("metadata.jsonl", '{"file_name":"cat/0.png","text":"0"}\n'
     '{"text" : "x","m":1e400,"file_name":"dog/1.png"}\n'
     '{"file_name":"cat/2.png","text":"y","n":0.10}', {},
     '{"text" : "x","m":1e400,"file_name":"dog/1.png"}\n'
     '{"file_name":"cat/2.png","text":"y","n":0.10}'),
])  # fmt: skip
def test_metadata_keep_their_form(pictures, tmp_path, name, content, labels, truth):
    (pictures / name).write_text(content, newline="")
    columns = Columns(label="text") if labels else Columns()
    whole = load(pictures, "image-classification" if labels else None, columns=columns, limit=None)
    written = whole.write([1, 2], tmp_path / "part", labels)
    assert (written / name).read_bytes() == truth.encode()
    assert {path.name for path in written.iterdir()} == {name, "cat", "dog"}


def test_metadata_as_a_table_keep_their_columns(pictures, tmp_path):
    table = pa.table({
        "file_name": ["cat/0.png", "dog/1.png"], "label": pa.array([0, 1], pa.int8()),
        "day": [date(2026, 1, 1), date(2026, 1, 2)], "raw": [b"\xff", b"\x00"],
        "at": pa.array([1_714_566_615_123_456_789] * 2, pa.timestamp("ns")),
    })  # fmt: skip
    pq.write_table(table, pictures / "metadata.parquet")
    whole = load(pictures)
    written = whole.write([1], tmp_path / "part", {1: "0"})
    found = pq.read_table(written / "metadata.parquet")
    labels = pa.array([0], pa.int8())
    assert found.equals(table.slice(1).set_column(1, "label", labels))
    assert colours(load(written)) == [1]
