"""What a tool takes for the common work, beside a plain pass over the training rows.

    python benchmarks/peers/measure.py TOOL [--n 1000] [--m 50] [--rounds 5] [--only STAGE ...]

TOOL is the rest of the name of a file `with_TOOL.py` beside this one, which has

- `PACKAGE`: what the tool is installed as;
- `stages(folder)`: its stages in order, which may write to the folder. Each takes rows and queries
  and returns scores, [queries, rows], or None where it only prepares the next one;
- `TRUTHS`: by stage, what its scores have to be, where there is something to compare them with;
- `NOTES`: what a reader of the figures should know.

Prints one line of JSON: medians of alternating rounds in seconds, or the error that the tool ends
with. All else that the tool prints goes to standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
import truth
from torch import Tensor
from work import Row, floor, make_model, make_rows

Stage = Callable[[list[Row], list[Row]], Tensor | None]
CHECKED = (64, 8)
"""Rows and queries of the check, which warms up as well: two batches of rows."""
SEEDS = (1, 2)
"""Of the rows and of the queries."""


@dataclass
class Checks:
    """off: how far a stage's scores are from autograd's, of `CHECKED` rows and queries, relative,
    and then but for one factor that all scores have in common; failed: the words of stages that end
    in errors."""

    off: dict[str, tuple[float, float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tool")
    parser.add_argument("--n", type=int, default=1000, help="training rows")
    parser.add_argument("--m", type=int, default=50, help="queries")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", help="stages; others are left out")
    options = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as folder:
        found = outcome(options, Path(folder))
    print(json.dumps(found, ensure_ascii=False))


def outcome(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Whatever ends the tool is a result too."""
    about: dict[str, Any] = {"peer": options.tool}
    try:
        tool = importlib.import_module(f"with_{options.tool}")
        about["version"] = version(tool.PACKAGE)
        stages = tool.stages(folder)
        if options.only:
            stages = {name: stages[name] for name in options.only}
        checks = check(stages, tool.TRUTHS)
        some = len(checks.failed) < len(stages)
        seconds = timed(stages, options, checks.failed) if some else {}
    except Exception as error:
        return {**about, "error": words(error)}
    if len(checks.failed) == len(stages):
        return {**about, "error": "; ".join(checks.failed.values())}
    return {
        **about, "n": options.n, "m": options.m, "rounds": options.rounds,
        "threads": torch.get_num_threads(), "stages": seconds, "peak_mib": peak_mib(),
        "failed": checks.failed, "off": checks.off, "notes": tool.NOTES,
    }  # fmt: skip


def check(stages: dict[str, Stage], truths: dict[str, Callable[..., Tensor]]) -> Checks:
    checks = Checks()
    rows, queries = (make_rows(count, seed) for count, seed in zip(CHECKED, SEEDS, strict=True))
    model = make_model()
    floor(model, rows)
    train, query = (truth.gradients(model, found) for found in (rows, queries))
    for name, stage in stages.items():
        try:
            scores = stage(rows, queries)
            if scores is not None:
                valid(scores, len(rows), len(queries))
        except Exception as error:
            checks.failed[name] = words(error)
            continue
        if name in truths:
            right = truths[name](train, query)
            ways = truth.difference, truth.difference_in_direction
            checks.off[name] = tuple(float(f"{way(scores, right):.1e}") for way in ways)
    return checks


def valid(scores: Tensor, n: int, m: int) -> None:
    if scores.shape != (m, n) or not scores.isfinite().all():
        raise ValueError(f"scores of shape {tuple(scores.shape)}, or not all finite")


def timed(
    stages: dict[str, Stage], options: argparse.Namespace, failed: dict[str, str]
) -> dict[str, float]:
    """Medians; every round has the floor and each stage once that has not failed."""
    rows, queries = (
        make_rows(count, seed) for count, seed in zip((options.n, options.m), SEEDS, strict=True)
    )
    model = make_model()
    every: dict[str, Stage] = {"floor": lambda rows, _: floor(model, rows), **stages}
    found: dict[str, list[float]] = {name: [] for name in every}
    for _ in range(options.rounds):
        for name in [name for name in every if name not in failed]:
            start = time.perf_counter()
            try:
                every[name](rows, queries)
            except Exception as error:
                failed[name] = words(error)
                continue
            found[name].append(time.perf_counter() - start)
            print(f"{name}: {found[name][-1]:.2f} s", file=sys.stderr)
    medians = {name: statistics.median(times) for name, times in found.items() if times}
    return {name: round(seconds, 3) for name, seconds in medians.items()}


def peak_mib() -> int:
    """Of this process or of one that it started, of all stages together. As Linux has it: what
    `getrusage` tells of a process counts what its parent held when it was made."""
    status = Path("/proc/self/status").read_text()
    own = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return max(int(own.split()[1]), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) // 1024


def words(error: BaseException) -> str:
    """In one line, which a table's cell takes."""
    return " ".join(f"{type(error).__name__}: {error}".replace("|", "/").split())


if __name__ == "__main__":
    main()
