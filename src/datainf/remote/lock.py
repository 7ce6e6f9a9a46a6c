"""One writer at a time, where no system holds a lock and lets it go with the process.

A writer puts an object `.lock-N` under the condition that there is none, with a token of its own
and a count, and counts up every `BEAT` seconds. Who finds one that counts is told that the store is
busy; who sees it stand still for a `LEASE` puts `.lock-(N+1)`, under the same condition, so that of
several who wait one has it. Clocks are never compared. The holder of a lock with a higher number
beside it, or with another's token in it, has lost it, finds that out at its next beat or its next
write, and writes no more.

The condition is If-None-Match on S3, x-goog-if-generation-match on Google's; fsspec's `mode=
"create"`. A storage that does not know it overwrites: of two writers that begin in the same moment
the later one's token stands, and the other finds that out within a beat.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from datainf.errors import StoreBusyError
from datainf.remote import objects
from datainf.remote.tries import refused

BEAT, LEASE = 15.0, 60.0
"""Seconds between two signs of life; and without one after which a writer counts as dead."""
LOOK = 1.0
"""Seconds between two looks at a lock that is held."""
_NAME = re.compile(r"\.lock-(\d+)")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One writer at a time, on every machine. Raises `StoreBusyError` if another lives, after
    `BEAT` seconds at most; waits for a `LEASE` where one died. `WriteError` if the storage
    refuses."""
    lock = Lock(folder)
    lock.take()
    objects.FENCES[str(folder)] = lock.require
    try:
        yield
    finally:
        del objects.FENCES[str(folder)]
        lock.release()


class Lock:
    """A store's lock, held from `take` on."""

    def __init__(self, folder: Path) -> None:
        self.folder: Any = folder
        self.token = secrets.token_hex(8)
        self.number, self.count = 0, 0
        self._lost = False
        self._renewed = time.monotonic()
        self._one_at_a_time = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beats, daemon=True, name="datainf-lock")

    def take(self) -> None:
        """Raises `StoreBusyError` if another writer lives, `WriteError` if the storage refuses."""
        dead, seen = self._dead()
        number = dead + 1
        if not self._create(number):
            raise self._busy()
        self.number, numbers = number, self._numbers()
        if max(numbers, default=0) != number or self._content(dead) not in (None, seen):
            self._remove(number)  # another was faster
            raise self._busy()
        for other in numbers:
            if other < number:
                self._remove(other)
        self._renewed = time.monotonic()
        self._thread.start()

    def require(self) -> None:
        """Raise `StoreBusyError` if another writer took the lock over."""
        if not self._lost and time.monotonic() - self._renewed > LEASE / 2:
            self._beat()  # this process stood still, or could not reach the storage
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
        started = time.monotonic()
        first = self._content(highest) if (highest := max(self._numbers(), default=0)) else None
        while first is not None and time.monotonic() - started < LEASE:
            time.sleep(LOOK)
            now = self._content(highest)
            if now is None:  # it was let go
                return self._dead()
            if now != first or max(self._numbers(), default=0) > highest:
                raise self._busy()
        return highest, first

    def _beats(self) -> None:
        while not self._lost and not self._end.wait(BEAT):
            with suppress(Exception):  # the next one, or the next write, tells
                self._beat()

    def _beat(self) -> None:
        """A sign of life; or the finding that it comes too late."""
        with self._one_at_a_time:
            if self._end.is_set():
                return
            found, highest = self._content(self.number), max(self._numbers(), default=0)
            if found is None or found["token"] != self.token or highest > self.number:
                self._lost = True
                return
            self.count += 1
            self.folder.fs.pipe_file(self._path(self.number), self._bytes())
            self._renewed = time.monotonic()

    def _create(self, number: int) -> bool:
        """Whether there was none of this number."""
        path = self.folder / f".lock-{number}"
        try:
            self.folder.fs.pipe_file(path.path, self._bytes(), mode="create")
        except Exception as error:
            # Every library says in its own way that there is one already; and of a request that
            # is tried again the first try may have been heard.
            if isinstance(error, PermissionError | FileNotFoundError):
                raise refused(path, error) from None
            if self._content(number) is None:
                raise refused(path, error) from error
        found = self._content(number)
        return found is not None and found["token"] == self.token

    def _numbers(self) -> list[int]:
        found = map(_NAME.fullmatch, objects.sizes(self.folder))
        return [int(match[1]) for match in found if match]

    def _content(self, number: int) -> dict[str, Any] | None:
        """None where there is no such lock."""
        try:
            found: dict[str, Any] = json.loads(objects.read(self.folder / f".lock-{number}"))
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
