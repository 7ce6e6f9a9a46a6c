"""Cleaning SST-2 with flipped labels: all-MiniLM-L6-v2 with LoRA, five seeds, from files alone.

Of the training rows 20 % have their label flipped. As a person would, `datainf attribute` is run
with clean rows for queries, `datainf mislabeled` ranks the training rows, `datainf select` writes
them without the most suspect, and the same training is done again on what is left. Asked are how
many of the first 100 suspects are flipped, by the one rank and by each signal alone, and what
dropping does to the accuracy on clean rows that took part in nothing, beside dropping as many at
random and just those that are flipped. What the one rank could be made of otherwise is shown too:
of every other set of signals, of more or fewer neighbours, of the losses after other epochs. Writes
benchmarks/cleaning.md.

    python -m benchmarks.cleaning --data FOLDER      # holds train.tsv and dev.tsv of GLUE's SST-2
    python -m benchmarks.cleaning --data FOLDER --found    # accuracies are those of the last time
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.flipped_sst2 import Drawn, Row, command, draw, finetune
from benchmarks.machine import describe_machine
from datainf import words
from datainf.applications.mislabeled import COMBINED, NEIGHBOURS, SIGNALS, combined
from datainf.applications.neighbours import directions, neighbours
from datainf.store import GradientStore

FIRST = 100
NEAR = (10, 30, 100, 300)
"""Neighbours that are looked at."""
DROPPED = ("10%", "20%")
PAGE, KEPT = (Path(__file__).parent / name for name in ("cleaning.md", "results/cleaning.json"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--found", action="store_true", help="what is found, and no training again")
    options = parser.parse_args()
    found = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            found.append(one_seed(Path(folder), options, seed))
        print(json.dumps(found[-1]), flush=True)
    if options.found:
        for one, before in zip(found, json.loads(KEPT.read_text())["seeds"], strict=True):
            if one["precision"] != before["precision"]:
                raise SystemExit("not what was found the last time: all of it is to be done again")
            one["accuracy"] = before["accuracy"]
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
    epochs: list[Tensor] = []
    tuned = finetune(drawn.train, seed, lambda one: epochs.append(one.losses(drawn.train)))
    tuned.model.save_pretrained(folder / "adapter")
    command("attribute", "--adapter", "adapter", "--train", "train.jsonl", "--query",
            "query.jsonl", "--out", "run", "--no-report", cwd=folder)  # fmt: skip
    command("mislabeled", "run", "--out", "suspects.jsonl", "--no-review", cwd=folder)
    suspects = read(folder / "suspects.jsonl")
    found = {
        "seed": seed, "flipped": sum(drawn.flipped),
        "precision": precisions(suspects, drawn.flipped),
        "sets": precisions_of_sets(suspects, drawn.flipped),
        "neighbours": precisions_of_neighbours(folder / "run" / "train", drawn.flipped),
        "losses": precisions_of_losses(epochs, drawn.flipped),
    }  # fmt: skip
    if not options.found:
        dropped = after_dropping(folder, drawn, seed)
        found["accuracy"] = {"nothing": tuned.accuracy(drawn.rest), **dropped}
    return found


def precisions(suspects: list[Row], flipped: list[bool]) -> dict[str, float]:
    """Share of the first suspects that are flipped, by the one rank and by each signal."""
    found = {"suspicion": share(suspects[:FIRST], flipped)}
    for signal in SIGNALS:
        key = signal.replace("-", "_")
        first = sorted(suspects, key=lambda row: (-row[key], row["train_row"]))[:FIRST]
        found[signal] = share(first, flipped)
    return found


def precisions_of_sets(suspects: list[Row], flipped: list[bool]) -> dict[str, float]:
    """By one rank of every set of two or more signals."""
    rows = sorted(suspects, key=lambda row: row["train_row"])
    signals = {
        name: torch.tensor([row[name.replace("-", "_")] for row in rows]) for name in SIGNALS
    }
    return {
        words.listed(of): precision(combined(signals, of), flipped)
        for size in range(2, len(SIGNALS) + 1)
        for of in combinations(SIGNALS, size)
    }


def precisions_of_neighbours(store: Path, flipped: list[bool]) -> dict[str, float]:
    Z = directions(GradientStore.open(store))
    return {str(k): precision(-neighbours(Z, k).agreement, flipped) for k in NEAR}


def precisions_of_losses(epochs: list[Tensor], flipped: list[bool]) -> dict[str, float]:
    after = {f"after epoch {i}": losses for i, losses in enumerate(epochs, start=1)}
    after["mean of these"] = torch.stack(epochs).mean(dim=0)
    return {name: precision(losses, flipped) for name, losses in after.items()}


def precision(signal: Tensor, flipped: list[bool]) -> float:
    """Share of the first that are flipped, where higher is more suspect."""
    first = signal.argsort(descending=True, stable=True)[:FIRST]
    return sum(flipped[row] for row in first.tolist()) / FIRST


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
        *others(seeds),
        "", "## Accuracy on clean rows after training again", "",
        "On the rows of the validation set that were no queries.", "",
        table("dropped", {name: [one["accuracy"][name] for one in seeds]
                          for name in seeds[0]["accuracy"]}),
        "", content["machine"], "",
    ]  # fmt: skip
    return "\n".join(lines)


def others(seeds: list[dict[str, Any]]) -> list[str]:
    """What the one rank could be made of otherwise; nothing of results that were made before that
    was asked."""
    if "sets" not in seeds[0]:
        return []
    return [
        "", "By one rank of each set of several signals:", "",
        table("made of", by_mean(seeds, "sets")),
        "", f"By so many neighbours, of which `neighbours` takes {NEIGHBOURS}:", "",
        table("neighbours", by_mean(seeds, "neighbours")),
        "", "By the loss, of which a run over checkpoints takes the mean over these:", "",
        table("loss", by_mean(seeds, "losses")),
    ]  # fmt: skip


def by_mean(seeds: list[dict[str, Any]], what: str) -> dict[str, list[float]]:
    """What was found by each of some ways, the best first."""
    found = {name: [one[what][name] for one in seeds] for name in seeds[0][what]}
    return dict(sorted(found.items(), key=lambda entry: -statistics.mean(entry[1])))


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
