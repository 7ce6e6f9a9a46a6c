"""How long importing takes, and the first help text.

Whole processes, in turn, medians of five rounds.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.timing import alternating

NAMES = "datainf.collect, datainf.attribute, datainf.GradientStore"


def run(_: Path | None) -> dict[str, Any]:
    python = [sys.executable, "-c"]
    command = [sys.executable, "-m", "datainf"]
    ways = {
        "import torch": [*python, "import torch"],
        "import torch, datainf": [*python, "import torch, datainf"],
        "import torch, datainf and its names": [*python, f"import torch, datainf; {NAMES}"],
        "import datainf": [*python, "import datainf"],
        "datainf --help": [*command, "--help"],
        "datainf attribute --help": [*command, "attribute", "--help"],
    }
    return alternating({name: _process(line) for name, line in ways.items()})


def _process(command: list[str]) -> Any:
    return lambda: subprocess.run(command, check=True, capture_output=True)


def lines(found: dict[str, Any]) -> list[str]:
    torch = found["import torch"]
    table = ["| process | seconds | beyond `import torch` |", "|---|---|---|"]
    for name, seconds in found.items():
        beyond = f"{seconds - torch:+.2f}" if "torch," in name else ""
        table.append(f"| `{name}` | {seconds:.2f} | {beyond} |")
    return table
