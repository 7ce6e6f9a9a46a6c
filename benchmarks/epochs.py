"""What a longer fine-tuning does to influence at its end, on the work of `datainf demo`.

The demo's model, data and options, fine-tuned for more and more epochs; scores of its 100 test
examples at the last weights. Writes benchmarks/epochs.md, in five minutes.

    python -m benchmarks.epochs
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import torch
import transformers

from benchmarks.machine import describe_machine
from datainf import GradientStore, attribute
from datainf.demos import demo
from datainf.demos.demo import TINY, run_demo

EPOCHS = (1, 6)
HEAD = (
    "| epochs | loss of the test examples | AUC by gauss-newton | exact | datainf | gradient | "
    "own kind scores above 0, by datainf | datainf ÷ exact | largest change that datainf tells |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    lines = []
    for epochs in EPOCHS:
        with tempfile.TemporaryDirectory() as folder:
            lines.append(measured(epochs, Path(folder)))
        print(lines[-1], flush=True)
    text = (
        "# Influence at the end of a longer fine-tuning\n\n"
        "The work of `datainf demo`: 900 training and 100 test examples of ten transformations, "
        "the shipped base, LoRA at a learning rate of 3e-3, and more epochs from line to line (see "
        "`epochs.py`). AUC: of a test example's own transformation among the training examples, "
        "the mean over test examples. “datainf ÷ exact”: of the sizes of the scores, without "
        "normalising, the median over test examples of ‖scores by datainf‖ / ‖scores by exact‖. "
        "The last column: |score| / n of the most helpful example, the largest of any test "
        "example, which to first order is what leaving it out would change that one's loss by.\n\n"
        f"{HEAD}\n" + "\n".join(lines) + f"\n\n{describe_machine()}\n"
    )
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


def measured(epochs: int, folder: Path) -> str:
    demo.TINY = replace(TINY, epochs=epochs)
    found = run_demo(folder / "demo")
    train, query = (GradientStore.open(folder / "demo/run" / part) for part in ("train", "query"))
    plain = {name: attribute(train, query, name) for name in ("datainf", "exact")}
    auc = {name: one.detection.auc.mean() for name, one in found.methods.items()}
    sizes = {name: scores.values.double().norm(dim=1) for name, scores in plain.items()}
    values = plain["datainf"].values
    kinds = [found.run.train.raw(row)["class"] for row in range(len(train))]
    own = torch.tensor([[kind == of for of in kinds] for kind in found.query_classes])
    return (
        f"| {epochs} | {float(found.run.query_losses.mean()):.2f} | {auc['gauss-newton']:.3f} | "
        f"{auc['exact']:.3f} | {auc['datainf']:.3f} | {auc['gradient']:.3f} | "
        f"{float((values[own] > 0).double().mean()):.0%} | "
        f"{float((sizes['datainf'] / sizes['exact']).median()):.0f} | "
        f"{float(values.max()) / len(train):.0f} |"
    )


if __name__ == "__main__":
    main()
