"""Folders of images by class: what `load_dataset` makes of them is the truth."""

from __future__ import annotations

import datasets
import pytest
from PIL import Image

from conftest import write_rows
from datainf.data import load
from datainf.errors import DataError


def draw(folder, names):
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (i, 0, 0)).save(folder / name)
    return folder


def truth(folder, cache):
    found = datasets.load_dataset(
        "imagefolder", data_dir=str(folder), split="train", cache_dir=str(cache)
    )
    return found.cast_column("image", datasets.Image(decode=False))


@pytest.mark.parametrize("names", [
    ["images/cat/1.png", "images/dog/2.png", "images/cat/3.png"],
    ["a/cat/1.png", "b/dog/1.png", "b/cat/2.png", "a/dog-1/x.png"],
])  # fmt: skip
def test_a_label_is_the_name_of_the_images_own_folder(tmp_path, names):
    root = draw(tmp_path / "data", names)
    known, found = truth(root, tmp_path / "cache"), load(root)
    classes = known.features["label"].names
    assert len(classes) > 1
    assert [(row["image"], row["label"]) for row in found] == [
        (row["image"]["path"], classes[row["label"]]) for row in known
    ]


def test_an_image_with_another_label_goes_beside_its_own_folder(tmp_path):
    names = ["a/cat/1.png", "a/cat/2.png", "b/dog/1.png", "b/dog/2.png"]
    whole = load(draw(tmp_path / "data", names))
    part = load(whole.write([0, 1, 2], tmp_path / "part", {0: "dog", 2: "cat"}))
    places = [part.where(row).partition(",")[0] for row in range(3)]
    assert places == ["data/a/cat/2.png", "data/a/dog/1.png", "data/b/cat/1.png"]
    assert [row["label"] for row in part] == ["cat", "dog", "cat"]


def test_folders_at_several_depths_have_no_classes(tmp_path):
    root = draw(tmp_path / "data", ["cat/1.png", "cat/young/2.png", "dog/3.png"])
    assert "label" not in truth(root, tmp_path / "cache").features
    with pytest.raises(DataError, match=r"data: .* at two depths") as caught:
        load(root)
    assert "cat/young/2.png" in caught.value.message
    assert caught.value.remedy
    (root / "cat/young/2.png").unlink()
    assert [row["label"] for row in load(root)] == ["cat", "dog"]


@pytest.mark.parametrize("real", [["cat/1.png"], []])
@pytest.mark.parametrize("place", ["dog", "more/dog"])
def test_a_linked_folder_is_not_left_out_without_a_word(tmp_path, real, place):
    """`load_dataset` leaves it out."""
    root = draw(tmp_path / "data", real)
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).symlink_to(draw(tmp_path / "elsewhere" / "dog", ["2.png"]))
    if real:
        assert len(truth(root, tmp_path / "cache")) == len(real)
    with pytest.raises(DataError, match=rf"^{root / place} is a link to a folder of im") as caught:
        load(root)
    assert "metadata.jsonl" in caught.value.remedy
    write_rows(root / "metadata.jsonl", [{"file_name": f"{place}/2.png", "label": 1}])
    part = load(load(root).write([0], tmp_path / "part"))
    assert [row["label"] for row in part] == [1]


def test_links_behind_links_and_in_a_circle(tmp_path):
    root = draw(tmp_path / "data", ["cat/1.png", "dog/2.png"])
    outer = tmp_path / "outer"
    outer.mkdir()
    for name in ("circle", "other circle"):  # together 2**40 ways, before the system refuses
        (outer / name).symlink_to(outer)
    (root / "notes").symlink_to(outer)
    assert len(load(root)) == 2, "a link with no images behind it is none of ours"
    (outer / "inner").symlink_to(draw(tmp_path / "birds", ["3.png"]))
    with pytest.raises(DataError, match=rf"^{root / 'notes'} is a link"):
        load(root)
    (root / "notes").rename(root / ".notes")
    assert len(load(root)) == 2, "hidden, as load_dataset has it"


def test_a_linked_folder_of_another_split_goes_along(tmp_path):
    root = draw(tmp_path / "data", ["train/cat/1.png", "train/dog/2.png", "test/cat/3.png"])
    (root / "test" / "dog").symlink_to(draw(tmp_path / "elsewhere", ["4.png"]))
    written = load(root, split="train").write([1], tmp_path / "part")
    link = written / "test" / "dog"
    assert link.is_symlink()
    assert link.resolve() == tmp_path / "elsewhere"
    assert (written / "test" / "cat" / "3.png").is_symlink()
    with pytest.raises(DataError, match=rf"^{link} is a link to a folder"):
        load(written, split="test")
