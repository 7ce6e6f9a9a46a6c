"""Flipped labels in SST-2, found by every method: all-MiniLM-L6-v2 with LoRA, from files alone.

Fine-tunes on rows of which 20 % have their label flipped, saves the adapter, runs
`datainf attribute` and `datainf score` as a person would, and asks how well each method's scores
tell the flipped rows from the others. Writes benchmarks/sst2.md.

    python -m benchmarks.sst2 --data FOLDER      # holds train.tsv and dev.tsv of GLUE's SST-2
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import datainf
from benchmarks.flipped_sst2 import RANK, command, draw, finetune
from benchmarks.machine import describe_machine
from datainf.evaluation import agreement, detection_auc

VARIANTS = [
    (method, steps, normalize, blocks, "0.1")
    for normalize in ("none", "unit")
    for method, steps, blocks in [
        ("gradient", None, "tensor"), ("weighted-gradient", None, "tensor"),
        ("datainf", None, "tensor"), ("lissa", 10, "tensor"), ("cg", 2, "tensor"),
        ("cg", 5, "tensor"), ("exact", None, "tensor"), ("exact", None, "module"),
        ("exact", None, "model"), ("cg", 3, "model"), ("datainf", None, "model"),
    ]
] + [
    (method, steps, "unit", "model", "trace:0.02")
    for method, steps in (("datainf", None), ("cg", 3), ("exact", None))
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, times = Path(name), {}
        drawn = draw(options.data, options.rows, options.queries, options.seed)
        drawn.write(folder)
        started = time.perf_counter()
        tuned = finetune(drawn.train, options.seed)
        tuned.model.save_pretrained(folder / "adapter")
        times["LoRA fine-tuning"] = time.perf_counter() - started
        accuracy = tuned.accuracy(drawn.query)
        times["datainf attribute"] = command(
            "attribute", "--adapter", "adapter", "--train", "train.jsonl", "--query",
            "query.jsonl", "--out", "run", cwd=folder,
        )  # fmt: skip
        for part in ("train", "query"):
            times[f"datainf collect, {part} rows"] = command(
                "collect", "--adapter", "adapter", "--data", f"{part}.jsonl", "--out", part,
                cwd=folder,
            )  # fmt: skip
        times["datainf score"] = command(
            "score", "--train", "train", "--query", "query", "--out", "scores", cwd=folder
        )
        report(folder, drawn.flipped, accuracy, times, options)


def report(
    folder: Path, flipped: list[bool], accuracy: float, times: dict, options: argparse.Namespace
) -> None:
    train, query = (
        datainf.GradientStore.open(folder / "run" / part) for part in ("train", "query")
    )
    exact = datainf.attribute(train, query, "exact").values
    lines = [
        "| method | blocks | normalize | damping | AUC | AUC, self-influence "
        "| Spearman with exact (tensor) | scoring s |",
        "|---|---|---|---|---|---|---|---|",
        f"| the example's own loss | | | | {detection_auc(train.losses, flipped):.3f} | | | |",
    ]
    for method, steps, normalize, blocks, damping in VARIANTS:
        settings = {
            "steps": steps, "normalize": normalize, "blocks": blocks, "damping": damping
        }  # fmt: skip
        started = time.perf_counter()
        values = datainf.attribute(train, query, method, **settings).values
        seconds = time.perf_counter() - started
        own = datainf.self_influence(train, method, **settings)
        auc = detection_auc(-values.mean(0), flipped)
        rank = agreement(values, exact)["spearman"]
        name = method if steps is None else f"{method}, {steps} steps"
        lines.append(
            f"| {name} | {blocks} | {normalize} | {damping} | {auc:.3f} "
            f"| {detection_auc(own, flipped):.3f} | {rank:.3f} | {seconds:.2f} |"
        )
        print(lines[-1], flush=True)
    parameters = sum(block.width for block in train.index.blocks)
    text = "\n".join(
        [
            "# Flipped labels in SST-2",
            "",
            f"all-MiniLM-L6-v2, LoRA r={RANK} on query and value and the whole classifier head: "
            f"{parameters:,} parameters in {len(train.index.blocks)} tensors. {options.rows} "
            f"training rows, {sum(flipped)} flipped; {options.queries} clean queries; "
            f"seed {options.seed}; accuracy on the queries {accuracy:.3f}. "
            "AUC of −(mean score over the queries) for flipped against clean rows; higher is "
            "better. Self-influence counts upwards. Damping 0.1 is λ = 0.1 · mean ‖g‖² / d, "
            "trace:0.02 is λ = 0.02 · mean ‖g‖². Each command's time has some 5 s of start-up.",
            "",
            describe_machine(),
            "",
            "| stage, a whole process each | seconds |",
            "|---|---|",
            *(f"| {stage} | {seconds:.1f} |" for stage, seconds in times.items()),
            "",
            *lines,
            "",
            "Made by `python -m benchmarks.sst2 --data FOLDER`.",
            "",
        ]
    )
    (Path(__file__).parent / "sst2.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
