"""What killed writers left in a store's folder goes when the store is gone on with."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import asdict

import pytest

from benchmarks.made_stores import make
from datainf.store import Index
from datainf.store.writer import NOTE, DamagedWarning

LEFT = ("index.json.tmp", "shard-00001.json.tmp", "shard-00007.safetensors.tmp",
        "second_moments.safetensors.tmp")  # fmt: skip


def made(folder):
    return make(folder, 6, {"a": 3}, seed=0, rows=2).path


@pytest.fixture
def whole(tmp_path):
    return made(tmp_path / "whole")


@pytest.fixture
def store(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "store")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def test_files_that_were_not_finished(store, whole):
    """Some have names that the shards still to be written do not."""
    for name in LEFT:
        (store / name).write_bytes(b"left")
    made(store)
    assert contents(store) == contents(whole)


def test_a_shard_that_is_in_no_index(store, whole):
    """A run with smaller shards was killed after its last, before that was entered."""
    (store / "shard-00009.safetensors").write_bytes(b"left")
    (store / "second_moments.safetensors").write_bytes(b"no shard")
    made(store)
    assert (store / "second_moments.safetensors").read_bytes() == b"no shard"
    (store / "second_moments.safetensors").unlink()
    assert contents(store) == contents(whole)


def test_a_damaged_shard_is_named_and_made_again(store):
    file = store / "shard-00001.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.warns(DamagedWarning, match=r"shard-00001.*differs\), rows 2 to 3\.") as caught:
        made(store)
    assert len(caught) == 1
    with warnings.catch_warnings(action="error"):
        made(store)


def test_of_many_that_are_lost_the_first_are_named(tmp_path):
    store = make(tmp_path / "s", 8, {"a": 3}, seed=0, rows=1).path
    for file in store.glob("shard-*"):
        file.unlink()
    with pytest.warns(DamagedWarning, match=r"shard-00004.*row 4; 3 more files\.") as caught:
        make(store, 8, {"a": 3}, seed=0, rows=1)
    assert len(caught) == 1


def test_of_six_that_are_damaged_the_last_is_one(tmp_path):
    store = make(tmp_path / "s", 6, {"a": 3}, seed=0, rows=1).path
    for file in store.glob("shard-*"):
        file.unlink()
    with pytest.warns(DamagedWarning, match=r"row 4; 1 more file\."):
        make(store, 6, {"a": 3}, seed=0, rows=1)


def test_shards_that_have_a_note_stay(store, whole):
    """They are finished: several processes note them beside, and enter them in the end."""
    index = Index.load(store)
    *index.shards, last = index.shards
    index.save(store)
    (store / last.file).with_suffix(NOTE).write_text(json.dumps(asdict(last)))
    before = (store / last.file).stat().st_ino
    made(store)
    assert (store / last.file).stat().st_ino == before, "not made again"
    assert contents(store) == contents(whole)
