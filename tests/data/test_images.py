"""Images in: folders of both layouts, paths in files, bytes; what is missing is named at once."""

from __future__ import annotations

import io
import json

import datasets
import numpy as np
import pytest
from PIL import Image

from conftest import write_rows
from datainf.data import load
from datainf.errors import DataError
from datainf.tasks.images import open_image


def draw(path, value=0, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((6, 4, 3), value, dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """pictures/metadata.jsonl beside a/0.png, a/1.png, b/0.png."""
    root = tmp_path / "pictures"
    names = ["a/0.png", "a/1.png", "b/0.png"]
    for i, name in enumerate(names):
        draw(root / name, 40 * i)
    write_rows(
        root / "metadata.jsonl",
        [{"file_name": name, "caption": f"number {i}"} for i, name in enumerate(names)],
    )
    return root


def test_a_folder_with_metadata(folder):
    found = load(folder)
    assert found.task == "text-to-image"
    assert found[1] == {"image": str(folder / "a/1.png"), "text": "number 1"}
    assert found.where(2) == "pictures/b/0.png, row 2 (line 3)"
    assert np.asarray(open_image(found[1]["image"])).max() == 40
    by_file = load(folder / "metadata.jsonl")
    assert list(by_file) == list(found)
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    (folder / "metadata.jsonl").unlink()
    lines = ["file_name,label", *(f"{row['file_name']},{i % 2}" for i, row in enumerate(rows))]
    (folder / "metadata.csv").write_text("\n".join(lines))
    found = load(folder)
    assert (found.task, found[2]["label"]) == ("image-classification", "0")


def test_a_folder_for_each_class(folder):
    (folder / "metadata.jsonl").unlink()
    draw(folder / ".cache" / "hidden.png")
    found = load(folder)
    assert found.task == "image-classification"
    assert [row["label"] for row in found] == ["a", "a", "b"]
    draw(folder / "stray.png")
    with pytest.raises(DataError, match=r"row 3: label is missing"):
        load(folder)


FORMS = {".jfif": "JPEG", ".jpe": "JPEG", ".JPG": "JPEG", ".apng": "PNG", ".dib": "BMP"}
NAMES = [
    "cat/1.png", "cat/10.png", "cat/2.apng", "cat/_a.png", "cat/x.dib", "cat-2/1.jfif",
    "cat.x/0.JPG", "Cat/9.bmp", "cat2/z.png", "dog 1/e.jpe", "écat/3.png", "__x/1.png",
    "cat/.hidden.png", ".hidden/1.png", "cat/note.txt",
]  # fmt: skip


@pytest.mark.parametrize("split", [None, "train"])
def test_rows_are_those_of_load_dataset_in_its_order(tmp_path, split):
    root = tmp_path / "all" / (split or "")
    for i, name in enumerate(NAMES):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGB", (4, 6), (i, 0, 0))
        picture.save(path, FORMS.get(path.suffix, "BMP" if path.suffix == ".bmp" else "PNG"))
    cache = str(tmp_path / "cache")
    truth = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "all"), split="train", cache_dir=cache
    ).cast_column("image", datasets.Image(decode=False))
    classes = truth.features["label"].names
    found = load(tmp_path / "all")
    assert len(found) == 11
    assert [(row["image"], row["label"]) for row in found] == [
        (row["image"]["path"], classes[row["label"]]) for row in truth
    ]


def test_a_picture_that_is_not_read_is_no_row_less(folder):
    (folder / "metadata.jsonl").unlink()
    (folder / "b" / "1.eps").write_bytes(b"%!PS")
    with pytest.raises(DataError, match=r"pictures/b/1.eps, row 3: the image .* cannot be read"):
        load(folder)


@pytest.mark.parametrize("metadata", [True, False])
def test_splits(folder, tmp_path, metadata):
    for split in ("train", "test"):
        draw(tmp_path / "d" / split / "cat" / "0.png")
        if metadata:
            rows = [{"file_name": "cat/0.png", "label": f"{split} label"}]
            write_rows(tmp_path / "d" / split / "metadata.jsonl", rows)
    found = load(tmp_path / "d", split="test")
    assert found[0]["image"] == str(tmp_path / "d/test/cat/0.png")
    assert found[0]["label"] == ("test label" if metadata else "cat")
    with pytest.raises(DataError, match=r"has the splits test, train; none was named"):
        load(tmp_path / "d")
    with pytest.raises(DataError, match="has no splits"):
        load(folder, split="train")


def test_paths_stay_in_the_datas_folder(folder, tmp_path):
    outside = draw(tmp_path / "outside.png")
    for name, fine in [("a/0.png", True), (str(outside), True), ("b/../a/0.png", True),
                       ("../outside.png", False), ("a/../../outside.png", False)]:  # fmt: skip
        path = write_rows(folder / "rows.jsonl", [{"image": name, "label": 0}])
        if fine:
            assert open_image(load(path)[0]["image"]).size == (4, 6)
            continue
        with pytest.raises(DataError, match=r"row 0 \(line 1\): the image .* lies outside"):
            load(path)
    rows = [{"file_name": "a/0.png", "label": 0}, {"file_name": "../outside.png", "label": 0}]
    write_rows(folder / "metadata.jsonl", rows)
    with pytest.raises(DataError, match=r"metadata.jsonl, line 2: the image .* lies outside"):
        load(folder)
    write_rows(folder / "metadata.jsonl", [{"label": 0}])
    with pytest.raises(DataError, match=r"metadata.jsonl, line 1: no file_name"):
        load(folder)


def test_missing_and_broken_pictures_are_named_before_any_work(folder):
    (folder / "a/1.png").write_text("not a picture")
    with pytest.raises(DataError, match=r"row 1 \(line 2\): the image .*a/1.png cannot be read"):
        load(folder)
    (folder / "a/1.png").unlink()
    with pytest.raises(DataError, match=r"row 1 \(line 2\): .*a/1.png .*no such file"):
        load(folder)
    assert len(load(folder, limit=1)) == 1
    path = write_rows(folder / "rows.jsonl", [{"image": None, "label": 0}])
    with pytest.raises(DataError, match=r"image is missing"):
        load(path)


def test_the_digest_covers_the_pictures(folder, tmp_path):
    before = load(folder).digest
    assert load(folder).digest == before
    moved = folder.rename(tmp_path / "moved")
    assert load(moved).digest == before
    draw(moved / "b/0.png", 81)
    assert load(moved).digest != before
    path = write_rows(moved / "rows.jsonl", [{"image": "a/0.png", "label": 0}])
    of_file = load(path).digest
    draw(moved / "a/0.png", 1)
    assert load(path).digest != of_file


@pytest.mark.parametrize("kind", ["parquet", "saved"])
def test_pictures_inside_the_data(folder, tmp_path, kind):
    made = datasets.Dataset.from_dict(
        {"image": [str(folder / "a/1.png")], "label": [1]},
        features=datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")}),
    )
    path = tmp_path / f"data.{kind}"
    if kind == "saved":
        made.save_to_disk(path)
    else:
        made.to_parquet(path)
    found = load(path)
    assert found.task == "image-classification"
    assert np.asarray(open_image(found[0]["image"])).max() == 40
    assert found.digest


@pytest.mark.parametrize("kind", ["saved", "parquet"])
def test_labels_are_had_without_the_pictures(tmp_path, kind, monkeypatch):
    draw(tmp_path / "p.png")
    rows = {"image": [str(tmp_path / "p.png")] * 4, "label": [0, 2, 1, 0]}
    table = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    if kind == "saved":
        table.save_to_disk(tmp_path / "data")
    else:
        table.to_parquet(tmp_path / "data.parquet")
    found = load(tmp_path / ("data" if kind == "saved" else "data.parquet"), limit=3)
    read, columns = datasets.Dataset.__iter__, []
    monkeypatch.setattr(
        datasets.Dataset, "__iter__", lambda own: columns.append(own.column_names) or read(own)
    )
    assert found.labels == [0, 2, 1]
    assert columns
    assert set(map(tuple, columns)) == {("label",)}
    assert [row.get("label") for row in found] == found.labels


def test_labels_of_data_without_any(tmp_path):
    texts = write_rows(tmp_path / "t.jsonl", [{"prompt": "a", "completion": "b"}])
    assert load(texts).labels == [None]


def test_opening_any_form_gives_upright_rgb(folder):
    path = folder / "a/1.png"
    forms = [path, str(path), path.read_bytes(), {"bytes": path.read_bytes(), "path": None},
             {"bytes": None, "path": str(path)}, Image.open(path)]  # fmt: skip
    for form in forms:
        image = open_image(form)
        assert (image.mode, image.size) == ("RGB", (4, 6))
    buffer = io.BytesIO()
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.open(path).save(buffer, "JPEG", exif=turned)
    assert open_image(buffer.getvalue()).size == (6, 4)
    assert open_image(draw(folder / "grey.png", 9, "L")).mode == "RGB"
    for wrong in (3, b"junk", {"bytes": None, "path": None}, str(folder)):
        with pytest.raises(DataError, match="cannot be read"):
            open_image(wrong)
