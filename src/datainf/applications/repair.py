"""What a run's own command made, made again where it is damaged or missing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from datainf.applications.found import ASIDE, own_stores
from datainf.applications.verify import Fault
from datainf.config import RunConfig, read_config
from datainf.errors import OptionError, StoreCorruptError, StoreError
from datainf.files import locked
from datainf.progress import Progress
from datainf.provenance import RECORD
from datainf.remote import is_remote
from datainf.run_checkpoints import folders_of
from datainf.run_stores import SETTINGS
from datainf.runs import own_files, run
from datainf.store import SAMPLE
from datainf.store.index import INDEX, Index
from datainf.store.writer import SHARD

Say = Callable[[str], None]


def repair(
    folder: Path, faults: Sequence[Fault], *, progress: Progress | None = None, say: Say
) -> RunConfig:
    """The run's own command again, if it made what is at fault: it takes what its stores lack.
    Returns the run's settings.

    Raises `OptionError` for a folder that is no run's, `StoreBusyError` if another process writes
    to a store that would be put aside, and what `run` does.
    """
    if is_remote(folder) or not (folder / SETTINGS).is_file():
        raise OptionError(
            f"{folder} is no run, and does not say how it was made",
            remedy="the command that made it again: it makes damaged shards anew",
        )
    config = RunConfig.from_values(read_config(folder / SETTINGS), str(folder / SETTINGS))
    config = replace(config, out=str(folder))  # it may have been moved
    stores = own_stores(folders_of(config.checkpoints, folder))
    if any(_is_own(fault.path, folder, stores) for fault in faults):
        put_aside(stores, say)
        run(config, progress=progress, say=say)
    return config


def put_aside(stores: Sequence[Path], say: Say) -> None:
    """Stores whose indexes are lost or cannot be read, under other names: without an index nobody
    knows what its shards hold, and another takes its place. A store's sample goes with it.

    Raises `StoreBusyError` if another process is writing to one of them; then all stay.
    """
    broken, taken = dict[Path, str](), set[Path]()
    with ExitStack() as held:
        for store in stores:
            if store.parent in broken or _unreadable(store) is None:
                continue
            for place in {store, store / SAMPLE} - taken:
                if place.is_dir():
                    held.enter_context(locked(place))
                    taken.add(place)
            if (why := _unreadable(store)) is not None:  # still, now that nobody else writes
                broken[store] = why
        for store, why in broken.items():
            aside = store.with_name(f"{store.name}{ASIDE}{uuid4().hex[:8]}")
            store.rename(aside)
            say(f"{why}; the store is in {aside} now, and all of it is made anew")


def left_alone(folder: Path, config: RunConfig, faults: Sequence[Fault]) -> Iterator[str]:
    """What a person can do about the faults that are left after a repair."""
    stores, paths = own_stores(folders_of(config.checkpoints, folder)), [one.path for one in faults]
    for record in (path for path in paths if path.name == RECORD):
        yield f"{record}: take that line out, or move the file away; nothing writes it again"
    others = [p for p in paths if p.name != RECORD and not _is_own(p, folder, stores)]
    of_stores = [path.name == INDEX or path.suffix == SHARD for path in others]
    places = [path.parent if is_it else path for path, is_it in zip(others, of_stores, strict=True)]
    for place in dict.fromkeys(places):
        first = " after it has been moved away" if _unreadable(place) is not None else ""
        yield (
            f"{place} is left as it is: the run's own command does not make it, but the one that "
            f"did makes it again{first}. If it is gone on purpose, take its line out of {RECORD}"
        )


def _is_own(path: Path, folder: Path, stores: Collection[Path]) -> bool:
    return path in own_files(folder) or path.parent in stores


def _unreadable(store: Path) -> str | None:
    """Why a folder with shards or an index is none that can be read, if it is not. One whose index
    is of another version can be, and so can one that this user may not."""
    has_index = (store / INDEX).exists()
    if not has_index and not any(store.glob("shard-*.safetensors")):
        return None
    try:
        Index.load(store)
    except StoreError as error:
        return error.message if isinstance(error, StoreCorruptError) or not has_index else None
    return None
