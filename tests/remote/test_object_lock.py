"""One writer at a time, where a conditional put is all that there is."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from datainf.errors import StoreBusyError, StoreError, WriteError
from datainf.files import locked, write_atomically
from datainf.ranks import Ranks
from datainf.remote import lock, objects, place, tries
from datainf.store.writer import writer
from smaller import make_smaller, random_gradients

pytest_plugins = ["object_storage"]


@pytest.fixture(params=["memory", "s3_bucket", "google_bucket"])
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


def test_a_put_whose_answer_got_lost_is_no_other_writer(proxy, bucket):
    proxy.failing("PUT", ".lock-", "lose", times=1)
    with locked(place(f"{bucket}/train")):
        pass
    assert [method for method, path in proxy.seen if ".lock-1" in path].count("PUT") >= 2


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
def test_a_storage_that_refuses(proxy, bucket, status, remedy):
    proxy.failing("PUT", ".lock-", status)
    with pytest.raises(WriteError, match=f"cannot write {bucket}/train") as caught:
        lock.Lock(place(f"{bucket}/train")).take()
    assert remedy in caught.value.remedy


def failing(monkeypatch, folder, call, times, error=OSError):
    """So many of the storage's calls of a kind; how many there were."""
    real, seen = getattr(folder.fs, call), []

    def once(*arguments, **options):
        seen.append(arguments)
        if len(seen) <= times:
            raise error("no answer")
        return real(*arguments, **options)

    monkeypatch.setattr(folder.fs, call, once)
    return seen


def test_a_lock_that_cannot_be_put_is_tried_again(memory, monkeypatch):
    folder = place(f"{memory}/train")
    with monkeypatch.context() as patch:
        seen = failing(patch, folder, "pipe_file", 4)
        with locked(folder):
            assert len(seen) == 5
    seen = failing(monkeypatch, folder, "pipe_file", 5)
    with pytest.raises(WriteError, match="tried 5 times"):
        lock.Lock(folder).take()
    assert len(seen) == 5
    assert left(folder) == []


@pytest.mark.parametrize("error", [OSError, PermissionError, KeyboardInterrupt])
def test_no_lock_is_left_where_it_could_not_be_taken(memory, error, monkeypatch):
    folder = place(f"{memory}/train")
    real = lock.Lock._create

    def create(self, number):
        made = real(self, number)
        failing(monkeypatch, folder, "ls", 5, error)
        return made

    monkeypatch.setattr(lock.Lock, "_create", create)
    with pytest.raises((StoreError, KeyboardInterrupt)):
        lock.Lock(folder).take()
    monkeypatch.undo()
    assert left(folder) == []


def test_a_beat_waits_for_no_second_try(memory, monkeypatch):
    """Those that failed would be behind in their lease by what they waited."""
    monkeypatch.setattr(lock.Lock, "_beats", lambda _: None)
    monkeypatch.setattr(tries, "WAITS", (600.0,) * 4)
    folder = place(f"{memory}/train")
    own = lock.Lock(folder)
    own.take()
    failing(monkeypatch, folder, "cat_file", 1)
    failing(monkeypatch, folder, "ls", 1)
    for _ in range(2):
        with pytest.raises(OSError, match="no answer"):
            own._beat()
    own._beat()
    assert own.count == 1
    own.release()


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="no clock that tells")
def test_the_time_that_a_machine_slept_counts(memory, monkeypatch):
    monkeypatch.setattr(lock.Lock, "_beats", lambda _: None)
    folder, real = place(f"{memory}/train"), time.clock_gettime
    with locked(folder):
        (folder / ".lock-2").write_bytes(b'{"token": "another", "count": 0}')
        write_atomically(folder / "index.json", b"at once after a beat")
        monkeypatch.setattr(time, "clock_gettime", lambda clock: real(clock) + lock.LEASE)
        with pytest.raises(StoreBusyError, match=r"took .* over"):
            write_atomically(folder / "index.json", b"too late")


class Second(Ranks):
    """The second of two processes, whose first says what it is told to."""

    def __init__(self, said):
        super().__init__(1, 2)
        object.__setattr__(self, "said", said)

    def of_first(self, _):
        return self.said

    def wait(self):
        """For nobody."""


@pytest.mark.parametrize("name", [".lock-1", ".lock-2"])
def test_no_process_writes_on_once_the_first_was_replaced(memory, name, monkeypatch):
    store = make_smaller(place(f"{memory}/train"), random_gradients(4, 0), shard_rows=2)
    gradients = {name: G[:2] for name, G in random_gradients(4, 0).items()}
    wanted = replace(store.index, shards=[])
    wanted.save(store.path)
    before = (store.path / store.index.shards[1].file).stat().st_mtime
    with lock.locked(store.path) as held:
        objects.FENCES.clear()  # of the first process
        monkeypatch.setattr("datainf.store.writer.ranks", lambda: Second(held))
        with writer(store.path, wanted) as own:
            own.append(gradients, [0, 1], torch.zeros(2))
            (store.path / name).write_bytes(b'{"token": "another", "count": 0}')
            with pytest.raises(StoreBusyError, match=r"took .* over"):
                own.append(gradients, [2, 3], torch.zeros(2))
        objects.FENCES[str(store.path)] = lambda: None  # the first's again
    assert (store.path / store.index.shards[1].file).stat().st_mtime == before
