"""Writing a gradient store, shard by shard, from the start or from where a killed run left it.

A shard's rows go to its file as they are computed. What remains then, checksums and the wait for
the disk, is done by a thread of its own while the next shard is computed.

Of several processes each writes shards of its own, and beside each a note of what it is; the first
of them enters the notes in the index when all are done, or when the store is opened to be gone on
with.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from datainf import words
from datainf.errors import (
    StoreCorruptError,
    StoreError,
    StoreIncompleteError,
    StoreMismatchError,
)
from datainf.files import (
    files_in,
    has_file,
    heeding,
    locked,
    make_folder,
    read_file,
    remove,
    write_atomically,
)
from datainf.ranks import Ranks, ranks
from datainf.remote.lock import Held
from datainf.store.index import INDEX, Index, Shard, difference, projected_by
from datainf.store.index_values import check_shard
from datainf.store.shards import ShardDraft, ShardFile

SHARD = ".safetensors"
NOTE = ".json"
"""How shards end, and the note of each, which has its name otherwise."""


class DamagedWarning(UserWarning):
    """Files of a store were not as they were written; it says whether they are made again."""


Damaged = tuple[Shard, StoreCorruptError]


class StoreWriter:
    """Writes the shards that a store lacks. Get one from `writer`."""

    def __init__(
        self, path: Path, index: Index, thread: ThreadPoolExecutor, ranks: Ranks,
        own: range | None = None,
    ) -> None:  # fmt: skip
        self.path = path
        self.index = index
        self.ranks = ranks
        self._own = own
        self._thread = thread
        self._in_hand: Future[None] | None = None

    def append(self, gradients: Mapping[str, Tensor], ids: list[int | str], losses: Tensor) -> None:
        """Write the first shard that is missing at once: gradients [rows, columns] a block, float32
        or better, in the order of the data set. Raises `WriteError` if the disk refuses."""
        start = next(self.index.missing()).start
        with self.filling(range(start, start + len(ids)), ids) as draft:
            draft.put(range(len(ids)), gradients, losses)
        self.finish()

    @contextmanager
    def filling(self, rows: range, ids: list[int | str]) -> Iterator[ShardDraft]:
        """The shard of some rows that are missing, to be filled; it is then finished while other
        work goes on, or dropped after an error.

        Raises `WriteError` if the disk refuses it or refused the shard before, which was finished
        meanwhile; those that are in the index stay.
        """
        self.finish()
        name = f"shard-{self.index.number(rows):05d}{SHARD}"
        draft = ShardDraft(self.path / name, self.index, ids)
        try:
            yield draft
        except BaseException:
            draft.drop()
            raise
        self._in_hand = self._thread.submit(self._finish, draft, rows)

    def finish(self) -> None:
        """Wait until the shard in hand is on the disk. Raises `WriteError` if the disk refuses."""
        in_hand, self._in_hand = self._in_hand, None
        if in_hand is not None:
            in_hand.result()

    def _finish(self, draft: ShardDraft, rows: range) -> None:
        size, checksum = draft.finish()
        skipped = tuple(sorted(draft.skipped.items()))
        shard = Shard(draft.path.name, rows.start, len(rows), size, checksum, skipped)
        self.index.add(shard)
        if self.ranks.count == 1:
            self.index.save(self.path)
        else:
            note = json.dumps(shard.plain()).encode()
            write_atomically(draft.path.with_suffix(NOTE), note)

    def note(self) -> None:
        """Put the index's notes on the disk before any shard: one process saves them with each, of
        several the first would with the last, and those that go on after a kill need them."""
        if self.ranks.count > 1:
            self.ranks.of_first(lambda: _enter_notes(self.path, self.index.notes))

    @property
    def lacking(self) -> list[range]:
        """The rows of each shard that is to be written, by whichever process."""
        own = self._own
        return [rows for rows in self.index.missing() if own is None or rows.start in own]

    @property
    def missing(self) -> Sequence[range]:
        """Those that this process is to write."""
        return self.ranks.share(self.lacking)


@contextmanager
def writer(path: Path, wanted: Index, own: range | None = None) -> Iterator[StoreWriter]:
    """Begin a store at `path`, or go on with the one that is there if it was made for the same
    request. The shard in hand is finished on the way out, after an error too. `own`: the rows that
    can be written, where that are not all.

    Raises `StoreMismatchError` naming the difference if it was not, `StoreIncompleteError` if rows
    are to come to a store that lacks others, `StoreBusyError` if another process is writing to it,
    `WriteError` if the disk refuses.
    """
    make_folder(path)
    all_of_them = ranks()
    with ExitStack() as held, ThreadPoolExecutor(1, "datainf-writer") as thread:
        lock = all_of_them.of_first(lambda: _begin(path, wanted, own, held))
        if not all_of_them.is_first:
            held.enter_context(heeding(path, lock))
        store = StoreWriter(path, Index.load(path), thread, all_of_them, own)
        all_of_them.wait()  # before the first notes what others would not have read
        yield store
        store.finish()
        if all_of_them.count > 1:
            all_of_them.wait()
            all_of_them.of_first(lambda: _enter_notes(path, store.index.notes))
            store.index.shards = Index.load(path).shards


def _begin(path: Path, wanted: Index, own: range | None, held: ExitStack) -> Held | None:
    """Leave an index at `path` with those shards that are sound, and hold the store's lock, which
    is for the other processes to heed."""
    lock = held.enter_context(locked(path))
    index = begun(path, wanted)
    if index is None:
        if files_in(path, f"*{SHARD}"):
            raise StoreError(
                f"{path} holds safetensors files but no {INDEX}: it is not a gradient store",
                remedy="an empty or new folder",
            )
        wanted.save(path)
        return lock
    found = [(shard, fault_of(path, index, shard)) for shard in index.shards]
    sound = [shard for shard, fault in found if fault is None]
    if own is not None and index.n > Index.load(path).n:
        _require_others(path, replace(index, shards=sound), own)
    _warn_of([(shard, fault) for shard, fault in found if fault is not None], own)
    index.save(path)  # with the rows that are to come to it
    _enter_notes(path, index.notes)
    _sweep(path, Index.load(path))
    index.shards = sound
    if not index.shards:
        index.shard_rows = wanted.shard_rows
    index.save(path)
    return lock


def _warn_of(damaged: Sequence[Damaged], own: range | None) -> None:
    """That what is wrong with shards has been seen, and costs their gradients once more; but of
    rows that cannot be written now, as `own` has it, nothing comes again."""
    for comes, what in (
        (True, "Their gradients are taken again"),
        (False, "Their gradients are not taken again now, for they are of other data"),
    ):
        some = [one for one in damaged if (own is None or one[0].start in own) == comes]
        if some:
            warnings.warn(f"{_first_of(some)}. {what}", DamagedWarning, stacklevel=2)


def _first_of(damaged: Sequence[Damaged], most: int = 5) -> str:
    """What is wrong with so many shards, and how many more there are."""
    told = [
        f"{fault.message}, {words.rows(range(shard.start, shard.start + shard.rows))}"
        for shard, fault in damaged[:most]
    ]
    if len(damaged) > most:
        told.append(words.count(len(damaged) - most, "more file"))
    return "; ".join(told)


def _require_others(path: Path, index: Index, own: range) -> None:
    """Raise `StoreIncompleteError` unless all rows are there but `own`, which come to them."""
    lost = sum(len(rows) for rows in index.missing() if rows.start not in own)
    if lost:
        there = own.start
        raise StoreIncompleteError(
            f"{path} holds {there - lost:,} of the {there:,} examples that others are to be added "
            "to, as they were written",
            remedy=index.how_to_finish(own.start),
        )


def _enter_notes(path: Path, notes: Mapping[str, Any]) -> None:
    """Enter what other processes have written in the index, and take their notes away."""
    index = Index.load(path)
    found = _add_noted(path, index)
    index.notes |= notes
    index.save(path)
    for file in found:
        remove(file)


def _sweep(path: Path, index: Index) -> None:
    """Take away what writers that were killed left: files that were not finished, and shards that
    were and are in no index. Shards of other rows or processes would not take their places."""
    known = {shard.file for shard in index.shards}
    unknown = [file for file in files_in(path, f"shard-*{SHARD}") if file.name not in known]
    for file in (*files_in(path, "*.tmp"), *unknown):
        remove(file)


def _add_noted(path: Path, index: Index) -> list[Path]:
    """Add to an index what other processes have written; the notes that there are."""
    found = files_in(path, f"shard-*{NOTE}")
    known = {shard.start for shard in index.shards}
    for shard in filter(None, map(_noted, found)):
        if shard.start not in known and index.has_room(shard):
            index.add(shard)
    return found


def with_noted(path: Path) -> Index:
    """The index of the store at `path`, with what is finished and only noted beside it, as after a
    kill of several processes. Raises as `Index.load`."""
    index = Index.load(path)
    _add_noted(path, index)
    return index


def _noted(file: Path) -> Shard | None:
    """The shard that a note is of; None where it is not as it was written, and the shard is made
    again, or where the first process has just entered it."""
    try:
        told = json.loads(read_file(file).decode())
        check_shard(told)
        shard = Shard.read(told)
    except (
        FileNotFoundError, ValueError, TypeError, LookupError, AttributeError, RecursionError,
    ):  # fmt: skip
        return None
    return shard if shard.file == file.with_suffix(".safetensors").name else None


def begun(path: Path, wanted: Index, *, but: Collection[str] = ()) -> Index | None:
    """The index of the store at `path` that was made for the same request, or for a part of it
    that `wanted` adds to; None if there is none. `but`: fingerprints that are not compared.

    Raises `StoreMismatchError` naming the difference if the store was made for another.
    """
    if not has_file(path / INDEX):
        return None
    found = Index.load(path).grown(wanted)
    _require_same_request(path, found, wanted, but)
    _add_noted(path, found)
    return found


def _require_same_request(path: Path, found: Index, wanted: Index, but: Collection[str]) -> None:
    meanings = {
        "base": "the base model's weights or configuration",
        "adapter": "the adapter's (trainable) weights or scaling",
        "data": "the data set",
        "task": "the task's settings",
        "moments": "the second moments in whose metric gradients are projected",
    }
    differences = [
        meaning
        for key, meaning in meanings.items()
        if key not in but and found.fingerprints.get(key) != wanted.fingerprints.get(key)
    ]
    if found.task != wanted.task and meanings["task"] in differences:
        keys = [key for key in wanted.task if found.task.get(key) != wanted.task[key]]
        differences[differences.index(meanings["task"])] += f" ({', '.join(keys)})"
    differences += _other_options(found, wanted)
    there, asked = found.blocks, wanted.blocks
    if found.projection != wanted.projection:  # which says how many numbers of each are kept
        there, asked = ([replace(one, kept=None) for one in table] for table in (there, asked))
    if there != asked:
        told = difference(there, asked)
        differences.append(f"the trainable tensors, there and asked for: {told}")
    if differences:
        raise StoreMismatchError(
            f"{path} holds a store that was made for something else. What differs: "
            f"{'; '.join(differences)}",
            remedy="another output folder, or delete this one",
        )


def _other_options(found: Index, wanted: Index) -> Iterator[str]:
    """What a person asked for otherwise, by the names that it has on the command line."""
    told: dict[str, Callable[[Index], str]] = {
        "the number of examples": lambda index: f"{index.n:,}",
        "--store": lambda index: index.dtype,
        "--project": lambda index: projected_by(index.projection),
    }
    for name, of in told.items():
        if of(found) != of(wanted):
            yield f"{name} ({of(found)} there, {of(wanted)} asked for)"


def is_sound(path: Path, index: Index, shard: Shard) -> bool:
    """Whether its bytes are as written, in object storage those that are there now; if not, it is
    made again."""
    return fault_of(path, index, shard) is None


def fault_of(path: Path, index: Index, shard: Shard) -> StoreCorruptError | None:
    """What is wrong with the bytes of a shard, if anything is."""
    try:
        ShardFile(path, shard, index).check()
    except StoreCorruptError as error:
        return error
    return None
