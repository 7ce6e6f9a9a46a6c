"""By what the folder of a finished run is known; light enough to look before libraries are read."""

from __future__ import annotations

from pathlib import Path

from datainf.errors import OptionError
from datainf.files import suggestion
from datainf.remote import forbid_url

SETTINGS, SCORES = "run.yaml", "scores.safetensors"


def is_run(folder: Path) -> bool:
    return (folder / SETTINGS).is_file()


def require_finished(folder: Path) -> Path:
    """The folder again. Raises `OptionError` for one that is no finished run."""
    forbid_url(folder, "a run")
    if not folder.is_dir():
        raise OptionError(
            f"there is no folder {folder}{suggestion(folder, is_run)}",
            remedy="the --out of datainf attribute",
        )
    for name in (SETTINGS, SCORES):
        if not (folder / name).is_file():
            below = next((one for one in sorted(folder.iterdir()) if is_run(one)), None)
            raise OptionError(
                f"{folder} is no finished run: it has no {name}",
                remedy=f"{below}" if below else "the --out of datainf attribute",
            )
    return folder
