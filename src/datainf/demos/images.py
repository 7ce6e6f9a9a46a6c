"""`datainf demo images`: which pictures taught a text-to-image model what it draws?

A small Stable Diffusion that has seen nothing but drawn shapes (`images_base`, made by
scripts/make_demo_images_base.py) is tuned by LoRA on 36 emoji of three kinds: faces, fruit and
vehicles (`emoji`, which says whose they are). Twelve others of the same kinds are asked about. For
each of them a good method ranks the twelve training pictures of its own kind first, and the page
shows which they are.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from datainf.config import RunConfig
from datainf.demos.claim import claim, require
from datainf.evaluation import ClassDetection, class_detection
from datainf.files import make_folder
from datainf.progress import Progress, Silent
from datainf.report import write_report
from datainf.runs import Run, run
from datainf.scores import Scores

HERE = Path(__file__).parent
BASE, EMOJI = HERE / "images_base", HERE / "emoji"
RANK, STEPS, BATCH, LEARNING_RATE, WARMUP = 4, 300, 9, 3e-3, 20
TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
TIMESTEPS = "50,250,450,650,850"
EVERY = 4
"""Of a kind's pictures every so many-th is a query."""


@dataclass(frozen=True)
class ImagesResult:
    """The run, how well its scores find each query's kind, the queries' kinds, and the page."""

    run: Run
    detection: ClassDetection
    query_kinds: list[str]
    report: Path


def run_images_demo(
    out: Path,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> ImagesResult:
    """Lay out the pictures, tune, attribute, and judge.

    Args:
        out: Folder for data, adapter and run. The same demo run again uses what is there.
        seed: Of the tuning and of the noise.

    Raises `OptionError` if the folder holds something else, `InputError` without diffusers.
    """
    require("diffusers", "diffusers")
    progress = progress or Silent()
    claim(out, {"demo": "images", "seed": seed})
    train, query = lay_out(out)
    adapter = out / "adapter"
    if not (adapter / "pytorch_lora_weights.safetensors").is_file():
        started = time.perf_counter()
        tune(out / "train", adapter, seed, progress)
        say(f"{adapter}: LoRA tuned in {time.perf_counter() - started:.1f} s")
    config = RunConfig(
        train=str(out / "train"), query=str(out / "query"), out=str(out / "run"), model=str(BASE),
        adapter=str(adapter), timesteps=TIMESTEPS, seed=seed,
    )  # fmt: skip
    finished = run(config, progress=progress, say=say)
    assert isinstance(finished.scores, Scores)
    detection = class_detection(finished.scores.values, query, train)
    report = write_report(out / "run", progress=progress, say=say)
    return ImagesResult(finished, detection, query, report)


def lay_out(out: Path) -> tuple[list[str], list[str]]:
    """Copy the pictures into train/ and query/, each with a metadata.jsonl; their kinds."""
    rows = [json.loads(line) for line in (EMOJI / "metadata.jsonl").read_text("utf-8").splitlines()]
    taken: dict[str, int] = {}
    parts: dict[str, list[dict[str, Any]]] = {"train": [], "query": []}
    for row in rows:
        place = taken.get(row["kind"], 0)
        taken[row["kind"]] = place + 1
        parts["train" if place % EVERY else "query"].append(row)
    for name, own in parts.items():
        make_folder(out / name)
        for row in own:
            shutil.copyfile(EMOJI / row["file_name"], out / name / row["file_name"])
        lines = [json.dumps(row, ensure_ascii=False) for row in own]
        (out / name / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [row["kind"] for row in parts["train"]], [row["kind"] for row in parts["query"]]


def tune(folder: Path, adapter: Path, seed: int, progress: Progress) -> None:
    """LoRA on the UNet's attention, as diffusers' script for text-to-image does it."""
    import diffusers
    import peft
    from peft.utils import get_peft_model_state_dict

    from datainf.data import load
    from datainf.pipelines import dtype_name

    torch.manual_seed(seed)
    pipeline: Any = diffusers.StableDiffusionPipeline.from_pretrained(
        BASE, safety_checker=None, requires_safety_checker=False,
        **{dtype_name(diffusers): torch.float32},
    )  # fmt: skip
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        part.requires_grad_(False)
    pipeline.unet.add_adapter(
        peft.LoraConfig(
            r=RANK, lora_alpha=RANK, target_modules=TARGETS, init_lora_weights="gaussian"
        )
    )
    x, text = _encoded(pipeline, load(str(folder), "text-to-image"))
    learned = [p for p in pipeline.unet.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=LEARNING_RATE)
    noise_of, advance = pipeline.scheduler, progress.stage("tuning", STEPS)
    for step in range(STEPS):
        share = min(1.0, step / WARMUP) * (1 - step / STEPS)
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * share
        rows = torch.randint(len(x), (BATCH,))
        noise, t = torch.randn(BATCH, *x.shape[1:]), torch.randint(1000, (BATCH,))
        predicted = pipeline.unet(noise_of.add_noise(x[rows], noise, t), t, text[rows]).sample
        loss = F.mse_loss(predicted, noise_of.get_velocity(x[rows], noise, t))
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        advance(1)
    pipeline.save_lora_weights(adapter, get_peft_model_state_dict(pipeline.unet))


@torch.no_grad()
def _encoded(pipeline: Any, rows: Any) -> tuple[Tensor, Tensor]:
    """Latents and what the denoiser is told, of all rows."""
    from datainf.tasks import TextToImage

    task = TextToImage(pipeline)
    pixels = task.collate([rows[i] for i in range(len(rows))])["pixel_values"]
    latents = pipeline.vae.encode(pixels.float()).latent_dist.mode()
    texts = [rows[i]["text"] for i in range(len(rows))]
    told = pipeline.encode_prompt(texts, "cpu", 1, False)[0]
    return latents * pipeline.vae.config.scaling_factor, told
