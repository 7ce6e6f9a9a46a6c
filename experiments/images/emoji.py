"""Reading the emoji pictures.

The folder is in the layout of Hugging Face's imagefolder: `metadata.jsonl` with `file_name`,
`style`, `caption`; the same file name in each style's folder is the same emoji.
"""

from __future__ import annotations

import json
from pathlib import Path

from experiments.images.motif import Motif


def read_emoji(folder: Path) -> list[Motif]:
    """All emoji that are there in every style, by name."""
    lines = (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    captions: dict[str, str] = {}
    files: dict[str, dict[str, Path]] = {}
    for row in map(json.loads, lines):
        code = Path(row["file_name"]).stem
        captions[code] = row["caption"]
        files.setdefault(code, {})[row["style"]] = folder / row["file_name"]
    styles = {style for found in files.values() for style in found}
    return [
        Motif(code, captions[code], files[code])
        for code in sorted(files)
        if files[code].keys() == styles
    ]
