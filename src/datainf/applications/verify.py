"""Whether what a run, a collection or a selection left on the disk still is what was written.

Every byte of every shard, index, moments and scores file is read against its checksum, and of the
tables, the page and a selection against the record of the commands; what that has and is not there
is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from datainf import words
from datainf.applications.found import files_found, stores_found
from datainf.applications.records import Left, left
from datainf.errors import OptionError, StoreCorruptError, StoreError, without_path
from datainf.files import files_in, has_file, on_this_machine, size_of, suggestion
from datainf.progress import Progress, Silent
from datainf.provenance import RECORD, digest_of
from datainf.remote import is_remote, place
from datainf.run_folder import SCORES, SETTINGS
from datainf.scores import load_scores
from datainf.second_moments import FILE as MOMENTS
from datainf.second_moments import load_moments
from datainf.store.index import INDEX, Index, Shard
from datainf.store.writer import fault_of, with_noted

REPORT = "report.html"
BY_RECORD = ("scores.parquet", "top.jsonl", REPORT)
"""A run's tables and its page, which have no checksums in them."""
OWN = (SETTINGS, SCORES, INDEX, *BY_RECORD)
"""What has to be there; lists of suspects are a person's to move and to change."""
SELECTED = "select"
"""The command whose files are all looked at: they are data to train on."""


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


Looked = tuple[Path, Fault | None]
"""A file that was looked at, and what is wrong with it."""


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
    folder's provenance.jsonl and is not there is a fault too; so is a table, a page or a part of a
    selection that is another, and a file that the system does not let be read.

    Raises `OptionError` for a file, for a folder that is not there, or for one that holds none of
    these.
    """
    folder = place(folder)
    _require_folder(folder)
    recorded, found = dict[Path, Left](), list[Looked]()
    for record in files_found(folder, RECORD):
        told = _read(record)
        if isinstance(told, Fault):
            found.append((record, told))
        else:
            recorded |= {path: one for path, one in told.items() if _is_due(path, one)}
    stores, scores = stores_found(folder, recorded), files_found(folder, SCORES)
    if not stores and not scores and not recorded and not found:
        raise OptionError(
            f"{folder} holds no gradient store and no scores", remedy="a run's folder, or a store's"
        )
    advance = (progress or Silent()).stage("files", _count(stores) + len(scores))
    for looked in (*_stores(stores), *((path, _of_scores(path)) for path in scores)):
        found.append(looked)
        advance(1)
    found += _recorded(recorded, {path for path, fault in found if fault is not None})
    sizes = [size for path in dict(found) if (size := _size(path)) is not None]
    return Verified(len(sizes), sum(sizes), [fault for _, fault in found if fault is not None])


def _require_folder(folder: Path) -> None:
    if not is_remote(folder) and folder.is_file():
        raise OptionError(
            f"{folder} is a file, and not the folder of a run, a store or scores",
            remedy="the --out of datainf attribute, collect or score",
        )
    if not is_remote(folder) and not folder.is_dir():
        raise OptionError(f"there is no folder {folder}{suggestion(folder)}", remedy="a run's")


def _count(stores: list[Path]) -> int:
    return sum(1 + len(files_in(store, "*.safetensors")) for store in stores)


def _stores(stores: list[Path]) -> Iterator[Looked]:
    for store in stores:
        path = store / INDEX
        try:
            entered, index = Index.load(store), with_noted(store)
        except (StoreError, OSError) as error:
            yield path, Fault(path, _what(error, path))
            continue
        yield path, _incomplete(store, entered, index)
        for shard in index.shards:
            yield store / shard.file, _of_shard(store, index, shard)
        try:
            if load_moments(store) is not None:
                yield store / MOMENTS, None
        except (StoreCorruptError, OSError) as error:
            yield store / MOMENTS, Fault(store / MOMENTS, _what(error, store / MOMENTS))


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


def _read(record: Path) -> dict[Path, Left] | Fault:
    try:
        return left(record)
    except (StoreCorruptError, OSError) as error:
        return Fault(record, _what(error, record))


def _is_due(path: Path, one: Left) -> bool:
    return path.name in OWN or one.command == SELECTED


def _recorded(recorded: Mapping[Path, Left], faulty: set[Path]) -> Iterator[Looked]:
    """But for those in whom a fault was found by their checksums."""
    for path, one in recorded.items():
        if path in faulty:
            continue
        try:
            if not has_file(path):
                yield path, Fault(path, f"it is missing; {one.by} had written it")
            elif path.name in BY_RECORD or one.command == SELECTED:
                same = digest_of(path) == one.digest
                what = f"it is not what {one.by} had written"
                yield path, None if same else Fault(path, what)
        except OSError as error:
            yield path, Fault(path, _what(error, path))


def _of_scores(path: Path) -> Fault | None:
    with on_this_machine(path) as local:
        try:
            load_scores(local)
        except StoreError as error:
            return Fault(path, without_path(error, local))
    return None


def _size(path: Path) -> int | None:
    try:
        return size_of(path)
    except OSError:
        return None


def _what(error: StoreError | OSError, path: Path) -> str:
    """For a message that names the file itself."""
    if isinstance(error, StoreError):
        return without_path(error, path)
    return f"it cannot be read: {error.strerror or error}"
