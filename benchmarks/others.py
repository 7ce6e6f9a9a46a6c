"""The same work by other tools, each in an environment of its own; see peers/README.md.

1,000 training and 50 query sequences of 32 to 128 random tokens, the six-layer Llama with LoRA r=8.
Each tool's ratio is to plain forward and backward passes over the training rows in batches of 32,
timed in turn with its stages, in the same process; medians of rounds, five but for pyDVL with a
block for each matrix. `off` is how far scores are from those of gradients that autograd
takes one at a time, relative to the norm of all of them, 64 rows and 8 queries; where that is much,
it is also said how far they are but for one factor that all have in common. The peak of memory is
a process's, of all its stages.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine

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
SAME = 1e-3
"""Scores that are no further off are the same."""
OURS = ("datainf", "released")
"""What the project's own environment has."""


def run(
    envs: Path | None, tools: Sequence[str] | None, found: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """What is known after each of these tools, by default all that have an environment, on top of
    what was found before."""
    for tool in RUNS:
        python = python_of(tool, envs)
        if python is not None and (tools is None or tool in tools):
            found = {**found, tool: [measured(python, tool, only) for only in RUNS[tool]]}
            yield found


def python_of(tool: str, envs: Path | None) -> str | None:
    """The interpreter of a tool's environment, if that is there."""
    if envs is not None and (envs / tool / "bin/python").exists():
        return str(envs / tool / "bin/python")
    return sys.executable if tool in OURS else None


def measured(python: str, tool: str, arguments: list[str]) -> dict[str, Any]:
    done = subprocess.run(
        [python, str(SCRIPT), tool, *arguments],
        env=os.environ | {"PYTHONPATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    printed = done.stdout.splitlines()
    if not printed:  # killed, say for memory
        told: Any = {"peer": tool, "error": f"ended with {done.returncode}: {done.stderr[-300:]}"}
    else:
        told = json.loads(printed[-1])
    return {**told, "machine": describe_machine()}


def lines(found: dict[str, Any]) -> list[str]:
    table = [
        "| tool | what | rounds | seconds | ÷ plain passes | off | peak of the process, GiB |",
        "|---|---|---|---|---|---|---|",
    ]
    notes: dict[str, list[str]] = {}
    for one in [one for tool in RUNS for one in found.get(tool, [])]:
        table += _of_process(one)
        notes[one["peer"]] = one.get("notes", [])
    said = [f"- {tool}: {'; '.join(told)}." for tool, told in notes.items() if told]
    machines = {one["peer"]: one["machine"] for runs in found.values() for one in runs}
    if len(set(machines.values())) > 1:  # kept from another day
        said += [f"- {tool} was measured on {machine}" for tool, machine in machines.items()]
    return [*table, "", *said]


def _of_process(one: dict[str, Any]) -> list[str]:
    name = f"{one['peer']} {one.get('version', '')}"
    if "error" in one:
        return [f"| {name} | | | | | `{one['error']}` | |"]
    floor, rows = one["stages"]["floor"], []
    peak = f"{one['peak_mib'] / 1024:.1f}"
    for stage, seconds in one["stages"].items():
        what = "plain passes" if stage == "floor" else stage
        off = _off(*one["off"][stage]) if stage in one["off"] else ""
        rows.append(
            f"| {name} | {what} | {one['rounds']} | {seconds:.1f} | {seconds / floor:.2f} | {off} "
            f"| {peak} |"
        )
        name = peak = ""
    return rows + [f"| | {stage} | | | | `{error}` | |" for stage, error in one["failed"].items()]


def _off(whole: float, direction: float) -> str:
    return f"{whole:.0e}" if whole < SAME else f"{whole:.1g}, but for a factor {direction:.0e}"
