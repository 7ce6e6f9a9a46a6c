"""Which stores, scores and records of commands there are in a folder, and in all folders in it.

None that a repair has put aside: what it holds is of no use, and nothing is due there. Links to
folders are followed only where a run has its stores, or where a record says that a store is:
anywhere else they may lead to what is not a run's, or in circles.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from datainf.checkpoints import find
from datainf.files import files_below, has_file
from datainf.remote import is_remote
from datainf.run_stores import CURVATURE, QUERY, TRAIN
from datainf.store import SAMPLE
from datainf.store.index import INDEX

ASIDE = "-damaged-"
"""In the names of stores that were put aside, before eight hexadecimal digits."""
PUT_ASIDE = re.compile(rf"({TRAIN}|{QUERY}|{CURVATURE}|{SAMPLE}){ASIDE}[0-9a-f]{{8}}")
"""No other names: a person's own folder may be cars-damaged-20240511."""


def own_stores(bases: Iterable[Path]) -> list[Path]:
    """Where a run makes its stores, given the folder of each of its checkpoints; each is before the
    sample in it."""
    stores = [base / part for base in bases for part in (TRAIN, QUERY, CURVATURE)]
    return [path for store in stores for path in (store, store / SAMPLE)]


def files_found(folder: Path, name: str) -> list[Path]:
    """Those of a name in a folder and below it, and where a run in it has its stores."""
    found = {path for path in files_below(folder, name) if not _is_aside(path, folder)}
    if not is_remote(folder):  # which has no links, and was listed whole
        bases = [folder, *find(folder)]
        linked = [place / name for place in (*bases, *own_stores(bases))]
        found |= {path for path in linked if is_there(path)}
    return sorted(found)


def stores_found(folder: Path, recorded: Iterable[Path]) -> list[Path]:
    """The folders of all stores, given what records say of files."""
    found = {path.parent for path in files_found(folder, INDEX)}
    found |= {path.parent for path in recorded if path.name == INDEX and is_there(path)}
    if not is_remote(folder):
        found |= {store / SAMPLE for store in found if is_there(store / SAMPLE / INDEX)}
    return sorted(found)


def is_there(path: Path) -> bool:
    """Whether there is such a file; not where the system refuses to look."""
    try:
        return has_file(path)
    except OSError:
        return False


def _is_aside(path: Path, folder: Path) -> bool:
    return any(PUT_ASIDE.fullmatch(part) for part in path.relative_to(folder).parts[:-1])
