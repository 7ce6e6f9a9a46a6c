"""A selection as files: the data set in the form that it came in, and what was dropped and why.

OUT/
├── the data          under their own name, in their own form, all columns
├── manifest.jsonl    a line an example that was dropped or relabelled, and why
├── selection.json    how it was chosen, and how many
├── kept.json         rows of the original that stay: dataset.select(json.load(…))
└── weights.npy       a weight for each row of the original, 0 for what is dropped: for a sampler
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datainf.applications.select import Selection
from datainf.data import Examples
from datainf.data.write import written_name
from datainf.errors import OptionError
from datainf.files import make_folder, write_atomically, writing
from datainf.provenance import versions

MANIFEST, SETTINGS, KEPT, WEIGHTS = "manifest.jsonl", "selection.json", "kept.json", "weights.npy"
OWN, DATA = {MANIFEST, SETTINGS, KEPT, WEIGHTS}, "data"
"""Names of ours; data by one of them go into a folder of this name."""


def write_selection(
    out: Path, selection: Selection, train: Examples, settings: Mapping[str, Any]
) -> Path:
    """Write all of it, and return the path of the data. `settings` are plain values that say how
    it was chosen. Rows that a limit left out of the run stay, with the weight 1. The data of an
    earlier selection in the folder go, by whatever name.

    Raises `OptionError` for a folder that holds anything but an earlier selection, `DataError` for
    a label that does not fit, `WriteError` where the disk refuses.
    """
    name = written_name(train.source)
    folder = out / DATA if name in OWN else out
    _require_place(out, folder / name, Path(train.source))
    make_folder(out)
    unscored = range(len(train), train.whole)
    kept = [*selection.kept, *unscored]
    earlier = _earlier(out, folder / name)
    data = train.write(kept, folder, selection.labels)
    if earlier is not None and not _same_place(earlier, Path(train.source)):
        _remove(earlier)
    lines = [
        {"row": row, "id": train.ids[row], "where": train.where(row), "what": "dropped",
         "why": why}
        for row, why in sorted(selection.reasons.items())
    ] + [
        {"row": row, "id": train.ids[row], "where": train.where(row), "what": "relabelled",
         "from": str(train[row].get("label")), "to": label}
        for row, label in sorted(selection.labels.items())
    ]  # fmt: skip
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_atomically(out / MANIFEST, text.encode("utf-8", "replace"))
    counts = {
        "source": train.source, "split": train.split, "digest": train.digest,
        "data": data.name, "rows": len(train),
        "kept": len(kept), "dropped": len(selection.reasons), "not scored": len(unscored),
        "relabelled": len(selection.labels), "made_by": versions(),
    }  # fmt: skip
    write_atomically(out / SETTINGS, json.dumps({**counts, **settings}, indent=1).encode())
    write_atomically(out / KEPT, json.dumps(kept).encode())
    weights = io.BytesIO()
    all_weights = np.append(selection.weights.numpy(), np.ones(len(unscored), np.float32))
    np.save(weights, all_weights, allow_pickle=False)
    write_atomically(out / WEIGHTS, weights.getvalue())
    return data


def files_of(data: Path) -> list[Path]:
    """What was written as the data: a file, or all in a folder, but for the links in a folder of
    images. They lead to the originals, which are not of the selection and may change."""
    if not data.is_dir():
        return [data]
    return sorted(path for path in data.rglob("*") if path.is_file() and not path.is_symlink())


def _require_place(out: Path, target: Path, source: Path) -> None:
    """Raises `OptionError` unless the folder is new, empty, or an earlier selection's: what stands
    in the data's place there is replaced."""
    if _same_place(target, source):
        raise OptionError(f"{out} holds the original, {source}", remedy="another --out")
    if out.is_dir() and any(out.iterdir()) and not (out / SETTINGS).is_file():
        raise OptionError(
            f"{out} is not empty, and not an earlier selection", remedy="a new folder as --out"
        )


def _same_place(target: Path, source: Path) -> bool:
    """Whether one is the other, or lies in it."""
    if not source.exists():
        return False
    target, original = target.resolve(), source.resolve()
    return target == original or target in original.parents or original in target.parents


def _earlier(out: Path, target: Path) -> Path | None:
    """The data of an earlier selection in a folder, if they are there and those to come do not take
    their place; no link, and nothing that a link or a path leads to elsewhere.

    Raises `OptionError` where those to come would lie in them.
    """
    try:
        settings = json.loads((out / SETTINGS).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    name = settings.get("data") if isinstance(settings, dict) else None
    if not isinstance(name, str) or name in ("", ".", "..") or Path(name).name != name:
        return None
    path = out / DATA / name if name in OWN else out / name
    if path.is_symlink() or path.parent.is_symlink() or not path.exists():
        return None
    if path in target.parents:
        raise OptionError(
            f"{path} holds an earlier selection, and this one's data would lie in it",
            remedy="a new folder as --out",
        )
    return None if path == target or target in path.parents else path


def _remove(data: Path) -> None:
    """Of a folder of images the links go, and not what they lead to."""
    with writing(data):
        if data.is_dir():
            shutil.rmtree(data)
        else:
            data.unlink()
