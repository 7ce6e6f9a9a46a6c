"""Write docs/support.md: every adapter on every base and task, each cell found by doing it.

python scripts/support_table.py
"""

from __future__ import annotations

import os
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support import ADAPTERS, BASES, EXACT, ROUNDING, TOLERANCE, UNSURE, Outcome, allowed, try_out  # noqa: E402

HEAD = """# What is supported

Made by `python scripts/support_table.py`; `tests/test_support.py` does every cell again. In each,
a tiny model of the real architecture has the adapter with random weights, and the gradients of
eight examples of mixed lengths, in batches of 1, 3 and 8 with padding, are compared with autograd
on each example alone.

- **fast**: in batches, one forward and one backward pass; equal to one-at-a-time autograd within
  {tolerance:.0e} in float32, relative to a block's norm, or to a hundredth of the example's whole
  gradient where the block is less. Where rounding alone is larger, it is allowed up to:
  {rounding}. In float64 adapters are held to {exact:.0e}.
  What {unsure} rounds passes the check at the start on one processor and not on another, where its
  examples are taken alone.
- **fallback**: as exact, but something runs one example after another, and a `FallbackWarning`
  says so: the module in question alone, or, where even that cannot be, the whole model.
- **not possible**: the note says why. Nothing is ever skipped in silence.

Versions: {versions}.

"""
PACKAGES = ("torch", "transformers", "peft", "diffusers")


def column(base: str) -> dict[str, Outcome]:
    """All adapters on one base."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    return {adapter: try_out(adapter, BASES[base]) for adapter in ADAPTERS}


def table(columns: dict[str, dict[str, Outcome]]) -> str:
    notes: dict[str, int] = {}
    lines = [
        "| adapter | " + " | ".join(f"{b.title}, {b.task}" for b in BASES.values()) + " |",
        "|---" * (len(BASES) + 1) + "|",
    ]
    for adapter in ADAPTERS:
        cells = []
        for base in BASES:
            outcome = columns[base][adapter]
            mark = ""
            if outcome.why:
                mark = f" [{notes.setdefault(outcome.why, len(notes) + 1)}]"
            cells.append(outcome.status + mark)
        lines.append(f"| {adapter} | " + " | ".join(cells) + " |")
    lines += ["", "## Because", ""]
    lines += [f"{number}. {why}" for why, number in notes.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        columns = dict(zip(BASES, pool.map(column, BASES), strict=True))
    for base, outcomes in columns.items():
        for adapter, outcome in outcomes.items():
            if outcome.error > allowed(adapter, base):
                print(f"{adapter} on {base}: off by {outcome.error:.1e}", file=sys.stderr)
    head = HEAD.format(
        tolerance=TOLERANCE,
        exact=EXACT,
        unsure=", ".join(UNSURE),
        rounding=", ".join(f"{name} {error:.0e}" for name, error in ROUNDING.items()),
        versions=", ".join(f"{package} {version(package)}" for package in PACKAGES),
    )
    (ROOT / "docs").mkdir(exist_ok=True)
    (ROOT / "docs" / "support.md").write_text(head + table(columns), encoding="utf-8")


if __name__ == "__main__":
    main()
