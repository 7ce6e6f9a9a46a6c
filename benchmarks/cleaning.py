"""Cleaning SST-2 with flipped labels: all-MiniLM-L6-v2 with LoRA, five seeds, from files alone.

Of the training rows 20 % have their label flipped. As a person would, `datainf attribute` is run
with clean rows for queries, `datainf mislabeled` ranks the training rows, `datainf select` writes
them without the most suspect, and the same training is done again on what is left. Asked are how
many of the first 100 suspects are flipped, by the one rank and by each signal alone, and what
dropping does to the accuracy on clean rows that took part in nothing, beside dropping as many at
random and just those that are flipped. Writes benchmarks/cleaning.md.

    python -m benchmarks.cleaning --data FOLDER      # holds train.tsv and dev.tsv of GLUE's SST-2
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.flipped_sst2 import Drawn, Row, command, draw, finetune
from benchmarks.machine import describe_machine
from datainf import words
from datainf.applications.mislabeled import COMBINED, SIGNALS

FIRST = 100
DROPPED = ("10%", "20%")
PAGE, KEPT = (Path(__file__).parent / name for name in ("cleaning.md", "results/cleaning.json"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    found = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            found.append(one_seed(Path(folder), options, seed))
        print(json.dumps(found[-1]), flush=True)
    content = {
        "machine": describe_machine(), "rows": options.rows, "queries": options.queries,
        "seeds": found,
    }  # fmt: skip
    KEPT.write_text(json.dumps(content, indent=1) + "\n")
    PAGE.write_text(page(content))


def one_seed(folder: Path, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Precision of the first suspects by each signal, and accuracies by what is dropped."""
    drawn = draw(options.data, options.rows, options.queries, seed)
    drawn.write(folder)
    tuned = finetune(drawn.train, seed)
    tuned.model.save_pretrained(folder / "adapter")
    command("attribute", "--adapter", "adapter", "--train", "train.jsonl", "--query",
            "query.jsonl", "--out", "run", "--no-report", cwd=folder)  # fmt: skip
    command("mislabeled", "run", "--out", "suspects.jsonl", "--no-review", cwd=folder)
    return {
        "seed": seed, "flipped": sum(drawn.flipped),
        "precision": precisions(read(folder / "suspects.jsonl"), drawn.flipped),
        "accuracy": {"nothing": tuned.accuracy(drawn.rest), **after_dropping(folder, drawn, seed)},
    }  # fmt: skip


def precisions(suspects: list[Row], flipped: list[bool]) -> dict[str, float]:
    """Share of the first suspects that are flipped, by the one rank and by each signal."""
    found = {"suspicion": share(suspects[:FIRST], flipped)}
    for signal in SIGNALS:
        key = signal.replace("-", "_")
        first = sorted(suspects, key=lambda row: (-row[key], row["train_row"]))[:FIRST]
        found[signal] = share(first, flipped)
    return found


def after_dropping(folder: Path, drawn: Drawn, seed: int) -> dict[str, float]:
    """Accuracies of the same training on what `datainf select` leaves, and beside it."""
    train, chance = drawn.train, random.Random(f"random {seed}")
    parts = {}
    for amount in DROPPED:
        out = f"clean-{amount.removesuffix('%')}"
        command("select", "run", "--drop", amount, "--out", out, cwd=folder)
        kept = read(folder / out / "train.jsonl")
        some = sorted(chance.sample(range(len(train)), len(kept)))
        parts[f"{amount}, the most suspect"] = kept
        parts[f"{amount}, at random"] = [train[row] for row in some]
    parts["all flipped, and no others"] = [
        row for row, wrong in zip(train, drawn.flipped, strict=True) if not wrong
    ]
    return {name: finetune(rows, seed).accuracy(drawn.rest) for name, rows in parts.items()}


def share(suspects: list[Row], flipped: list[bool]) -> float:
    return sum(flipped[row["train_row"]] for row in suspects) / len(suspects)


def read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def page(content: dict[str, Any]) -> str:
    """The results as a page."""
    seeds = content["seeds"]
    lines = [
        "# Cleaning SST-2", "",
        f"all-MiniLM-L6-v2 with LoRA, {content['rows']:,} rows of which 20 % have their label "
        f"flipped, {content['queries']} clean queries, {len(seeds)} seeds; made by "
        "`python -m benchmarks.cleaning`.", "",
        f"## Flipped among the first {FIRST}", "",
        f"`suspicion` is made of {words.listed(COMBINED)}.", "",
        table("ranked by", {name: [one["precision"][name] for one in seeds]
                            for name in seeds[0]["precision"]}),
        "", "## Accuracy on clean rows after training again", "",
        "On the rows of the validation set that were no queries.", "",
        table("dropped", {name: [one["accuracy"][name] for one in seeds]
                          for name in seeds[0]["accuracy"]}),
        "", content["machine"], "",
    ]  # fmt: skip
    return "\n".join(lines)


def table(title: str, values: dict[str, list[float]]) -> str:
    seeds = len(next(iter(values.values())))
    head = f"| {title} | mean | {' | '.join(f'seed {i}' for i in range(seeds))} |"
    rows = [
        f"| {name} | {statistics.mean(own):.3f} | {' | '.join(f'{v:.3f}' for v in own)} |"
        for name, own in values.items()
    ]
    return "\n".join([head, "|---" * (seeds + 2) + "|", *rows])


if __name__ == "__main__":
    main()
