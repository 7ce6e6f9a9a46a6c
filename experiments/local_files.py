"""The data sets that the desk's cells read from a folder, and whether they are there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from experiments.cells import Key, Study
from experiments.glue.data import LOCAL

IMAGES = Path("emoji_styles") / "metadata.jsonl"


def missing(cells: Iterable[tuple[Study, Key]], data: Path) -> list[Path]:
    """The files in `data` that these cells read and that are not there, each once."""
    wanted = dict.fromkeys(file for study, key in cells for file in _files(study, key))
    return [data / file for file in wanted if not (data / file).is_file()]


def _files(study: Study, key: Key) -> list[Path]:
    if study.name == "images":
        return [IMAGES]
    task = str(key.get("task") or key.get("gradients"))
    if (columns := LOCAL.get(task)) is None:  # made up by the code
        return []
    files = (columns.train, columns.dev)
    return [Path("glue") / task / file for file in files if file is not None]
