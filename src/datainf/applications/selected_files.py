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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datainf.applications.select import Selection
from datainf.data import Examples
from datainf.errors import OptionError
from datainf.files import make_folder, write_atomically

MANIFEST, SETTINGS, KEPT, WEIGHTS = "manifest.jsonl", "selection.json", "kept.json", "weights.npy"


def write_selection(
    out: Path, selection: Selection, train: Examples, settings: Mapping[str, Any]
) -> Path:
    """Write all of it, and return the path of the data. `settings` are plain values that say how
    it was chosen.

    Raises `OptionError` for a folder that holds the original, `DataError` for a label that does
    not fit, `WriteError` where the disk refuses.
    """
    source = Path(train.source)
    if source.exists() and (out / source.name).resolve() == source.resolve():
        raise OptionError(f"{out} holds the original, {source}", remedy="another --out")
    make_folder(out)
    data = train.write(selection.kept, out, selection.labels)
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
        "source": train.source, "digest": train.digest, "data": data.name, "rows": len(train),
        "kept": len(selection.kept), "dropped": len(selection.reasons),
        "relabelled": len(selection.labels),
    }  # fmt: skip
    write_atomically(out / SETTINGS, json.dumps({**counts, **settings}, indent=1).encode())
    write_atomically(out / KEPT, json.dumps(selection.kept).encode())
    weights = io.BytesIO()
    np.save(weights, selection.weights.numpy(), allow_pickle=False)
    write_atomically(out / WEIGHTS, weights.getvalue())
    return data
