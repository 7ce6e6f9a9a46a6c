"""Copies of shards on this machine."""

from __future__ import annotations

import errno
import os
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from datainf import GradientStore
from datainf.errors import OptionError, StoreCorruptError, WriteError
from datainf.files import on_this_machine
from datainf.remote import cache, objects, place
from datainf.store.shards import LOSSES, ShardDraft, ShardFile
from smaller import SHAPES, make_smaller, random_gradients

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
    found, fetch = [], objects.fetch
    monkeypatch.setattr(
        objects, "fetch", lambda path, local: (found.append(path.name), fetch(path, local))
    )
    return found


def requested(store, monkeypatch):
    """Bytes of each request that reads."""
    found, fs = [], store.path.fs
    whole, part = fs.get_file, fs.cat_file

    def get_file(path, local, **options):
        whole(path, local, **options)
        found.append(os.path.getsize(local))  # noqa: PTH202 - as the library has it

    def cat_file(path, start=None, end=None, **options):
        data = part(path, start, end, **options)
        found.append(len(data))
        return data

    monkeypatch.setattr(fs, "get_file", get_file)
    monkeypatch.setattr(fs, "cat_file", cat_file)
    return found


def room_for(size, monkeypatch):
    """A cache with a limit of so many bytes."""
    monkeypatch.setenv("DATAINF_CACHE_GB", str(size / 1e9))


def disk_of(size, monkeypatch):
    """A disk that the cache's folder has for itself."""
    usage = namedtuple("usage", "free")

    def disk_usage(folder):
        return usage(size - sum(path.stat().st_size for path in folder.iterdir()))

    monkeypatch.setattr(cache.shutil, "disk_usage", disk_usage)


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
def test_a_folder_that_others_write_to_is_refused(tmp_path, monkeypatch, mode):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(mode)
    monkeypatch.setenv(cache.FOLDER, str(tmp_path / "cache"))
    with pytest.raises(WriteError, match="others may write to it") as caught:
        cache.folder()
    assert "chmod go-w" in caught.value.remedy


def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.FOLDER, str(tmp_path))
    assert cache.folder() == tmp_path
    monkeypatch.setattr("os.getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(WriteError, match="is another user's"):
        cache.folder()


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
    room_for(2.5 * store.index.shards[0].bytes, monkeypatch)
    files = [shard.file for shard in store.index.shards]
    found = fetched(monkeypatch)

    def use(number):
        shard = store.index.shards[number]
        ShardFile(store.path, shard, replace(store.index, shards=[shard])).tensor(LOSSES)
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


def test_a_store_larger_than_the_cache_is_read_tensor_by_tensor(store, monkeypatch):
    gradients = random_gradients(12, 0)
    room_for(0, monkeypatch)
    found = requested(store, monkeypatch)
    again = GradientStore.open(str(store.path))
    assert again.ids == list(range(12))
    for name, block in again.blocks.items():
        torch.testing.assert_close(block.to_dense(), gradients[name])
    total = sum(shard.bytes for shard in store.index.shards)
    assert sum(found) < 1.5 * total  # and the headers and the index
    assert len(copies()) == 1


def test_rows_of_a_tensor_are_fetched_once_for_all_its_slices(store, monkeypatch):
    room_for(0, monkeypatch)
    again = GradientStore.open(str(store.path))
    _ = again.sq_norms
    found = requested(store, monkeypatch)
    rows = [again.blocks["first.A"].rows(row, row + 1) for row in range(12)]
    torch.testing.assert_close(torch.cat(rows), random_gradients(12, 0)["first.A"])
    assert found == [4 * 120 * 4] * 3


def test_stores_that_do_not_fit_together_are_fetched_whole_once(memory, store, monkeypatch):
    other = make_smaller(place(f"{memory}/query"), random_gradients(12, 1), shard_rows=4)
    total = sum(shard.bytes for shard in store.index.shards)
    room_for(1.2 * total, monkeypatch)
    for path in copies():
        path.unlink()
    found = requested(store, monkeypatch)
    again = [GradientStore.open(str(one.path)) for one in (store, other)]
    for name in SHAPES:
        for seed, one in enumerate(again):
            torch.testing.assert_close(
                one.blocks[name].to_dense(), random_gradients(12, seed)[name]
            )
    assert sum(found) < 5 * total  # of both: all once, what was evicted again, headers


@pytest.mark.parametrize("stores", [0.0, 0.4, 1.2])
def test_threads_read_with_a_small_cache(store, stores, monkeypatch):
    room_for(stores * sum(shard.bytes for shard in store.index.shards), monkeypatch)
    gradients = random_gradients(12, 0)

    def work(number):
        again = shared[number % 2]
        for name in [*SHAPES][number % 3 :] + [*SHAPES][: number % 3]:
            torch.testing.assert_close(again.blocks[name].to_dense(), gradients[name])
        return again.ids

    for _ in range(5):
        shared = [GradientStore.open(str(store.path)) for _ in range(2)]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, range(16))) == [list(range(12))] * 16


@pytest.mark.parametrize("room", [0, 10**9])
def test_an_open_store_is_not_answered_by_another_that_took_its_place(memory, room, monkeypatch):
    folder = place(f"{memory}/train")
    store = make_smaller(folder, random_gradients(12, 0), shard_rows=4)
    room_for(room, monkeypatch)
    opened = GradientStore.open(str(folder))
    wanted = opened.blocks["first.A"].to_dense()
    folder.fs.rm(folder.path, recursive=True)
    make_smaller(folder, random_gradients(12, 1), shard_rows=4)
    for path in copies():
        path.unlink()
    with pytest.raises(StoreCorruptError, match=store.index.shards[0].file):
        opened.blocks["first.A"].to_dense()
    assert not torch.equal(GradientStore.open(str(folder)).blocks["first.A"].to_dense(), wanted)


def test_a_fetched_object_is_checked_before_it_is_a_copy(store):
    shard = store.index.shards[0]
    content = bytearray((store.path / shard.file).read_bytes())
    content[-500] ^= 1
    (store.path / shard.file).write_bytes(content)
    with pytest.raises(StoreCorruptError, match=str(store.path / shard.file)):
        ShardFile(store.path, shard, store.index).tensor(LOSSES)
    assert copies() == []


def test_copies_go_where_the_disk_is_full(store, monkeypatch):
    size = store.index.shards[0].bytes
    disk_of(int(1.5 * size), monkeypatch)
    again = GradientStore.open(str(store.path))
    assert again.ids == list(range(12))
    assert len(copies()) == 1
    cache.draft(store.path / "shard-00007.safetensors", size)
    assert copies() == []


def test_two_writers_of_a_shard_do_not_destroy_each_other_s_drafts(store):
    path = store.path / store.index.shards[0].file
    wanted = path.read_bytes()
    drafts = [ShardDraft(path, store.index, [0, 1, 2, 3]) for _ in range(2)]
    for draft in drafts:
        draft.put(
            range(4), {name: G[:4] for name, G in random_gradients(12, 0).items()}, torch.zeros(4)
        )
        path.write_bytes(b"another's")
        assert draft.finish() == (len(wanted), store.index.shards[0].checksum)
        assert path.read_bytes() == wanted


def test_a_disk_without_room_is_said_and_not_blamed_on_the_storage(store, monkeypatch):
    shard = store.index.shards[0]
    with monkeypatch.context() as patch:
        disk_of(shard.bytes // 2, patch)
        with pytest.raises(WriteError, match="a copy of what is in object storage") as caught:
            _ = GradientStore.open(str(store.path)).ids
    assert "free some space" in caught.value.remedy

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store.path.fs, "get_file", full)
    with pytest.raises(WriteError, match="a copy of what is in object storage"):
        _ = GradientStore.open(str(store.path)).ids
    with pytest.raises(WriteError, match="cannot write"), on_this_machine(store.path / shard.file):
        pass


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


def test_old_drafts_go_and_new_ones_stay(store):
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
