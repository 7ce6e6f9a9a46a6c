"""A part of a data set, written as it came, reads as the same rows of the whole."""

from __future__ import annotations

import json

import datasets
import pytest
from PIL import Image

from datainf.data import load
from datainf.errors import DataError

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


@pytest.mark.parametrize("label", ["", ".", "..", "a/b", "/tmp/x", "../out", "a\\b"])
def test_a_label_is_no_path(pictures, tmp_path, label):
    with pytest.raises(DataError, match="cannot be a folder's name"):
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
    source = labelled(tmp_path, [own, own])
    written = load(source, "classification").write([0, 1], tmp_path / "part", {1: text})
    found = [json.loads(line)["label"] for line in written.read_text().splitlines()]
    assert found == [own, truth]
    assert type(found[1]) is type(own)


@pytest.mark.parametrize(("own", "text"), [
    (True, "maybe"), (1, "one"), (1, "1.5"), (0.5, "nan"), (0.5, "inf"), ([0, 1], "[1, 0]"),
])  # fmt: skip
def test_labels_of_another_kind_are_refused(tmp_path, own, text):
    source = labelled(tmp_path, [own, own])
    with pytest.raises(DataError, match="row 1"):
        load(source, "classification").write([0, 1], tmp_path / "part", {1: text})
