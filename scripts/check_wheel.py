"""What a wheel and an sdist hold: the package and what it is shipped with, and nothing else.

python scripts/check_wheel.py dist/datainf-*.whl dist/datainf-*.tar.gz
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

NEEDED = (
    "datainf/py.typed", "datainf/report/assets/page.html", "datainf/report/assets/main.js",
    "datainf/demos/base/model.safetensors", "datainf/demos/images_base/model_index.json",
    "datainf/demos/emoji/README.md",
)  # fmt: skip
SOURCES = {
    "src", "CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "PKG-INFO", ".gitignore"
}  # fmt: skip
"""What an sdist has beside the package; hatchling always adds .gitignore."""
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
    return found + too_many(size)


def sdist_faults(names: list[str], size: int) -> list[str]:
    """What is wrong with an sdist of these files, all in one folder as it must be."""
    inner = [name.partition("/")[2] for name in names]
    odd = sorted({name.partition("/")[0] for name in inner} - SOURCES)
    found = [f"{top} is no part of it" for top in odd]
    needed = [*(f"src/{name}" for name in NEEDED), "LICENSE", "README.md", "pyproject.toml"]
    found += [f"{name} is not there" for name in needed if name not in inner]
    found += [f"{name} is no part of it" for name in inner if "__pycache__" in name]
    return found + too_many(size)


def too_many(size: int) -> list[str]:
    return [f"{size:,} bytes are too many"] if size > MOST_BYTES else []


def read(path: Path) -> tuple[list[str], list[str]]:
    """The names of a distribution's files, and what is wrong with it."""
    size = path.stat().st_size
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            names = wheel.namelist()
        return names, faults(names, size)
    with tarfile.open(path) as sdist:
        names = [member.name for member in sdist if not member.isdir()]
    return names, sdist_faults(names, size)


def main() -> None:
    wrong = False
    for path in map(Path, sys.argv[1:]):
        names, bad = read(path)
        print(
            "\n".join(f"{path.name}: {fault}" for fault in bad)
            or f"{path.name}: {len(names)} files, {path.stat().st_size:,} bytes"
        )
        wrong |= bool(bad)
    sys.exit(wrong)


if __name__ == "__main__":
    main()
