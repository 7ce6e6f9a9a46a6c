"""The rows of the image tasks: what no two parts may share, and what prompts say."""

from __future__ import annotations

import json
import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageDraw

from experiments.images.data import for_base, for_tasks
from experiments.images.drawn import STYLES, drawn_motifs
from experiments.images.emoji import read_emoji
from experiments.images.looks import BACKGROUNDS, cut_out, mask_of, moved, on, seen_as
from experiments.images.tasks import Sizes, in_colour, make_rows

SIZES = Sizes(style_train=10, style_queries=3, subjects=7, subject_train=3, subject_queries=2)
WHITE = (255, 255, 255)


def motif_of(row):
    return row["id"].split("/")[1]


def test_no_motif_is_in_two_parts_or_styles():
    rows = make_rows("style", for_tasks("drawn", None), SIZES, seed=0)
    assert Counter(row["class"] for row in rows.train) == dict.fromkeys(STYLES, 10)
    assert Counter(row["class"] for row in rows.query) == dict.fromkeys(STYLES, 3)
    motifs = [motif_of(row) for row in rows.train + rows.query]
    assert len(set(motifs)) == len(motifs) == 39
    assert not {motif.code for motif in for_base("drawn", None)} & set(motifs)
    assert len(for_base("drawn", None)) + len(for_tasks("drawn", None)) == len(drawn_motifs())


def test_a_style_row_has_the_picture_of_its_style():
    motifs = for_tasks("drawn", None)
    by_code = {motif.code: motif for motif in motifs}
    for row in make_rows("style", motifs, SIZES, seed=1).train:
        assert row["image"] is by_code[motif_of(row)].pictures[row["class"]]
        assert row["text"] == (
            f"Generate an image in a specific {row['class']} style. {row['caption']}"
        )


@pytest.mark.parametrize("task", ["style", "subject"])
def test_rows_are_of_the_seed_alone(task):
    motifs = for_tasks("drawn", None)
    first, again, other = (make_rows(task, motifs, SIZES, seed) for seed in (0, 0, 1))
    assert [row["text"] for row in first.train] == [row["text"] for row in again.train]
    assert [row["text"] for row in first.train] != [row["text"] for row in other.train]
    for left, right in zip(first.train, again.train, strict=True):
        assert np.array_equal(np.asarray(left["image"]), np.asarray(right["image"]))


@pytest.mark.parametrize("task", ["style", "subject"])
def test_unnamed_prompts_leave_out_the_class_alone(task):
    motifs = for_tasks("drawn", None)
    named, unnamed = (make_rows(name, motifs, SIZES, 0) for name in (task, f"{task}-unnamed"))
    for with_name, without in zip(named.train, unnamed.train, strict=True):
        assert with_name["class"] in with_name["text"]
        assert with_name["class"] not in without["text"]
        assert with_name["id"] == without["id"]


def test_subjects_are_asked_about_on_backgrounds_of_their_own():
    rows = make_rows("subject", for_tasks("drawn", None), SIZES, seed=0)
    assert Counter(Counter(row["class"] for row in rows.train).values()) == {3: 7}
    assert set(Counter(row["class"] for row in rows.query).values()) <= {1, 2}
    assert {row["class"] for row in rows.query} == {row["class"] for row in rows.train}
    trained = {(row["class"], background_of(row)) for row in rows.train}
    asked = {(row["class"], background_of(row)) for row in rows.query}
    assert len(trained) == len(rows.train)
    assert not trained & asked


def background_of(row):
    """The commonest colour at the picture's edge."""
    pixels = np.asarray(row["image"])
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return Counter(map(tuple, edge.tolist())).most_common(1)[0][0]


def test_too_few_motifs_are_an_error():
    with pytest.raises(ValueError, match="a style were asked for"):
        make_rows("style", for_tasks("drawn", None)[:20], SIZES, 0)
    with pytest.raises(ValueError, match="subjects were asked for"):
        make_rows("subject", for_tasks("drawn", None)[:5], SIZES, 0)


def test_a_mask_keeps_the_white_within():
    picture = Image.new("RGB", (20, 20), WHITE)
    ImageDraw.Draw(picture).rectangle((5, 5, 14, 14), fill=WHITE, outline=(200, 0, 0), width=2)
    expected = np.zeros((20, 20), dtype=bool)
    expected[5:15, 5:15] = True
    assert np.array_equal(np.asarray(mask_of(picture)) == 255, expected)


def test_a_picture_that_touches_its_frame_is_cut_out_too():
    picture = Image.new("RGB", (10, 10), (0, 0, 200))
    picture.putpixel((0, 0), WHITE)
    mask = np.asarray(mask_of(picture))
    assert mask[0, 0] == 0
    assert (mask == 255).sum() == 99


@pytest.mark.parametrize("look", ["grey", "negative", "recoloured"])
def test_a_look_changes_the_subject_and_not_what_is_around_it(look):
    draw = random.Random(0)
    subject = cut_out(drawn_motifs()[0].picture("flat"))
    scene = np.asarray(on(seen_as(subject, look, draw), "blue"))
    inside = np.asarray(subject.getchannel("A")) == 255
    assert (scene[~inside] == BACKGROUNDS["blue"]).all()
    assert (scene[inside] != np.asarray(subject.convert("RGB"))[inside]).any(axis=1).all()


def test_moving_keeps_the_frame_and_shrinks_the_subject():
    subject = cut_out(drawn_motifs()[0].picture("flat"))
    smaller = moved(subject, random.Random(3), smallest=0.5)
    before, after = (np.asarray(s.getchannel("A")).astype(float).sum() for s in (subject, smaller))
    assert smaller.size == subject.size
    assert 0.2 * before < after < 0.95 * before


def test_emoji_are_read_where_every_style_has_them(tmp_path):
    lines = []
    for style, codes in (("flat", ("a", "b")), ("thin_black", ("a",))):
        (tmp_path / style).mkdir()
        for code in codes:
            name = f"{style}/{code}.png"
            Image.new("RGB", (4, 4), (9, 8, 7)).save(tmp_path / name)
            lines.append(json.dumps({"file_name": name, "style": style, "caption": f"an {code}"}))
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (only,) = read_emoji(tmp_path)
    assert (only.code, only.caption) == ("a", "an a")
    assert only.picture("flat").getpixel((0, 0)) == (9, 8, 7)
    assert in_colour(only) == ["flat"]
