"""Pages that are damaged or gone, written again as they were asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datainf.applications.found import is_there
from datainf.applications.records import Left, left
from datainf.applications.verify import Fault
from datainf.config import RunConfig
from datainf.errors import DatainfError, OptionError, StoreCorruptError, first_line
from datainf.progress import Progress
from datainf.provenance import RECORD, is_within
from datainf.report.report import READ, REPORT, TOP, write_report
from datainf.run_folder import SCORES


def write_again(
    folder: Path,
    config: RunConfig,
    faults: Sequence[Fault],
    *,
    progress: Progress | None = None,
    say: Callable[[str], None],
) -> None:
    """Those among the faults of a run that its record has; one that cannot be written is said, and
    so is one that a link leads out of the folder: a record may be of another's hand."""
    pages = [fault.path for fault in faults if fault.path.name == REPORT]
    try:
        told = left(folder / RECORD) if pages else {}
    except (StoreCorruptError, OSError):  # a fault too, and then nothing says what a page was of
        return
    for page in (page for page in pages if page in told):
        try:
            _require_within(folder, page.parent, f"it lies elsewhere than in {folder}")
            asked = _asked(folder, page, told[page], max(TOP, config.top))
            write_report(folder, out=page, progress=progress, say=say, **asked)
        except DatainfError as error:
            say(f"{page} is not written again: {error.message}")
        else:
            say(f"{page} is written again")


def _require_within(folder: Path, path: Path, message: str) -> None:
    """Raises `OptionError` for a path that leads out of the folder, or nowhere."""
    try:
        is_within_it = path.resolve().is_relative_to(folder.resolve())
        path.is_dir()  # else a name too long, or in circles, would be found out in writing to it
    except (OSError, RuntimeError, ValueError) as error:  # also of names that no file can have
        why = getattr(error, "strerror", None) or first_line(error)  # without the path once more
        raise OptionError(f"{message}, or nowhere: {why}") from None
    if not is_within_it:
        raise OptionError(message)


def _asked(folder: Path, page: Path, one: Left, top: int) -> dict[str, Any]:
    """As the record has it, which may be of another's hand, or of before it had that: then as by
    default. Raises `OptionError` for scores that lie anywhere else."""
    known = one.page
    shown, read = known.get("top"), known.get("read", READ)
    return {
        "scored": _scored(folder, page, known),
        "top": shown if type(shown) is int and shown > 0 else top,
        "read": read if read is None or (type(read) is int and read >= 0) else READ,
        "model": known.get("model") is not False,
    }


def _scored(folder: Path, page: Path, known: Mapping[str, Any]) -> Path | None:
    """The folder of the scores that a page was of, None for the run's own."""
    if "scored" not in known:
        is_beside = page.parent != folder and is_there(page.parent / SCORES)
        return page.parent if is_beside else None
    name = known["scored"]
    if name is None:
        return None
    elsewhere = f"its scores lie elsewhere than in {folder}"
    if not isinstance(name, str) or not is_within(name):
        raise OptionError(elsewhere)
    _require_within(folder, folder / name, elsewhere)
    return folder / name
