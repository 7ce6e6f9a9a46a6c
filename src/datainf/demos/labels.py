"""`datainf demo labels`: find the flipped labels among handwritten digits.

scikit-learn's 1,797 digits of 8 × 8 pixels. A small vision transformer is trained on one half of
them, and a LoRA on it with the other half, a tenth of whose labels are wrong. The run's queries are
digits with right labels that took no part in either; `mislabeled` then ranks the tenth first, and
how far it does is known here.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from datainf.applications.mislabeled import Suspects, mislabeled
from datainf.config import RunConfig
from datainf.data import Examples
from datainf.demos.claim import claim, require
from datainf.files import make_folder
from datainf.progress import Progress, Silent
from datainf.report import write_report
from datainf.report.readers import Said, labels_said
from datainf.report.review import REVIEW, write_review
from datainf.report.subject import Subject
from datainf.runs import run

FLIPPED = 0.1
PRETRAINED, TUNED = 900, 697
"""Digits that the base is trained on, and then the LoRA; the 200 that are left are the queries."""
SIDE = 8
"""Of a digit, in pixels."""
EPOCHS = (60, 30)
"""Of the base, and of the LoRA."""
VIT = {
    "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "image_size": 8, "patch_size": 2, "num_channels": 3,
}  # fmt: skip
REVIEWED = 150


@dataclass(frozen=True)
class LabelsResult:
    """The suspects, what the model says to the first, which of the training examples were flipped,
    and the pages that show them."""

    suspects: Suspects
    said: Said
    flipped: list[bool]
    subject: Subject
    report: Path
    review: Path

    def found_among(self, first: int) -> int:
        """How many of the first suspects are flipped."""
        return sum(self.flipped[row] for row in self.suspects.order[:first])


def run_labels_demo(
    out: Path,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> LabelsResult:
    """Draw up the data, train, attribute, and rank the suspects.

    Args:
        out: Folder for data, model and run. The same demo run again uses what is there.
        seed: Of flips and training.

    Raises `OptionError` if the folder holds something else, `InputError` without Pillow.
    """
    require("PIL", "Pillow")
    progress = progress or Silent()
    claim(out, {"demo": "labels", "seed": seed})
    flipped = write_digits(out, seed)
    base, adapter = out / "base", out / "adapter"
    if not (adapter / "adapter_config.json").is_file():
        started = time.perf_counter()
        _train(out, base, adapter, seed, progress)
        say(f"{adapter}: trained in {time.perf_counter() - started:.1f} s")
    config = RunConfig(
        train=str(out / "train"), query=str(out / "validation"), out=str(out / "run"),
        model=str(base), adapter=str(adapter), seed=seed,
    )  # fmt: skip
    run(config, progress=progress, say=say)
    subject = Subject.open(out / "run")
    found = mislabeled(subject.scores, subject.stores.train, progress=progress)
    said = labels_said(subject, found.order[:REVIEWED])
    review = write_review(subject, found, said, out / "run" / REVIEW, REVIEWED)
    report = write_report(out / "run", progress=progress, say=say)
    return LabelsResult(found, said, flipped, subject, report, review)


def write_digits(out: Path, seed: int) -> list[bool]:
    """Folders of images, pretraining/, train/ and validation/, each with a metadata.jsonl; which
    labels of train/ are flipped."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    draw = random.Random(seed)
    order = draw.sample(range(len(digits.target)), len(digits.target))
    flipped = [draw.random() < FLIPPED for _ in range(TUNED)]
    parts = {
        "pretraining": order[:PRETRAINED],
        "train": order[PRETRAINED : PRETRAINED + TUNED],
        "validation": order[PRETRAINED + TUNED :],
    }
    for name, rows in parts.items():
        labels = [int(digits.target[row]) for row in rows]
        if name == "train":
            labels = [
                draw.choice([other for other in range(10) if other != label]) if flip else label
                for label, flip in zip(labels, flipped, strict=True)
            ]
        _write(out / name, [digits.images[row] for row in rows], rows, labels)
    return flipped


def _write(folder: Path, images: list[Any], rows: list[int], labels: list[int]) -> None:
    from PIL import Image

    make_folder(folder)
    lines = []
    for pixels, row, label in zip(images, rows, labels, strict=True):
        name = f"{row:04d}.png"
        shown = Image.fromarray((255 - pixels * (255 / 16)).astype(np.uint8))  # dark on white
        shown.save(folder / name)
        lines.append(json.dumps({"file_name": name, "id": f"digit-{row:04d}", "label": label}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _train(out: Path, base: Path, adapter: Path, seed: int, progress: Progress) -> None:
    """The base on one half, saved; then a LoRA on the other, saved."""
    from datainf.data import load

    torch.manual_seed(seed)
    names = {i: str(i) for i in range(10)}
    config = transformers.ViTConfig(
        **VIT, num_labels=10, id2label=names, label2id={name: i for i, name in names.items()}
    )
    model: Any = transformers.ViTForImageClassification(config)
    processor = image_processor()
    parts = {
        name: _pixels(load(str(out / name), "image-classification"), processor)
        for name in ("pretraining", "train")
    }
    advance = progress.stage("training", sum(EPOCHS))
    _fit(model, *parts["pretraining"], epochs=EPOCHS[0], learning_rate=2e-3, advance=advance)
    model.save_pretrained(base)
    processor.save_pretrained(base)
    targets = ["query", "value"] if _has(model, "query") else ["q_proj", "v_proj"]
    model.name_or_path = str(base.resolve())  # which the adapter then names as its base
    tuned = peft.get_peft_model(
        model,
        peft.LoraConfig(r=4, lora_alpha=8, target_modules=targets, modules_to_save=["classifier"]),
    )
    _fit(tuned, *parts["train"], epochs=EPOCHS[1], learning_rate=2e-3, advance=advance)
    tuned.save_pretrained(adapter)


def image_processor() -> Any:
    """ViT's, for images of 8 by 8, as pillow does it."""
    made = getattr(transformers, "ViTImageProcessorPil", None) or transformers.ViTImageProcessor
    return made(size={"height": SIDE, "width": SIDE})


def _has(model: nn.Module, leaf: str) -> bool:
    return any(name.rsplit(".", 1)[-1] == leaf for name, _ in model.named_modules())


def _pixels(examples: Examples, processor: Any) -> tuple[Tensor, Tensor]:
    """[n, 3, 8, 8] and labels [n]."""
    from datainf.tasks.images import open_image

    images = [open_image(example["image"]) for example in examples]
    labels = torch.tensor([int(example["label"]) for example in examples])
    return processor(images=images, return_tensors="pt")["pixel_values"], labels


def _fit(
    model: Any, pixels: Tensor, labels: Tensor, *, epochs: int, learning_rate: float,
    advance: Callable[[int], None],
) -> None:  # fmt: skip
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=learning_rate, weight_decay=0.01)
    steps = epochs * -(-len(labels) // 32)
    schedule = transformers.get_cosine_schedule_with_warmup(optimizer, steps // 10, steps)
    model.train()
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(labels)), 32):
            loss = F.cross_entropy(model(pixel_values=pixels[rows]).logits, labels[rows])
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        advance(1)
    model.eval()
