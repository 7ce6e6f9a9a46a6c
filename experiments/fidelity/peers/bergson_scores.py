"""Bergson's TrackStar, EK-FAC and EK-FAC + CG on an exported fine-tuning; run it where Bergson is.

    python bergson_scores.py EXPORTED SCORES

writes `SCORES/Bergson ….npz` for each: an array [queries, training rows] for each damping, a
positive score meaning that the row lowers the query's loss, and what it took. Where Bergson fails,
the file holds its last words instead.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from bergson.data import load_scores

COMMON = ("--overwrite", "--loss_reduction", "mean", "--token_batch_size", "512")
"""An example's loss is the mean over its tokens, as it was trained."""
EKFAC = ("--method", "kfac", "--hessian_cfg.ev_correction", "--preprocess_cfg.ev_correction")
DAMPING = {
    "trackstar": "--damping_factor",
    "ekfac": "--hessian_pipeline_cfg.inversion_cfg.damping_factor",
}
DAMPINGS = {"own": "0.1", "the mean": "1", "ten means": "10"}
"""Shares of the mean eigenvalue; the first is its default."""
WAYS: dict[str, tuple[str, Sequence[str]]] = {
    "Bergson TrackStar": ("trackstar", ()),
    "Bergson EK-FAC": ("ekfac", EKFAC),
    "Bergson EK-FAC + CG": ("ekfac", (*EKFAC, "--solver", "cg", "--num_steps", "10")),
}  # fmt: skip
"""What is not said is as it comes."""


def main(exported: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    versions = {name: version(name) for name in ("bergson", "torch", "transformers", "peft")}
    for name, (command, options) in WAYS.items():
        found: dict[str, np.ndarray] = {}
        about: dict[str, object] = {"versions": versions, "seconds": {}}
        seconds: dict[str, float] = {}
        for label, damping in DAMPINGS.items():
            started, run = time.perf_counter(), out / "run"
            done = bergson(exported, run, command, *options, DAMPING[command], damping)
            seconds[label] = time.perf_counter() - started
            if done.returncode:
                about["error"] = _last_words(done)
                print(done.stdout, file=sys.stderr)
                break
            found[label] = np.asarray(load_scores(run / "scores")[:], dtype=np.float32).T
            shutil.rmtree(run)
        about["seconds"] = seconds
        arrays: dict[str, Any] = {"about": json.dumps(about), **found}
        np.savez(out / f"{name}.npz", **arrays)


def bergson(
    exported: Path, run: Path, command: str, *options: str
) -> subprocess.CompletedProcess[str]:
    sets = [
        option
        for kind, name in (("data", "train"), ("query", "query"))
        for option in (
            f"--{kind}.dataset", "json",
            f"--{kind}.data_kwargs", f"data_files={exported.resolve() / name}.jsonl",
            f"--{kind}.prompt_column", "prompt", f"--{kind}.completion_column", "completion",
        )
    ]  # fmt: skip
    program = Path(sys.executable).with_name("bergson")
    return subprocess.run(
        [program, command, run, "--model", exported / "adapter", *COMMON, *sets,
         "--query.aggregation", "none", *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"killed by signal {-done.returncode}"
    return done.stdout.strip().splitlines()[-1]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
