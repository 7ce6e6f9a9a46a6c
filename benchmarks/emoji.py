"""Which training images gave a generated style? A small Stable Diffusion on emoji of three styles.

Trains from scratch, on emoji that are kept apart for it, a small AutoencoderKL, and a small
UNet2DConditionModel with its CLIPTextModel; fine-tunes a LoRA on the UNet's attention on 200 images
of each style under the paper's prompt, saves both as diffusers does, loads them again, collects
every gradient twice in processes of their own, and asks whether the training images of a query's
style have the highest scores. Writes benchmarks/emoji.md.

    python benchmarks/emoji.py --data FOLDER     # metadata.jsonl, with file_name, style, caption
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import diffusers
import peft
import torch
import torch.nn.functional as F
import transformers
from diffusers.training_utils import _collate_lora_metadata
from machine import describe_machine
from peft.utils import get_peft_model_state_dict
from tokenizers import pre_tokenizers
from torch import Tensor

import datainf
from datainf.evaluation import class_detection
from datainf.pipelines import load_pipeline

PIXELS, TOKENS, WIDTH = 32, 96, 64
PER_STYLE, QUERIES = 200, 50
VAE_STEPS, BASE_STEPS, LORA_STEPS, BATCH = 300, 500, 500, 16
RANK, LEARNING_RATE = 4, 1e-3
TIMESTEPS = (25, 225, 425, 625, 825, 925)
PROMPT = "Generate an image in a specific {style} style. {caption}"
AGGREGATES = ("mean", "concatenate")
EQUAL = "mean, equal norms"
"""Averaged with weights that make the training gradients' norms alike at every timestep."""
VARIANTS = [
    (method, steps, normalize, blocks)
    for normalize in ("none", "unit")
    for method, steps, blocks in (
        ("gradient", None, "tensor"), ("weighted-gradient", None, "tensor"),
        ("datainf", None, "tensor"), ("cg", 5, "tensor"), ("exact", None, "tensor"),
        ("exact", None, "model"),
    )
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--collect", nargs=2, type=Path, metavar=("FOLDER", "OUT"))
    options = parser.parse_args()
    if options.collect:
        collect(*options.collect)
        return
    torch.manual_seed(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder, times = Path(name), {}
        base, train, query = split(options)
        for part, rows in (("train", train), ("query", query)):
            (folder / f"{part}.json").write_text(json.dumps(rows), encoding="utf-8")
        notes = make_models(folder, base, train, query, times)
        for run in ("run", "again"):
            started = time.perf_counter()
            command = [sys.executable, __file__, "--data", str(options.data), "--collect"]
            subprocess.run([*command, str(folder), str(folder / run)], check=True)
            times[f"gradients of train and query rows, both ways, {run}"] = (
                time.perf_counter() - started
            )
        first, second = hashes(folder / "run"), hashes(folder / "again")
        notes["same"] = bool(first) and first == second
        weights = tuple(1 / norm for norm in timestep_norms(folder))
        collect_as(folder, folder / "run" / EQUAL, {"weighting": weights})
        report(folder, train, query, times, notes)


def split(options: argparse.Namespace) -> tuple[list[dict], list[dict], list[dict]]:
    """Rows for the base, the LoRA and the queries; no emoji is in two of them, nor in two styles
    of the LoRA's or the queries' rows."""
    lines = (options.data / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    styles = sorted({row["style"] for row in rows})
    codes = sorted({Path(row["file_name"]).name for row in rows})
    random.Random(options.seed).shuffle(codes)
    part_of = dict.fromkeys(codes, ("base", ""))
    for i, style in enumerate(styles):
        start = i * (PER_STYLE + QUERIES)
        part_of |= dict.fromkeys(codes[start : start + PER_STYLE], ("train", style))
        stop = start + PER_STYLE
        part_of |= dict.fromkeys(codes[stop : stop + QUERIES], ("query", style))
    found: dict[str, list[dict]] = {"base": [], "train": [], "query": []}
    for row in rows:
        part, style = part_of[Path(row["file_name"]).name]
        if part == "base" or row["style"] == style:
            text = row["caption"] if part == "base" else PROMPT.format(**row)
            image = str(options.data / row["file_name"])
            found[part].append({"image": image, "text": text, "style": row["style"]})
    return found["base"], found["train"], found["query"]


def make_models(
    folder: Path, base: list[dict], train_rows: list[dict], query_rows: list[dict], times: dict
) -> dict:
    """Train and save the pipeline and its LoRA; what there is to say of them."""
    pipeline, notes = build(), {}
    unet, text_encoder = pipeline.unet, pipeline.text_encoder
    started = time.perf_counter()
    notes["vae_error"] = train_vae(pipeline, base)
    times["VAE"] = time.perf_counter() - started
    started = time.perf_counter()
    train(pipeline, base, [*unet.parameters(), *text_encoder.parameters()], BASE_STEPS)
    times["UNet and text encoder"] = time.perf_counter() - started
    for part in (unet, text_encoder):
        part.eval().requires_grad_(False)
    pipeline.save_pretrained(folder / "base")
    notes["sizes"] = (
        ", ".join(
            f"{type(part).__name__} with {sum(p.numel() for p in part.parameters()):,} parameters"
            for part in (pipeline.vae, text_encoder, unet)
        )
        + "."
    )
    notes["before"] = mean_loss(pipeline, query_rows)
    started = time.perf_counter()
    targets = ["to_q", "to_k", "to_v", "to_out.0"]
    unet.add_adapter(peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=targets))
    train(pipeline, train_rows, [p for p in unet.parameters() if p.requires_grad], LORA_STEPS)
    times["LoRA fine-tuning"] = time.perf_counter() - started
    notes |= {"after": mean_loss(pipeline, query_rows), "seen": mean_loss(pipeline, train_rows)}
    pipeline.save_lora_weights(
        folder / "lora",
        unet_lora_layers=get_peft_model_state_dict(unet),
        **_collate_lora_metadata({"unet": unet}),
    )
    print(times, notes, flush=True)
    return notes


def build() -> diffusers.StableDiffusionPipeline:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    text = transformers.CLIPTextConfig(
        vocab_size=514, hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=TOKENS, bos_token_id=512, eos_token_id=513,
        pad_token_id=513,
    )  # fmt: skip
    return diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL(
            block_out_channels=(16, 32), norm_num_groups=8, sample_size=PIXELS,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        ),
        unet=diffusers.UNet2DConditionModel(
            sample_size=PIXELS // 2, block_out_channels=(32, 64), layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), norm_num_groups=8,
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=4,
            cross_attention_dim=WIDTH,
        ),
        text_encoder=transformers.CLIPTextModel(text),
        tokenizer=transformers.CLIPTokenizer(vocabulary, [], model_max_length=TOKENS),
        scheduler=diffusers.DDPMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
            steps_offset=1,
        ),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def train_vae(pipeline: diffusers.StableDiffusionPipeline, rows: list[dict]) -> float:
    """Train to reconstruct, with a slight pull of latents to a normal; the final mean squared
    error of pixels in [-1, 1]. Its scaling factor makes latents of unit size."""
    vae = pipeline.vae
    X = datainf.tasks.TextToImage(pipeline).collate(rows)["pixel_values"]
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1e-3)
    for _ in range(VAE_STEPS):
        batch = X[torch.randint(len(X), (BATCH,))]
        posterior = vae.encode(batch).latent_dist
        error = F.mse_loss(vae.decode(posterior.sample()).sample, batch)
        (error + 1e-4 * posterior.kl().mean() / batch[0].numel()).backward()
        optimizer.step()
        optimizer.zero_grad()
    vae.eval().requires_grad_(False)
    latents = vae.encode(X[:256]).latent_dist.mean
    vae.register_to_config(scaling_factor=float(1 / latents.std()))
    return float(F.mse_loss(vae.decode(latents).sample, X[:256]))


def train(
    pipeline: diffusers.StableDiffusionPipeline, rows: list[dict], learned: list[Tensor], count: int
) -> None:
    """Noise and timesteps at random, as train_text_to_image.py has it; latents are means."""
    task, scheduler = datainf.tasks.TextToImage(pipeline), pipeline.scheduler
    examples = [task.encode(row) for row in rows]
    with torch.no_grad():
        pixels = task.collate(examples)["pixel_values"].split(BATCH)
        latents = torch.cat([pipeline.vae.encode(x).latent_dist.mean for x in pixels])
    latents = latents * pipeline.vae.config.scaling_factor
    optimizer = torch.optim.AdamW(learned, lr=LEARNING_RATE)
    for _ in range(count):
        chosen = torch.randint(len(rows), (BATCH,))
        t, noise = torch.randint(1000, (BATCH,)), torch.randn(BATCH, *latents.shape[1:])
        noisy = scheduler.add_noise(latents[chosen], noise, t)
        text = pipeline.encode_prompt([rows[i]["text"] for i in chosen], "cpu", 1, False)[0]
        F.mse_loss(pipeline.unet(noisy, t, text).sample, noise).backward()
        optimizer.step()
        optimizer.zero_grad()


def mean_loss(pipeline: diffusers.StableDiffusionPipeline, rows: list[dict]) -> float:
    task = datainf.tasks.TextToImage(pipeline, timesteps=TIMESTEPS)
    with torch.no_grad():
        parts = [
            task.losses(pipeline.unet, task.collate(rows[i : i + BATCH]))
            for i in range(0, len(rows), BATCH)
        ]
    return float(torch.cat(parts).mean())


def collect(folder: Path, out: Path) -> None:
    """Gradients of all rows, averaged over timesteps and side by side."""
    for name in AGGREGATES:
        collect_as(folder, out / name, {"aggregate": name})


def collect_as(folder: Path, out: Path, options: dict) -> None:
    loaded = load_pipeline(str(folder / "base"), str(folder / "lora"), device="cpu")
    task = datainf.tasks.TextToImage(loaded.pipeline, timesteps=TIMESTEPS, **options)
    for part in ("train", "query"):
        rows = json.loads((folder / f"{part}.json").read_text(encoding="utf-8"))
        datainf.collect(loaded.model, rows, task, out=out / part, batch_tokens=24_576)


def hashes(folder: Path) -> list[str]:
    return [
        hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.suffix in {".safetensors", ".json"}
    ]


def latents_of(folder: Path, rows: list[dict]) -> Tensor:
    """[rows, entries]: what images look like to the VAE."""
    loaded = load_pipeline(str(folder / "base"), device="cpu")
    task = datainf.tasks.TextToImage(loaded.pipeline)
    with torch.no_grad():
        pixels = task.collate(rows)["pixel_values"].split(BATCH)
        return torch.cat([loaded.pipeline.vae.encode(x).latent_dist.mean for x in pixels]).flatten(
            1
        )


def evaluate(folder: Path, train_rows: list[dict], query_rows: list[dict]) -> list[str]:
    """Lines of a table: AUC and recall of each way to score."""
    styles = [[row["style"] for row in rows] for rows in (query_rows, train_rows)]
    lines = []

    def line(name: str, timesteps: str, normalize: str, values: Tensor) -> None:
        found = class_detection(values, *styles).summary
        auc, recall = (
            f"{found[f'{k}_mean']:.3f} ± {found[f'{k}_std']:.3f}" for k in ("auc", "recall")
        )
        lines.append(f"| {name} | {timesteps} | {normalize} | {auc} | {recall} |")
        print(lines[-1], flush=True)

    Q, T = latents_of(folder, query_rows), latents_of(folder, train_rows)
    center = T.mean(0)
    line("latents' cosine", "", "", F.normalize(Q - center) @ F.normalize(T - center).T)
    for name in (*AGGREGATES, EQUAL):
        train, query = (
            datainf.GradientStore.open(folder / "run" / name / part) for part in ("train", "query")
        )
        if name == "mean":
            line("nearness of losses", name, "", -(query.losses[:, None] - train.losses).abs())
        for method, steps, normalize, blocks in VARIANTS:
            options = {"steps": steps, "normalize": normalize, "blocks": blocks}
            scores = datainf.attribute(train, query, method, **options)
            called = method if steps is None else f"{method}, {steps} steps"
            line(f"{called}, {blocks}", name, normalize, scores.values)
    return lines


def timestep_norms(folder: Path) -> list[float]:
    """Root mean square norm of the training rows' gradients at each timestep."""
    store = datainf.GradientStore.open(folder / "run" / "concatenate" / "train")
    squares = torch.zeros(len(TIMESTEPS), dtype=torch.float64)
    for block in store.index.blocks:
        G = store.blocks[block.name].to_dense().double()
        squares += G.reshape(len(G), len(TIMESTEPS), -1).square().sum(2).mean(0)
    return squares.sqrt().tolist()


def report(
    folder: Path, train_rows: list[dict], query_rows: list[dict], times: dict, notes: dict
) -> None:
    lines = evaluate(folder, train_rows, query_rows)
    store = datainf.GradientStore.open(folder / "run" / "mean" / "train")
    norms = timestep_norms(folder)
    same = "the same bytes" if notes["same"] else "DIFFERENT BYTES"
    text = "\n".join(
        [
            "# Styles of emoji, text to image",
            "",
            "A small Stable Diffusion of diffusers' own classes, trained from scratch by the "
            f"script: {notes['sizes']} Images of {PIXELS} pixels, latents of {PIXELS // 2}. The "
            f"VAE's mean squared error of pixels in [-1, 1] is {notes['vae_error']:.4f}. It is far "
            "too small and too briefly trained to draw well; the run shows the path, and what the "
            "scores can tell apart.",
            "",
            f"LoRA r={RANK} on the UNet's attention: {sum(b.width for b in store.index.blocks):,} "
            f"parameters in {len(store.index.blocks)} tensors. {PER_STYLE} training and {QUERIES} "
            "query images of each of three styles, each emoji in one style and one part only, "
            f"prompt `{PROMPT}`. Loss over the timesteps {TIMESTEPS}: query rows "
            f"{notes['before']:.4f} before and {notes['after']:.4f} after the fine-tuning, "
            f"training rows {notes['seen']:.4f}.",
            "",
            f"Two collections in processes of their own gave {same} in every shard and index. "
            "The training gradients' root mean square norm by timestep: "
            + ", ".join(f"{norm:.3g}" for norm in norms)
            + ".",
            "",
            "AUC and recall as in the paper's section 4.3, mean ± standard deviation over the "
            f"{len(query_rows)} queries: do the training images of the query's style have the "
            f"highest scores? A third of the training images are relevant: chance is .5 and .333. "
            "The first row is no attribution but the likeness of images.",
            "",
            describe_machine().replace(" datainf", f" diffusers {diffusers.__version__}, datainf"),
            "",
            "| stage | seconds |",
            "|---|---|",
            *(f"| {stage} | {seconds:.1f} |" for stage, seconds in times.items()),
            "",
            "| method, blocks | timesteps | normalize | AUC | recall |",
            "|---|---|---|---|---|",
            *lines,
            "",
            "Made by `python benchmarks/emoji.py --data FOLDER`.",
            "",
        ]
    )
    (Path(__file__).parent / "emoji.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
