"""One writer at a time, where no system holds a lock and lets it go with the process.

A writer puts an object `.lock-N` under the condition that there is none, with a token of its own
and a count, and counts up every `BEAT` seconds. Who finds one that counts is told that the store is
busy; who sees it stand still for a `LEASE` puts `.lock-(N+1)`, under the same condition, so that of
several who wait one has it. Clocks are never compared. The holder of a lock with a higher number
beside it, or with another's token in it, has lost it, finds that out at its next beat or its next
write, and writes no more; so do the processes that write with it, which look before each write.

The condition is If-None-Match on S3, ifGenerationMatch=0 on Google's; fsspec's `mode="create"`. A
storage that does not know it overwrites: of two writers that begin in the same moment the later
one's token stands, and the other finds that out within a beat.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from datainf.errors import StoreBusyError
from datainf.remote import objects
from datainf.remote.tries import reading, refused, tried

T = TypeVar("T")

BEAT, LEASE = 15.0, 60.0
"""Seconds between two signs of life; and without one after which a writer counts as dead."""
LOOK = 1.0
"""Seconds between two looks at a lock that is held."""
_NAME = re.compile(r"\.lock-(\d+)")


Held = tuple[int, str]
"""A lock's number and its holder's token."""


@contextmanager
def locked(folder: Path) -> Iterator[Held]:
    """One writer at a time, on every machine. Raises `StoreBusyError` if another lives, after
    `BEAT` seconds at most; waits for a `LEASE` where one died. `WriteError` if the storage
    refuses."""
    lock = Lock(folder)
    lock.take()
    try:
        with _fenced(folder, lock.require):
            yield lock.number, lock.token
    finally:
        lock.release()


@contextmanager
def heeded(folder: Path, held: Held) -> Iterator[None]:
    """Write no more once a lock is lost that another process holds for this one too."""
    lock = Lock(folder)
    lock.number, lock.token = held
    with _fenced(folder, lock.heed):
        yield


@contextmanager
def _fenced(folder: Path, require: Callable[[], None]) -> Iterator[None]:
    objects.FENCES[str(folder)] = require
    try:
        yield
    finally:
        del objects.FENCES[str(folder)]


def _now() -> float:
    """Seconds that go on while the machine sleeps, where it counts them: others go on too."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Lock:
    """A store's lock, held from `take` on."""

    def __init__(self, folder: Path) -> None:
        self.folder: Any = folder
        self.token = secrets.token_hex(8)
        self.number, self.count = 0, 0
        self._lost = False
        self._renewed = _now()
        self._one_at_a_time = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beats, daemon=True, name="datainf-lock")

    def take(self) -> None:
        """Raises `StoreBusyError` if another writer lives, `WriteError` if the storage refuses."""
        dead, seen = self._dead()
        number = dead + 1
        if not self._create(number):
            raise self._busy()
        self.number = number
        try:
            self._settle(dead, seen)
            self._renewed = _now()
            self._thread.start()
        except BaseException:
            self._remove(number)  # which nobody would renew
            raise

    def _settle(self, dead: int, seen: dict[str, Any] | None) -> None:
        """Raise `StoreBusyError` if another was faster; else clear away what came before."""
        numbers = self._asked(self._numbers)
        before = self._asked(lambda: self._content(dead))
        if max(numbers, default=0) != self.number or before not in (None, seen):
            raise self._busy()
        for other in numbers:
            if other < self.number:
                self._remove(other)

    def require(self) -> None:
        """Raise `StoreBusyError` if another writer took the lock over."""
        if not self._lost and _now() - self._renewed > LEASE / 2:
            self._beat()  # this process stood still, or could not reach the storage
        self._require_kept()

    def heed(self) -> None:
        """The same of a lock that another process renews."""
        self._lost = self._lost or not self._stands()
        self._require_kept()

    def _require_kept(self) -> None:
        if self._lost:
            raise StoreBusyError(
                f"another process took {self.folder} over, since this one gave no sign of life for "
                f"{LEASE:.0f} seconds",
                remedy="wait for it; what this one had finished is kept",
            )

    def release(self) -> None:
        """Let the next writer begin at once."""
        self._end.set()
        with self._one_at_a_time:  # after a beat that is under way
            if not self._lost:
                self._remove(self.number)

    def _dead(self) -> tuple[int, dict[str, Any] | None]:
        """The highest number of a lock, which nobody renews any more, and what is in it; 0 if there
        is none."""
        started = time.monotonic()  # not while this machine sleeps, and perhaps the other with it
        highest = max(self._asked(self._numbers), default=0)
        first = self._asked(lambda: self._content(highest)) if highest else None
        while first is not None and time.monotonic() - started < LEASE:
            time.sleep(LOOK)
            now = self._asked(lambda: self._content(highest))
            if now is None:  # it was let go
                return self._dead()
            if now != first or max(self._asked(self._numbers), default=0) > highest:
                raise self._busy()
        return highest, first

    def _beats(self) -> None:
        while not self._lost and not self._end.wait(BEAT):
            with suppress(Exception):  # the next one, or the next write, tells
                self._beat()

    def _beat(self) -> None:
        """A sign of life; or the finding that it comes too late. It is tried once: the next comes
        sooner than what is tried again, and nothing may wait for this one."""
        with self._one_at_a_time:
            if self._end.is_set():
                return
            if not self._stands():
                self._lost = True
                return
            self.count += 1
            self.folder.fs.pipe_file(self._path(self.number), self._bytes())
            self._renewed = _now()

    def _stands(self) -> bool:
        """Whether the lock is there as it was taken, and none of a higher number."""
        found = self._content(self.number)
        is_own = found is not None and found["token"] == self.token
        return is_own and max(self._numbers(), default=0) <= self.number

    def _create(self, number: int) -> bool:
        """Whether there was none of this number."""
        path = self._path(number)

        def once() -> bool:
            try:
                self.folder.fs.pipe_file(path, self._bytes(), mode="create")
            except Exception:
                # Every library says in its own way that there is one already; and of a request that
                # is tried again the first try may have been heard.
                if self._content(number) is None:
                    raise
            found = self._content(number)
            return found is not None and found["token"] == self.token

        try:
            return tried(once)
        except Exception as error:
            raise refused(self.folder / f".lock-{number}", error) from error

    def _asked(self, request: Callable[[], T]) -> T:
        """What the storage says, after some tries. Raises `StoreError` if it refuses."""
        with reading(self.folder):
            return tried(request)

    def _numbers(self) -> list[int]:
        found = map(_NAME.fullmatch, objects.listed(self.folder))
        return [int(match[1]) for match in found if match]

    def _content(self, number: int) -> dict[str, Any] | None:
        """None where there is no such lock."""
        try:
            found: dict[str, Any] = json.loads(self.folder.fs.cat_file(self._path(number)))
        except FileNotFoundError:
            return None
        except ValueError:
            return {"token": None, "count": None}
        return found

    def _remove(self, number: int) -> None:
        with suppress(Exception):  # it is then taken for one of a writer that died
            self.folder.fs.rm_file(self._path(number))

    def _path(self, number: int) -> str:
        path: str = (self.folder / f".lock-{number}").path
        return path

    def _bytes(self) -> bytes:
        return json.dumps({"token": self.token, "count": self.count}).encode()

    def _busy(self) -> StoreBusyError:
        return StoreBusyError(
            f"another process is writing to {self.folder}", remedy="wait for it, or another folder"
        )
