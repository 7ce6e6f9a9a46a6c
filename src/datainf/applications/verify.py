"""Whether what a run or a collection left on the disk still is what was written.

Every byte of every shard, index, moments and scores file is read against its checksum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datainf import words
from datainf.errors import OptionError, StoreCorruptError, StoreError
from datainf.files import files_below, files_in, on_this_machine, size_of, suggestion
from datainf.progress import Progress, Silent
from datainf.remote import is_remote, place
from datainf.run_stores import SCORES
from datainf.scores import load_scores
from datainf.second_moments import FILE as MOMENTS
from datainf.second_moments import load_moments
from datainf.store.index import INDEX, Index, Shard
from datainf.store.writer import fault_of, with_noted


@dataclass(frozen=True)
class Fault:
    """A file that is not as it was written, or is not there: its path, what is wrong, and the rows
    of a store that are lost with it; none of other files."""

    path: Path
    what: str
    rows: range | None = None

    def __str__(self) -> str:
        lost = "" if self.rows is None else f" (rows {self.rows.start:,} to {self.rows.stop - 1:,})"
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
    many stand in finished shards that its index does not have yet.

    Raises `OptionError` for a folder that is not there, or holds neither a store nor scores.
    """
    folder = place(folder)
    if not is_remote(folder) and not folder.is_dir():
        raise OptionError(f"there is no folder {folder}{suggestion(folder)}", remedy="a run's")
    stores = [path.parent for path in files_below(folder, INDEX)]
    scores = files_below(folder, SCORES)
    if not stores and not scores:
        raise OptionError(
            f"{folder} holds no gradient store and no scores", remedy="a run's folder, or a store's"
        )
    faults, read = list[Fault](), list[Path]()
    advance = (progress or Silent()).stage("files", _count(stores) + len(scores))
    for path, fault in [*_stores(stores), *((path, _of_scores(path)) for path in scores)]:
        read.append(path)
        faults += [] if fault is None else [fault]
        advance(1)
    found = [size for path in read if (size := size_of(path)) is not None]
    return Verified(len(found), sum(found), faults)


def _count(stores: list[Path]) -> int:
    return sum(1 + len(files_in(store, "*.safetensors")) for store in stores)


def _stores(stores: list[Path]) -> Iterator[tuple[Path, Fault | None]]:
    for store in stores:
        try:
            entered, index = Index.load(store), with_noted(store)
        except StoreError as error:
            yield store / INDEX, Fault(store / INDEX, error.message)
            continue
        yield store / INDEX, _incomplete(store, entered, index)
        for shard in index.shards:
            yield store / shard.file, _of_shard(store, index, shard)
        try:
            load_moments(store)
        except StoreCorruptError as error:
            yield store / MOMENTS, Fault(store / MOMENTS, error.message)


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
    path = store / shard.file
    what = error.message.removeprefix(f"{path}: ")
    return Fault(path, what, range(shard.start, shard.start + shard.rows))


def _of_scores(path: Path) -> Fault | None:
    with on_this_machine(path) as local:
        try:
            load_scores(local)
        except StoreError as error:
            return Fault(path, error.message.removeprefix(f"{local}: "))
    return None
