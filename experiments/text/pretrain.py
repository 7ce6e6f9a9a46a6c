"""Make the small Llama that the text experiments fine-tune: experiments/bases/llama.

Four layers, 192 wide, over bytes, trained on made-up text of the same kind (`corpus`), the loss on
completions alone. Matrices are trained by Muon, the rest by AdamW.

    OMP_NUM_THREADS=1 python -m experiments.text.pretrain [--steps 6800] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from datainf.demos.demo import BASE
from experiments.text.corpus import Mixture, Sample

OUT = Path(__file__).parents[1] / "bases/llama"
NOTES = "pretraining.json"


@dataclass(frozen=True)
class Pretraining:
    """Sizes and speeds. Learning rates rise over `warmup` steps, stay, and fall in a line to
    nothing from a share `decay_from` of the steps on."""

    steps: int = 6800
    batch_tokens: int = 2000
    warmup: int = 100
    decay_from: float = 0.4
    muon_rate: float = 5e-3
    adam_rate: float = 3e-3
    weight_decay: float = 0.05
    layers: int = 4
    width: int = 192
    hidden: int = 512
    heads: int = 6
    seed: int = 0


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and <eos> and <pad>: that of the demo's base."""
    return PreTrainedTokenizerFast.from_pretrained(BASE)


def new_model(settings: Pretraining, encoder: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    torch.manual_seed(settings.seed)
    config = LlamaConfig(
        vocab_size=len(encoder), hidden_size=settings.width, intermediate_size=settings.hidden,
        num_hidden_layers=settings.layers, num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads, max_position_embeddings=512,
        eos_token_id=encoder.eos_token_id, pad_token_id=encoder.pad_token_id,
        bos_token_id=None, tie_word_embeddings=True,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def batches(
    settings: Pretraining, encoder: PreTrainedTokenizerFast, start: int = 0
) -> Iterator[dict[str, Tensor]]:
    """Without end, for a run that starts at a step: texts of like lengths together, so that
    little is padding."""
    draw, mixture, step = random.Random(f"{settings.seed} {start}"), Mixture(), start
    while True:
        progress = min(1.0, step / settings.steps)
        pool = sorted((mixture.draw(draw, progress) for _ in range(1000)), key=len)
        cut: list[list[Sample]] = [[]]
        for sample in pool:
            if cut[-1] and len(sample) * (len(cut[-1]) + 1) > settings.batch_tokens:
                cut.append([])
            cut[-1].append(sample)
        draw.shuffle(cut)
        step += len(cut)
        yield from (tensors(samples, encoder) for samples in cut)


def tensors(samples: list[Sample], encoder: PreTrainedTokenizerFast) -> dict[str, Tensor]:
    """Padded on the right, which causal attention never sees from the left of it; so no mask."""
    width = max(map(len, samples))
    ids = torch.full((len(samples), width), encoder.pad_token_id)
    labels = torch.full((len(samples), width), -100)
    for row, sample in enumerate(samples):
        position = 0
        for text, learned in sample.parts(encoder.eos_token):
            tokens = torch.tensor(encoder(text)["input_ids"])
            stop = position + len(tokens)
            ids[row, position:stop] = tokens
            if learned:
                labels[row, position:stop] = tokens
            position = stop
    return {"input_ids": ids, "labels": labels}


def optimizers(model: nn.Module, settings: Pretraining) -> list[torch.optim.Optimizer]:
    body = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [
        torch.optim.Muon(
            body, lr=settings.muon_rate, weight_decay=settings.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(rest, lr=settings.adam_rate, weight_decay=0.0, betas=(0.9, 0.98)),
    ]  # fmt: skip


def rate(step: int, start: int, settings: Pretraining) -> float:
    """Up from where the run started, level, and down to nothing in a line."""
    down = (settings.steps - step) / (settings.steps * (1 - settings.decay_from))
    return min((step - start + 1) / settings.warmup, 1.0, down)


def pretrain(
    settings: Pretraining, out: Path, *, say: Callable[[str], None], every: int = 50
) -> LlamaForCausalLM:
    """Train, and save at `out` ten times on the way and at the end.

    A folder that an interrupted run left is gone on from: with its weights, new text, and
    optimizers that begin anew.
    """
    encoder = byte_tokenizer()
    model, start = begun(out) or (new_model(settings, encoder), 0)
    steppers = optimizers(model, settings)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(stepper, lambda step: rate(start + step, start, settings))
        for stepper in steppers
    ]
    clock, seen, losses = time.process_time(), 0, []
    stream = batches(settings, encoder, start)
    for step, batch in zip(range(start + 1, settings.steps + 1), stream, strict=False):
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for stepper, schedule in zip(steppers, schedules, strict=True):
            stepper.step()
            schedule.step()
            stepper.zero_grad()
        losses.append(loss.item())
        seen += batch["input_ids"].numel()
        if step % every == 0:
            mean, cpu = sum(losses[-every:]) / every, time.process_time() - clock
            say(f"{step:6d}  {mean:.4f}  {seen:,} tokens  {cpu:.0f} s of CPU time")
        if step % max(1, settings.steps // 10) == 0:
            save(model, out, settings, step)
    save(model, out, settings, settings.steps)
    return model


def save(model: LlamaForCausalLM, out: Path, settings: Pretraining, step: int) -> None:
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(out)
    byte_tokenizer().save_pretrained(out)
    (out / NOTES).write_text(json.dumps({"step": step} | asdict(settings), indent=1) + "\n")


def begun(out: Path) -> tuple[LlamaForCausalLM, int] | None:
    """The model of a run that was interrupted, and how many steps it has made."""
    if not (out / NOTES).exists():
        return None
    step = json.loads((out / NOTES).read_text())["step"]
    return LlamaForCausalLM.from_pretrained(out, dtype=torch.float32), step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=Pretraining.steps)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    settings = Pretraining(steps=options.steps)
    pretrain(settings, options.out, say=lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
