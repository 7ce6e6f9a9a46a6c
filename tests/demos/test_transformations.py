"""The ten transformations against examples worked by hand, and the data set's shape."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from datainf.demos.transformations import TRANSFORMATIONS, phrases, rows, write

BY_HAND = {
    "reverse": "sings teacher quiet the",
    "alternate-case": "ThE QuIeT TeAcHeR SiNgS",
    "join-with-1": "the 1 quiet 1 teacher 1 sings",
    "mask-vowels": "th* q***t t**ch*r s*ngs",
    "double-consonants": "tthhe qquiett tteacchherr ssinnggss",
    "capitalize": "The Quiet Teacher Sings",
    "drop-vowels": "th qt tchr sngs",
    "append-ly": "thely quietly teacherly singsly",
    "drop-consonants": "e uie eae i",
    "repeat": "the the quiet quiet teacher teacher sings sings",
}


def test_transformations_by_hand():
    said = {t.key: t.apply("the quiet teacher sings") for t in TRANSFORMATIONS}
    assert said == BY_HAND


def test_the_data_set():
    train, test = rows(seed=0)
    for part, each in ((train, 90), (test, 10)):
        assert Counter(row["class"] for row in part) == dict.fromkeys(BY_HAND, each)
    assert len({row["id"] for row in train + test}) == 1000
    seen = {row["phrase"] for row in train}
    assert not seen & {row["phrase"] for row in test}, "test phrases were never trained on"
    titles = {t.key: t.title for t in TRANSFORMATIONS}
    for row in train + test:
        assert titles[row["class"]] in row["prompt"]
        assert row["prompt"].endswith(f"{row['phrase']} -> ")
    assert rows(seed=0) == (train, test)
    assert rows(seed=1)[0] != train
    assert len(set(phrases(3))) == 100


def test_the_hard_version_shows_the_behaviour_alone():
    for row in rows(seed=0, hard=True)[0]:
        assert row["prompt"] == f"{row['phrase']} -> "


@pytest.mark.parametrize("hard", [False, True])
def test_files_hold_the_rows(tmp_path, hard):
    paths = write(tmp_path / "data", seed=2, hard=hard)
    found = tuple([json.loads(line) for line in path.read_text().splitlines()] for path in paths)
    assert found == rows(seed=2, hard=hard)
