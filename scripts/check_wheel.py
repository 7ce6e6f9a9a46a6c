"""What a wheel holds: the package and what it is shipped with, and nothing else at its top.

python scripts/check_wheel.py dist/datainf-*.whl
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

NEEDED = (
    "datainf/py.typed", "datainf/report/assets/page.html", "datainf/report/assets/main.js",
    "datainf/demos/base/model.safetensors", "datainf/demos/images_base/model_index.json",
    "datainf/demos/emoji/README.md",
)  # fmt: skip
MOST_BYTES = 12_000_000


def faults(names: list[str], size: int) -> list[str]:
    """What is wrong with a wheel that has these files, and takes so many bytes."""
    tops = {name.partition("/")[0] for name in names}
    odd = [top for top in sorted(tops) if top != "datainf" and not top.endswith(".dist-info")]
    found = [f"{top} is at the top" for top in odd]
    found += [f"{name} is not there" for name in NEEDED if name not in names]
    found += [f"{name} is no part of it" for name in names if "__pycache__" in name]
    if not any(name.endswith("/licenses/LICENSE") for name in names):
        found.append("the licence is not there")
    return [*found, f"{size:,} bytes are too many"] if size > MOST_BYTES else found


def main() -> None:
    (path,) = map(Path, sys.argv[1:])
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
    wrong = faults(names, path.stat().st_size)
    print("\n".join(wrong) or f"{path.name}: {len(names)} files, {path.stat().st_size:,} bytes")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
