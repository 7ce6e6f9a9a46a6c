"""One writer at a time, where a conditional put is all that there is."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from datainf.errors import StoreBusyError, WriteError
from datainf.files import locked, write_atomically
from datainf.remote import lock, place

pytest_plugins = ["object_storage"]


@pytest.fixture(params=["memory", "bucket"])
def folder(request):
    return place(f"{request.getfixturevalue(request.param)}/train")


def left(folder):
    found = folder.fs.ls(folder.path, detail=False) if folder.exists() else []
    return [name.rpartition("/")[2] for name in found]


def die(writer: lock.Lock) -> None:
    """As a process that is killed: no more signs of life, and nothing cleaned up."""
    writer._end.set()
    writer._thread.join()


def test_the_second_writer_is_told_within_a_beat_or_two(folder, monkeypatch):
    monkeypatch.setattr(lock, "LEASE", 60.0)
    with locked(folder):
        started = time.monotonic()
        with pytest.raises(StoreBusyError, match=f"another process is writing to {folder}"):
            lock.Lock(folder).take()
        assert time.monotonic() - started < 30
        assert left(folder) == [".lock-1"]
    assert left(folder) == []
    with locked(folder):
        pass


def test_a_dead_writer_s_lock_is_taken_over_after_the_lease(folder):
    first = lock.Lock(folder)
    first.take()
    die(first)
    started = time.monotonic()
    with locked(folder):
        assert lock.LEASE <= time.monotonic() - started < lock.LEASE + 30
        assert left(folder) == [".lock-2"]
    assert left(folder) == []


def all_at_once(monkeypatch, writers) -> list[bool]:
    """Which of them have the lock, that all find free, or its writer dead, in the same moment."""
    together, dead = threading.Barrier(len(writers)), lock.Lock._dead

    def found(self):
        seen = dead(self)
        together.wait()
        return seen

    def taken(writer):
        try:
            writer.take()
        except StoreBusyError:
            return False
        return True

    with monkeypatch.context() as patch, ThreadPoolExecutor(len(writers)) as threads:
        patch.setattr(lock.Lock, "_dead", found)
        return list(threads.map(taken, writers))


@pytest.mark.parametrize("after", ["nobody", "a dead writer"])
def test_of_several_who_begin_together_one_has_it(folder, after, monkeypatch):
    if after != "nobody":
        dead = lock.Lock(folder)
        dead.take()
        die(dead)
    writers = [lock.Lock(folder) for _ in range(4)]
    found = all_at_once(monkeypatch, writers)
    assert sum(found) == 1, found
    writers[found.index(True)].release()
    assert left(folder) == []


def test_who_stood_still_writes_no_more(folder, monkeypatch):
    path = folder / "index.json"
    with locked(folder):
        write_atomically(path, b"before")
        monkeypatch.setattr(lock.Lock, "_beats", lambda _: None)
    stopped = lock.locked(folder)
    stopped.__enter__()  # without a beat, as a process that is stopped for a while
    second = lock.Lock(folder)
    second.take()
    with pytest.raises(StoreBusyError, match=r"took .* over"):
        write_atomically(path, b"too late")
    assert path.read_bytes() == b"before"
    stopped.__exit__(None, None, None)
    assert left(folder) == [".lock-2", "index.json"]
    second.release()


@pytest.mark.parametrize("name", [".lock-1", ".lock-2"])
def test_who_was_replaced_finds_out_at_its_next_beat(folder, name):
    with locked(folder):
        (folder / name).write_bytes(b'{"token": "another", "count": 0}')
        time.sleep(5 * lock.BEAT)
        with pytest.raises(StoreBusyError, match=r"took .* over"):
            write_atomically(folder / "index.json", b"too late")
    assert left(folder) == [".lock-1", ".lock-2"][: 1 + (name == ".lock-2")]


def test_a_put_whose_answer_got_lost_is_no_other_writer(s3, bucket):
    s3.failing("PUT", ".lock-", "lose", times=1)
    with locked(place(f"{bucket}/train")):
        pass
    assert [method for method, path in s3.seen if ".lock-1" in path].count("PUT") >= 2


def test_a_storage_without_conditions_tells_one_of_two_within_a_beat(bucket, monkeypatch):
    """Both believe to be alone until the first looks again."""
    folder = place(f"{bucket}/train")
    put = folder.fs.pipe_file
    monkeypatch.setattr(folder.fs, "pipe_file", lambda path, data, **_: put(path, data))
    first, second = lock.Lock(folder), lock.Lock(folder)
    found = all_at_once(monkeypatch, [first, second])
    time.sleep(3 * lock.BEAT)
    alive = [
        writer for writer, has in zip((first, second), found, strict=True)
        if has and not writer._lost
    ]  # fmt: skip
    assert len(alive) == 1
    alive[0].release()


@pytest.mark.parametrize(("status", "remedy"), [(403, "keys that may"), (500, "same command")])
def test_a_storage_that_refuses(s3, bucket, status, remedy):
    s3.failing("PUT", ".lock-", status)
    with pytest.raises(WriteError, match=f"cannot write {bucket}/train") as caught:
        lock.Lock(place(f"{bucket}/train")).take()
    assert remedy in caught.value.remedy
