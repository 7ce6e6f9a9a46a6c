"""Whether what a run or a collection left on the disk still is what was written.

Every byte of every shard, index, moments and scores file is read against its checksum, and of the
tables and the page against the record of the commands; what that has and is not there is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from datainf import words
from datainf.errors import OptionError, StoreCorruptError, StoreError, without_path
from datainf.files import files_below, files_in, has_file, on_this_machine, size_of, suggestion
from datainf.progress import Progress, Silent
from datainf.provenance import RECORD, digest_of, left
from datainf.remote import is_remote, place
from datainf.run_stores import SCORES, SETTINGS
from datainf.scores import load_scores
from datainf.second_moments import FILE as MOMENTS
from datainf.second_moments import load_moments
from datainf.store.index import INDEX, Index, Shard
from datainf.store.writer import fault_of, with_noted

BY_RECORD = ("scores.parquet", "top.jsonl", "report.html")
"""A run's tables and its page, which have no checksums in them."""
OWN = (SETTINGS, SCORES, INDEX, *BY_RECORD)
"""What has to be there; cleaned data and lists of suspects are a person's to move and to change."""
ASIDE = "-damaged-"
"""In the names of stores that were put aside."""


@dataclass(frozen=True)
class Fault:
    """A file that is not as it was written, or is not there: its path, what is wrong, and the rows
    of a store that are lost with it; none of other files."""

    path: Path
    what: str
    rows: range | None = None

    def __str__(self) -> str:
        lost = "" if self.rows is None else f" ({words.rows(self.rows)})"
        return f"{self.path}{lost}: {self.what}"


@dataclass(frozen=True)
class Verified:
    """What was looked at: files, their bytes, and the faults among them."""

    files: int
    bytes: int
    faults: list[Fault]


def verify(folder: Path | str, progress: Progress | None = None) -> Verified:
    """Read all stores and scores in a folder or below a URL, and in all folders in it, against
    their checksums.

    A store that was not finished has those rows among its faults that are missing, and says how
    many stand in finished shards that its index does not have yet. What a command left by the
    folder's provenance.jsonl and is not there is a fault too; so is a table or a page that is
    another.

    Raises `OptionError` for a file, for a folder that is not there, or for one that holds none of
    these.
    """
    folder = place(folder)
    if not is_remote(folder) and folder.is_file():
        raise OptionError(
            f"{folder} is a file, and not the folder of a run, a store or scores",
            remedy="the --out of datainf attribute, collect or score",
        )
    if not is_remote(folder) and not folder.is_dir():
        raise OptionError(f"there is no folder {folder}{suggestion(folder)}", remedy="a run's")
    stores = [path.parent for path in files_below(folder, INDEX)]
    scores, records = files_below(folder, SCORES), files_below(folder, RECORD)
    if not stores and not scores and not records:
        raise OptionError(
            f"{folder} holds no gradient store and no scores", remedy="a run's folder, or a store's"
        )
    faults, read = list[Fault](), list[Path]()
    advance = (progress or Silent()).stage("files", _count(stores) + len(scores))
    for path, fault in [*_stores(stores), *((path, _of_scores(path)) for path in scores)]:
        read.append(path)
        faults += [] if fault is None else [fault]
        advance(1)
    for path, fault in _recorded(records):
        read += [path] if path.name in BY_RECORD else []
        faults += [] if fault is None else [fault]
    found = [size for path in read if (size := size_of(path)) is not None]
    return Verified(len(found), sum(found), faults)


def put_aside(folder: Path, say: Callable[[str], None]) -> None:
    """Stores of a run whose indexes are lost or cannot be read, under other names: without an index
    nobody knows what its shards hold, and another takes its place."""
    files = (*folder.rglob(INDEX), *folder.rglob("shard-*.safetensors"))
    for store in sorted({file.parent for file in files if ASIDE not in file.parent.name}):
        try:
            Index.load(store)
        except StoreError as error:  # of another version is none of these
            if (store / INDEX).exists() and not isinstance(error, StoreCorruptError):
                continue
            aside = store.with_name(f"{store.name}{ASIDE}{uuid4().hex[:8]}")
            store.rename(aside)
            if (aside / INDEX).exists():
                (aside / INDEX).rename(aside / f"{INDEX}-damaged")
            say(f"{error.message}; the store is in {aside} now, and all of it is made anew")


def _count(stores: list[Path]) -> int:
    return sum(1 + len(files_in(store, "*.safetensors")) for store in stores)


def _stores(stores: list[Path]) -> Iterator[tuple[Path, Fault | None]]:
    for store in stores:
        try:
            entered, index = Index.load(store), with_noted(store)
        except StoreError as error:
            yield store / INDEX, Fault(store / INDEX, without_path(error, store / INDEX))
            continue
        yield store / INDEX, _incomplete(store, entered, index)
        for shard in index.shards:
            yield store / shard.file, _of_shard(store, index, shard)
        try:
            load_moments(store)
        except StoreCorruptError as error:
            yield store / MOMENTS, Fault(store / MOMENTS, without_path(error, store / MOMENTS))


def _incomplete(store: Path, entered: Index, index: Index) -> Fault | None:
    """`entered`: the index on the disk, `index` with what is noted beside it."""
    if entered.rows_done == entered.n:
        return None
    lost = index.n - index.rows_done
    missing = "none is" if lost == 0 else f"{words.count(lost, 'gradient')} of {index.n:,} are"
    what = f"the collection has not finished: {missing} missing"
    if waiting := index.rows_done - entered.rows_done:
        what += (
            f"; {words.count(waiting, 'gradient')} in finished shards are not in {INDEX} yet, "
            "and the same command enters them"
        )
    return Fault(store / INDEX, what)


def _of_shard(store: Path, index: Index, shard: Shard) -> Fault | None:
    if (error := fault_of(store, index, shard)) is None:
        return None
    path, rows = store / shard.file, range(shard.start, shard.start + shard.rows)
    return Fault(path, without_path(error, path), rows)


def _recorded(records: list[Path]) -> Iterator[tuple[Path, Fault | None]]:
    for record in records:
        try:
            told = left(record)
        except StoreCorruptError as error:
            yield record, Fault(record, without_path(error, record))
            continue
        for path, one in told.items():
            if path.name not in OWN:
                continue
            what = None
            if not has_file(path):
                what = f"it is missing; {one.by} had written it"
            elif path.name in BY_RECORD and digest_of(path) != one.digest:
                what = f"it is not what {one.by} had written"
            yield path, None if what is None else Fault(path, what)


def _of_scores(path: Path) -> Fault | None:
    with on_this_machine(path) as local:
        try:
            load_scores(local)
        except StoreError as error:
            return Fault(path, without_path(error, local))
    return None
