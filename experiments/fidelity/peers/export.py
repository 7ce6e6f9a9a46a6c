"""A fine-tuning as plain files, for a tool that runs elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import torch
from safetensors.torch import save_file
from torch import Tensor

from datainf.tasks.noise_schedule import shared_noise
from experiments.fidelity.problem import Problem
from experiments.fidelity.stores import SEED
from experiments.fidelity.training import train
from experiments.images.base import FOLDER
from experiments.images.training import encode

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
"""Of a conversation, for tools that read prompt and completion as one: their texts as they are."""


def export(problem: Problem, folder: Path) -> None:
    """The adapter after its last step, and all rows in order.

    Of texts `train.jsonl` and `query.jsonl` with tokens and labels, with the texts too where there
    is a completion, and the tokenizer. Of pictures `train.safetensors` and `query.safetensors` with
    what the denoiser is given and should say.
    """
    model: Any = train(problem, range(len(problem.train)), SEED).model
    adapter = folder / "adapter"
    adapter.mkdir(parents=True, exist_ok=True)
    about: dict[str, str] = {"kind": problem.kind}
    if problem.kind == "pictures":
        about["base"] = str(FOLDER)
        model.peft_config["default"].save_pretrained(adapter)
        save_file(peft.get_peft_model_state_dict(model), adapter / "adapter_model.safetensors")
    else:
        model.save_pretrained(adapter)
        tokenizer = problem.task.tokenizer  # type: ignore[attr-defined]
        tokenizer.chat_template = TEMPLATE
        tokenizer.save_pretrained(adapter)
    for name, rows in (("train", problem.train), ("query", problem.query)):
        if problem.kind == "pictures":
            save_file(_denoised(problem, model, rows), folder / f"{name}.safetensors")
        else:
            lines = [json.dumps(_row(problem, tokenizer, row)) + "\n" for row in rows]
            (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")


@torch.no_grad()
def _denoised(problem: Problem, unet: Any, rows: list[Any]) -> dict[str, Tensor]:
    """`noisy`, `time`, `text` and `target` of K timesteps a row, [rows · K, …]: a row's loss is the
    mean of its K squared errors.

    Raises:
        ValueError: these losses are not the task's.
    """
    task: Any = problem.task
    encoded, schedule = encode(task.pipeline, rows), task.schedule
    x, noise = encoded.latents[:, None], shared_noise(
        schedule.timesteps, encoded.latents.shape[1:], task.seed
    )  # fmt: skip
    signal, scale, of_noise, of_latents = (
        values.view(-1, 1, 1, 1)
        for values in (schedule.signal, schedule.noise, schedule.of_noise, schedule.of_latents)
    )
    K, text = len(schedule), encoded.text[encoded.caption].float()
    found = {
        "noisy": (signal * x + scale * noise).flatten(0, 1),
        "time": schedule.times.repeat(len(rows)),
        "text": text.repeat_interleave(K, dim=0),
        "target": (of_noise * noise + of_latents * x).flatten(0, 1),
    }
    few = slice(0, 2 * K)
    said = unet(found["noisy"][few], found["time"][few], found["text"][few]).sample
    losses = (said - found["target"][few]).square().flatten(1).mean(dim=1).view(-1, K).mean(dim=1)
    if not torch.allclose(losses, task.losses(unet, task.collate(rows[:2])), rtol=1e-2):
        raise ValueError(f"{problem.name}: what is written out does not give the task's losses")
    return {name: value.contiguous() for name, value in found.items()}


def _row(problem: Problem, tokenizer: Any, row: Any) -> dict[str, Any]:
    batch = problem.task.collate([row])
    plain = {name: value[0].tolist() for name, value in batch.items()}
    if "completion" in row:
        completion = row["completion"] + tokenizer.eos_token
        plain |= {"prompt": row["prompt"], "completion": completion}
    return plain
