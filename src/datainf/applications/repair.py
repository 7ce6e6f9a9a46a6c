"""What a run's own command made, made again where it is damaged or missing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from datainf.applications.found import ASIDE, own_stores
from datainf.applications.records import left
from datainf.applications.verify import Fault
from datainf.config import RunConfig, read_config
from datainf.errors import OptionError, StoreCorruptError, StoreError
from datainf.files import locked, writing
from datainf.progress import Progress
from datainf.provenance import RECORD
from datainf.remote import is_remote
from datainf.run_checkpoints import folders_of
from datainf.run_folder import SCORES, SETTINGS
from datainf.run_stores import CURVATURE
from datainf.runs import own_files, run
from datainf.second_moments import FILE as MOMENTS
from datainf.store import SAMPLE
from datainf.store.index import INDEX, Index
from datainf.store.writer import SHARD

Say = Callable[[str], None]


def repair(
    folder: Path, faults: Sequence[Fault], *, progress: Progress | None = None, say: Say
) -> RunConfig:
    """The run's own command again, if it made what is at fault: it takes what its stores lack.
    Returns the run's settings.

    Raises `OptionError` for a folder that is no run's, and where the run's command would replace
    sound scores that another command left in it; `StoreBusyError` if another process writes
    to a store that would be put aside, `StoreError` for one that the system does not let be looked
    at, `WriteError` where it does not let one be put aside, and what `run` does.
    """
    if is_remote(folder) or not (folder / SETTINGS).is_file():
        raise OptionError(
            f"{folder} is no run, and does not say how it was made",
            remedy="the command that made it again: it makes damaged shards anew",
        )
    config = RunConfig.from_values(read_config(folder / SETTINGS), str(folder / SETTINGS))
    config = replace(config, out=str(folder))  # it may have been moved
    stores = _stores_of(config, folder)
    own = [fault.path for fault in faults if _is_own(fault.path, folder, stores)]
    if own:
        _require_own_scores(folder, faults)
        put_aside([store for store in stores if store in {path.parent for path in own}], say)
        run(config, progress=progress, say=say)
    return config


def _require_own_scores(folder: Path, faults: Sequence[Fault]) -> None:
    """Scores by another command cannot be told from lost ones once they are replaced."""
    scores, settings = folder / SCORES, folder / SETTINGS
    try:
        told = left(folder / RECORD)
    except (StoreCorruptError, OSError):  # then nothing says whose they are
        return
    if not {scores, settings} <= told.keys() or scores in {fault.path for fault in faults}:
        return
    if told[scores].command != told[settings].command:
        raise OptionError(
            f"{scores} is by {told[scores].by}, and the run's own command would replace it",
            remedy=f"move {scores} to a folder of its own, and repair again; or {told[scores].by} "
            "again for what it made",
        )


def _stores_of(config: RunConfig, folder: Path) -> list[Path]:
    """Those that the run's command makes. A curvature may be from an earlier command with another
    method, or from a person's hand; of an interrupted run, without a method yet, it is its own."""
    takes_curvature = config.method is None or config.takes_curvature(config.method)
    stores = own_stores(folders_of(config.checkpoints, folder))
    return [store for store in stores if takes_curvature or not _is_curvature(store)]


def _is_curvature(store: Path) -> bool:
    return (store.parent if store.name == SAMPLE else store).name == CURVATURE


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
            with writing(aside):
                store.rename(aside)
            say(f"{why}; the store is in {aside} now, and all of it is to be made anew")


def left_alone(folder: Path, config: RunConfig, faults: Sequence[Fault]) -> Iterator[str]:
    """What a person can do about the faults that are left after a repair."""
    stores, paths = _stores_of(config, folder), [fault.path for fault in faults]
    for record in (path for path in paths if path.name == RECORD):
        yield f"{record}: take that line out, or move the file away; nothing writes it again"
    own = [path for path in paths if _is_own(path, folder, stores)]
    for place in dict.fromkeys(path.parent if path.parent in stores else path for path in own):
        yield f"{place} is not made again as long as it is there: move it away, and repair again"
    others = [path for path in paths if path.name != RECORD and path not in own]
    for place in dict.fromkeys(path.parent if _is_of_store(path) else path for path in others):
        yield _how_to_make_again(place, folder, config)


def _is_of_store(path: Path) -> bool:
    return path.name in (INDEX, MOMENTS) or path.suffix == SHARD


def _how_to_make_again(place: Path, folder: Path, config: RunConfig) -> str:
    """Of what the run's own command does not make."""
    if place in own_stores(folders_of(config.checkpoints, folder)):
        return (
            f"{place} is left as it is: the run's method, {config.method}, takes no curvature. "
            "Move it away; datainf attribute with a method that takes one makes it again"
        )
    first = " after it has been moved away" if _is_broken(place) else ""
    return (
        f"{place} is left as it is: the run's own command does not make it, but the one that "
        f"did makes it again{first}. If it is gone on purpose, take its line out of {RECORD}"
    )


def _is_broken(store: Path) -> bool:
    try:
        return _unreadable(store) is not None
    except (StoreError, ValueError):  # a name that no file can have
        return False


def _is_own(path: Path, folder: Path, stores: Collection[Path]) -> bool:
    return path in own_files(folder) or path.parent in stores


def _unreadable(store: Path) -> str | None:
    """Why a folder with shards or an index is none that can be read, if it is not. One whose index
    is of another version can be, and so can one that the system does not let be read now.

    Raises `StoreError` if the system does not say what there is.
    """
    try:
        has_index = (store / INDEX).exists()
        if not has_index and not any(store.glob("shard-*.safetensors")):
            return None
    except OSError as error:
        raise StoreError(
            f"{store} cannot be looked at: {error.strerror or error}",
            remedy="leave to read it, and all in it",
        ) from None
    try:
        Index.load(store)
    except StoreError as error:
        return error.message if isinstance(error, StoreCorruptError) or not has_index else None
    return None
