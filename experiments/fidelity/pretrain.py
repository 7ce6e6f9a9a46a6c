"""Make the small Llama that is taught to write in new styles: experiments/bases/questions.

Four layers, 128 wide, over bytes, trained on the questions of GSM8K (Cobbe et al., 2021; MIT) and
on nothing else.

    OMP_NUM_THREADS=1 python -m experiments.fidelity.pretrain --data FOLDER [--out FOLDER]
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import transformers
from torch import Tensor, nn

from experiments.text.pretrain import Pretraining, byte_tokenizer, new_model

OUT = Path(__file__).parents[1] / "bases/questions"
NOTES = "pretraining.json"
SETTINGS = Pretraining(
    steps=2500, batch_tokens=4000, warmup=150, adam_rate=3e-3, width=128, hidden=384, heads=4
)


def questions(data: Path) -> list[str]:
    with (data / "gsm8k/train.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line)["question"].strip() for line in lines]


def batches(texts: Sequence[Sequence[int]], settings: Pretraining) -> Iterator[Tensor]:
    """Without end: texts one after another, cut into rows of 250 bytes."""
    draw, width = random.Random(settings.seed), 250
    rows = settings.batch_tokens // width
    waiting: list[int] = []
    while True:
        for text in draw.sample(texts, len(texts)):
            waiting += text
            if len(waiting) >= rows * width:
                yield torch.tensor(waiting[: rows * width]).reshape(rows, width)
                waiting = waiting[rows * width :]


def pretrain(data: Path, out: Path, settings: Pretraining, say: Callable[[str], None]) -> None:
    encoder = byte_tokenizer()
    texts = [encoder(text)["input_ids"] + [encoder.eos_token_id] for text in questions(data)]
    model = new_model(settings, encoder)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.adam_rate, weight_decay=settings.weight_decay,
        betas=(0.9, 0.98),
    )  # fmt: skip
    schedule = transformers.get_cosine_schedule_with_warmup(
        optimizer, settings.warmup, settings.steps
    )
    clock, losses = time.process_time(), []
    for step, ids in zip(range(1, settings.steps + 1), batches(texts, settings), strict=False):
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if step % 100 == 0:
            spent = time.process_time() - clock
            say(f"{step:6d}  {sum(losses[-100:]) / 100:.4f}  {spent:.0f} s of CPU time")
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(out)
    encoder.save_pretrained(out)
    (out / NOTES).write_text(json.dumps(asdict(settings), indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    pretrain(options.data, options.out, SETTINGS, say=lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
