"""The same work by other tools, each in an environment of its own; see peers/README.md.

1,000 training and 50 query sequences of 32 to 128 random tokens, the six-layer Llama with LoRA r=8.
Each tool's ratio is to plain forward and backward passes over the training rows that were timed
in turn with it, in the same process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parent / "peers" / "measure.py"
RUNS: dict[str, list[list[str]]] = {
    "datainf": [[]],
    "released": [[]],
    "dattri_llm": [[]],
    "bergson": [[]],
    "kronfluence": [[]],
    "trak": [[]],
    "dattri": [["--only", "dot", "tracin", "datainf"], ["--only", "datainf by 128"]],
    "pydvl": [["--only", "datainf in one block"], ["--only", "datainf", "--rounds", "1"]],
}
"""Stages that are measured in one process; those of which a round takes many minutes apart."""
OURS = ("datainf", "released")
"""What the project's own environment has."""


def run(envs: Path | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for tool, runs in RUNS.items():
        python = sys.executable if tool in OURS else None
        if envs is not None and (envs / tool / "bin/python").exists():
            python = str(envs / tool / "bin/python")
        if python is not None:
            found[tool] = [measured(python, tool, arguments) for arguments in runs]
    return found


def measured(python: str, tool: str, arguments: list[str]) -> dict[str, Any]:
    done = subprocess.run(
        [python, str(SCRIPT), tool, *arguments],
        env=os.environ | {"PYTHONPATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    printed = done.stdout.splitlines()
    if not printed:  # killed, say for memory
        return {"peer": tool, "error": f"ended with {done.returncode}: {done.stderr[-300:]}"}
    told: dict[str, Any] = json.loads(printed[-1])
    return told


def lines(found: dict[str, Any]) -> list[str]:
    table = [
        "| tool | what | seconds | ÷ plain passes | peak, GiB | beside autograd |",
        "|---|---|---|---|---|---|",
    ]
    for runs in found.values():
        for one in runs:
            name = f"{one['peer']} {one.get('version', '')}"
            if "error" in one:
                table.append(f"| {name} | | | | | `{one['error']}` |")
                continue
            floor, peak = one["stages"]["floor"], one["peak_mib"] / 1024
            for stage, seconds in one["stages"].items():
                notes = [n for n in one["notes"] if n.startswith(f"{stage}: ")]
                note = notes[0].removeprefix(f"{stage}: ").partition(",")[0] if notes else ""
                table.append(
                    f"| {name} | {stage} | {seconds:.1f} | {seconds / floor:.2f} | {peak:.1f} "
                    f"| {note} |"
                )
            for stage, error in one["failed"].items():
                table.append(f"| {name} | {stage} | | | | `{error}` |")
    return table
