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
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datainf.applications.select import Selection
from datainf.data import Examples
from datainf.data.write import written_name
from datainf.errors import OptionError
from datainf.files import make_folder, sync_file, sync_folder, write_atomically, writing
from datainf.provenance import RECORD, versions

MANIFEST, SETTINGS, KEPT, WEIGHTS = "manifest.jsonl", "selection.json", "kept.json", "weights.npy"
OWN = {MANIFEST, SETTINGS, KEPT, WEIGHTS}
TAKEN, DATA = OWN | {RECORD}, "data"
"""Names that are taken in the folder; data by one of them go into a folder of this name."""
UNFINISHED, BEFORE = "unfinished", "before"
"""What the settings say until all is written, and by what names there are data until then."""


def write_selection(
    out: Path, selection: Selection, train: Examples, settings: Mapping[str, Any],
    inputs: Iterable[Path] = (),
) -> Path:  # fmt: skip
    """Write all of it, and return the path of the data. `settings` are plain values that say how
    it was chosen. Rows that a limit left out of the run stay, with the weight 1. The data of an
    earlier selection in the folder go, by whatever name, unless they are the original or one of
    the `inputs`, what else the selection was made of. If it is broken off, the same call does it
    again: until all is there, the settings say that it is not.

    Raises `OptionError` as `require_place` does, `DataError` for a label that does not fit,
    `WriteError` where the disk refuses.
    """
    used = [Path(train.source), *inputs]
    require_place(out, train, used[1:])
    for row, label in selection.labels.items():
        train.as_label(row, label)
    target = _target(out, train)
    earlier = _earlier(out, target)
    _begin(out, target, earlier)
    unscored = range(len(train), train.whole)
    kept = [*selection.kept, *unscored]
    data = train.write(kept, target.parent, selection.labels)
    _sync(data)
    for path in earlier:
        if not any(_same_place(path, source) for source in used):
            _remove(path)
    write_atomically(out / MANIFEST, _manifest(selection, train).encode("utf-8", "replace"))
    write_atomically(out / KEPT, json.dumps(kept).encode())
    weights = io.BytesIO()
    all_weights = np.append(selection.weights.numpy(), np.ones(len(unscored), np.float32))
    np.save(weights, all_weights, allow_pickle=False)
    write_atomically(out / WEIGHTS, weights.getvalue())
    counts = {
        "source": train.source, "split": train.split, "digest": train.digest,
        "data": data.name, "rows": len(train),
        "kept": len(kept), "dropped": len(selection.reasons), "not scored": len(unscored),
        "relabelled": len(selection.labels), "made_by": versions(),
    }  # fmt: skip
    write_atomically(out / SETTINGS, json.dumps({**counts, **settings}, indent=1).encode())
    return data


def _target(out: Path, train: Examples) -> Path:
    name = written_name(train.source)
    return (out / DATA if name in TAKEN else out) / name


def _begin(out: Path, target: Path, earlier: list[Path]) -> None:
    """Mark the folder as ours and not finished, before anything in it is another than it was."""
    make_folder(out)
    mark = {UNFINISHED: True, "data": target.name, BEFORE: [path.name for path in earlier]}
    write_atomically(out / SETTINGS, json.dumps(mark, indent=1).encode())
    with writing(out):
        for name in OWN - {SETTINGS}:
            (out / name).unlink(missing_ok=True)
        for left in target.parent.glob(".writing-*"):  # by one that was killed
            shutil.rmtree(left)


def _manifest(selection: Selection, train: Examples) -> str:
    labels = train.labels
    lines = [
        {"row": row, "id": train.ids[row], "where": train.where(row), "what": "dropped",
         "why": why}
        for row, why in sorted(selection.reasons.items())
    ] + [
        {"row": row, "id": train.ids[row], "where": train.where(row), "what": "relabelled",
         "from": str(labels[row]), "to": label}
        for row, label in sorted(selection.labels.items())
    ]  # fmt: skip
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def files_of(data: Path) -> list[Path]:
    """What was written as the data: a file, or all in a folder, but for the links in a folder of
    images. They lead to the originals, which are not of the selection and may change."""
    if not data.is_dir():
        return [data]
    return sorted(path for path in data.rglob("*") if path.is_file() and not path.is_symlink())


def require_place(out: Path, train: Examples, inputs: Iterable[Path] = ()) -> None:
    """Raises `OptionError` unless a folder is new, empty, or an earlier selection's: what stands in
    the data's place there is replaced, and may be neither the original nor one of the `inputs`."""
    target = _target(out, train)
    for what, sources in (("the original", [Path(train.source)]), ("what the run reads", inputs)):
        for source in sources:
            if _same_place(target, source):
                raise OptionError(f"{out} holds {what}, {source}", remedy="another --out")
    if out.is_dir() and any(out.iterdir()) and not (out / SETTINGS).is_file():
        raise OptionError(
            f"{out} is not empty, and not an earlier selection", remedy="a new folder as --out"
        )
    _earlier(out, target)


def _sync(data: Path) -> None:
    """Have the data on the disk, before anything says that they are there."""
    with writing(data):
        for path in files_of(data):
            sync_file(path)
    sync_folder(data.parent)


def _same_place(target: Path, source: Path) -> bool:
    """Whether one is the other, or lies in it."""
    if not source.exists():
        return False
    target, original = target.resolve(), source.resolve()
    return target == original or target in original.parents or original in target.parents


def _earlier(out: Path, target: Path) -> list[Path]:
    """The data of earlier selections in a folder, if they are there and those to come do not take
    their place; no link, and nothing that a link or a path leads to elsewhere.

    Raises `OptionError` where those to come would lie in them.
    """
    try:
        settings = json.loads((out / SETTINGS).read_bytes())
    except (OSError, ValueError, RecursionError):
        return []
    names = []
    if isinstance(settings, dict):
        before = settings.get(BEFORE)
        names = [settings.get("data"), *(before if isinstance(before, list) else [])]
    found = []
    for name in names:
        if not isinstance(name, str) or name in ("", ".", "..") or Path(name).name != name:
            continue
        path = out / DATA / name if name in TAKEN else out / name
        if path.is_symlink() or path.parent.is_symlink() or not path.exists():
            continue
        if path in target.parents:
            raise OptionError(
                f"{path} holds an earlier selection, and this one's data would lie in it",
                remedy="a new folder as --out",
            )
        if path != target and target not in path.parents:
            found.append(path)
    return found


def _remove(data: Path) -> None:
    """Of a folder of images the links go, and not what they lead to."""
    with writing(data):
        if data.is_dir():
            shutil.rmtree(data)
        else:
            data.unlink()
