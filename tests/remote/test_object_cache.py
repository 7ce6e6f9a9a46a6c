"""Copies of shards on this machine."""

from __future__ import annotations

import os

import pytest
import torch

from datainf import GradientStore
from datainf.errors import OptionError, StoreCorruptError
from datainf.remote import cache, place
from smaller import make_smaller, random_gradients

pytest_plugins = ["object_storage"]


@pytest.fixture
def store(memory):
    """Of three shards, whose copies are gone."""
    made = make_smaller(place(f"{memory}/train"), random_gradients(12, 0), shard_rows=4)
    for path in cache.folder().iterdir():
        path.unlink()
    return made


def copies():
    return sorted(path for path in cache.folder().iterdir() if path.suffix == cache.COPY)


def fetched(monkeypatch):
    """Names, as they are asked of the storage."""
    found, fetch = [], cache.objects.fetch
    monkeypatch.setattr(
        cache.objects, "fetch", lambda path, local: (found.append(path.name), fetch(path, local))
    )
    return found


def test_a_shard_is_fetched_once(store, monkeypatch):
    found = fetched(monkeypatch)
    for _ in range(2):
        again = GradientStore.open(str(store.path))
        assert all(block.to_dense().shape[0] == 12 for block in again.blocks.values())
    assert found == [shard.file for shard in store.index.shards]
    assert len(copies()) == 3


def test_what_was_written_from_here_is_not_fetched(memory, monkeypatch):
    found = fetched(monkeypatch)
    store = make_smaller(place(f"{memory}/train"), random_gradients(12, 0), shard_rows=4)
    assert store.ids == list(range(12))
    assert found == []
    assert list(cache.folder().glob(f"*{cache.DRAFT}")) == []


def test_what_was_not_used_for_longest_goes_first(store, monkeypatch):
    size = store.index.shards[0].bytes
    monkeypatch.setenv("DATAINF_CACHE_GB", str(2.5 * size / 1e9))
    files = [shard.file for shard in store.index.shards]
    found = fetched(monkeypatch)

    def use(number):
        shard = store.index.shards[number]
        cache.copy_of(store.path / shard.file, shard.checksum, shard.bytes)
        for path in copies():  # a minute later
            at = path.stat().st_mtime - 60
            os.utime(path, (at, at))

    for number in (0, 1, 0, 2):  # for the last, 1 has to go
        use(number)
    assert found == files
    assert len(copies()) == 2
    use(0)
    assert found == files
    use(1)
    assert found == [*files, files[1]]


def test_a_store_larger_than_the_cache_is_read_all_the_same(store, monkeypatch):
    monkeypatch.setenv("DATAINF_CACHE_GB", "0")
    found = fetched(monkeypatch)
    again = GradientStore.open(str(store.path))
    assert again.ids == list(range(12))
    assert again.losses.shape == (12,)
    assert len(found) == 6
    assert len(copies()) == 1


def test_an_object_that_was_written_anew_is_not_answered_from_the_old_copy(memory):
    folder = place(f"{memory}/train")
    first, second = (random_gradients(12, seed) for seed in (0, 1))
    for gradients in (first, second):
        if folder.exists():
            folder.fs.rm(folder.path, recursive=True)
        store = make_smaller(folder, gradients, shard_rows=4)
        for name, block in store.blocks.items():
            torch.testing.assert_close(block.to_dense(), gradients[name])
    assert len(copies()) == 6


def test_a_broken_copy_is_fetched_again_and_a_broken_object_named(store):
    wanted = {name: block.to_dense() for name, block in store.blocks.items()}
    for path in copies():
        content = bytearray(path.read_bytes())
        content[-500] ^= 1
        path.write_bytes(content)
    again = GradientStore.open(str(store.path))
    for name, block in again.blocks.items():
        torch.testing.assert_close(block.to_dense(), wanted[name], rtol=0, atol=0)
    broken = store.path / store.index.shards[1].file
    content = bytearray(broken.read_bytes())
    content[-500] ^= 1
    broken.write_bytes(content)
    for path in copies():
        path.unlink()
    with pytest.raises(StoreCorruptError, match=str(broken)):
        _ = [b.to_dense() for b in GradientStore.open(str(store.path)).blocks.values()]


def test_a_copy_of_another_size_is_not_taken(store, monkeypatch):
    assert GradientStore.open(str(store.path)).ids == list(range(12))
    copies()[0].write_bytes(b"half")
    found = fetched(monkeypatch)
    assert GradientStore.open(str(store.path)).ids == list(range(12))
    assert len(found) == 1


def test_old_drafts_go_and_new_ones_stay(store, monkeypatch):
    monkeypatch.setenv("DATAINF_CACHE_GB", "0")
    old, new = (cache.folder() / f"{name}{cache.DRAFT}" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"rows")
    os.utime(old, (1, 1))
    assert GradientStore.open(str(store.path)).ids == list(range(12))
    assert (old.exists(), new.exists()) == (False, True)


def test_a_limit_that_is_no_number(store, monkeypatch):
    monkeypatch.setenv("DATAINF_CACHE_GB", "much")
    with pytest.raises(OptionError, match="DATAINF_CACHE_GB is 'much'"):
        _ = GradientStore.open(str(store.path)).ids


def test_the_user_s_cache_folder_is_the_default(tmp_path, monkeypatch):
    monkeypatch.delenv("DATAINF_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    assert cache.folder() == tmp_path / "own" / "datainf"
    assert cache.folder().stat().st_mode & 0o077 == 0
