"""EK-FAC by kronfluence on an exported fine-tuning; run it where kronfluence is installed.

    python kronfluence_scores.py EXPORTED SCORES

writes `SCORES/kronfluence EK-FAC.npz`: an array [queries, training rows] for each damping, a
positive score meaning that the row lowers the query's loss, and what it took.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments, ScoreArguments
from kronfluence.task import Task
from kronfluence.utils.dataset import DataLoaderKwargs
from peft import LoraConfig, PeftConfig, PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

NAME = "kronfluence EK-FAC"
OWN = 1e-8
DAMPINGS: dict[str, float | None] = {"own": OWN, "a tenth of the mean": None}
"""Its default, and the other that its documentation offers."""
AT_ONCE = 32


class Rows(Dataset[dict[str, Any]]):
    def __init__(self, path: Path) -> None:
        with path.open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        self.rows = [
            {key: row[key] for key in ("input_ids", "attention_mask", "labels")} for row in rows
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]


def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Padded at the right, under the mask; label −100 where there is none."""
    longest = max(len(row["input_ids"]) for row in rows)

    def padded(key: str, filler: int) -> Tensor:
        return torch.tensor([row[key] + [filler] * (longest - len(row[key])) for row in rows])

    labels = (
        padded("labels", -100)
        if isinstance(rows[0]["labels"], list)
        else torch.tensor([row["labels"] for row in rows])
    )
    return {
        "input_ids": padded("input_ids", 0),
        "attention_mask": padded("attention_mask", 0),
        "labels": labels,
    }


class Steps(Dataset[dict[str, Tensor]]):
    """A timestep of a picture is a row."""

    def __init__(self, path: Path) -> None:
        self.parts = load_file(path)

    def __len__(self) -> int:
        return len(self.parts["time"])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: values[index] for name, values in self.parts.items()}


class Losses(Task):  # type: ignore[misc]
    """The loss that was trained, a row's being the mean over its supervised tokens."""

    def __init__(self, tracked: list[str]) -> None:
        super().__init__()
        self.tracked = tracked

    def compute_train_loss(
        self, batch: dict[str, Tensor], model: nn.Module, sample: bool = False
    ) -> Tensor:
        logits = model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).logits.float()
        labels = batch["labels"]
        if labels.dim() == 2:
            logits, labels = logits[:, :-1], labels[:, 1:]
        known = labels != -100
        if sample:
            p = logits.detach().softmax(dim=-1)
            drawn = torch.multinomial(p.flatten(0, -2), 1).view(labels.shape)
            labels = torch.where(known, drawn, labels)
        losses = cross_entropy(
            logits.flatten(0, -2), labels.flatten(), reduction="none", ignore_index=-100
        ).view(labels.shape)
        if losses.dim() == 1:
            return losses.sum()
        return (losses.sum(dim=1) / known.sum(dim=1)).sum()

    def compute_measurement(self, batch: dict[str, Tensor], model: nn.Module) -> Tensor:
        return self.compute_train_loss(batch, model)

    def get_influence_tracked_modules(self) -> list[str]:
        return self.tracked

    def get_attention_mask(self, batch: dict[str, Tensor]) -> Tensor | None:
        return batch["attention_mask"]


class Denoising(Losses):
    """The mean squared error of a timestep."""

    def compute_train_loss(
        self, batch: dict[str, Tensor], model: nn.Module, sample: bool = False
    ) -> Tensor:
        said = model(batch["noisy"], batch["time"], batch["text"]).sample
        target, size = batch["target"], said[0].numel()
        if sample:  # of the variance for which the loss is a negative log-likelihood
            target = said.detach() + (size / 2) ** 0.5 * torch.randn_like(said)
        loss: Tensor = (said - target).square().sum() / size
        return loss

    def get_attention_mask(self, batch: dict[str, Tensor]) -> None:  # noqa: ARG002 - no padding
        return None


def main(exported: Path, out: Path) -> None:
    started = time.perf_counter()
    kind = json.loads((exported / "about.json").read_text())["kind"]
    pictures = kind == "pictures"
    model = load_denoiser(exported) if pictures else load(exported)
    tracked = [
        name for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.weight.requires_grad
    ]  # fmt: skip
    task = (Denoising if pictures else Losses)(tracked)
    analyzer = Analyzer(
        "run", prepare_model(model, task), task, cpu=True, output_dir=str(out / "kronfluence")
    )
    train: Any
    query: Any
    train, query = (
        Steps(exported / f"{name}.safetensors") if pictures else Rows(exported / f"{name}.jsonl")
        for name in ("train", "query")
    )
    if not pictures:
        analyzer.set_dataloader_kwargs(DataLoaderKwargs(collate_fn=collate))
    analyzer.fit_all_factors(
        "factors", train, per_device_batch_size=AT_ONCE,
        factor_args=FactorArguments(strategy="ekfac"), overwrite_output_dir=True,
    )  # fmt: skip
    found, seconds = {}, {"fitting": time.perf_counter() - started}
    for label, damping in DAMPINGS.items():
        started = time.perf_counter()
        analyzer.compute_pairwise_scores(
            "scores", "factors", query, train, per_device_query_batch_size=len(query),
            per_device_train_batch_size=AT_ONCE,
            score_args=ScoreArguments(damping_factor=damping), overwrite_output_dir=True,
        )  # fmt: skip
        scores = analyzer.load_pairwise_scores("scores")["all_modules"].float()
        if pictures:  # a picture's gradient is the mean of its timesteps'
            K = len(query.parts["time"].unique())
            scores = scores.unflatten(1, (-1, K)).unflatten(0, (-1, K)).mean(dim=(1, 3))
        found[label] = scores.numpy()
        seconds[label] = time.perf_counter() - started
    versions = {name: version(name) for name in ("kronfluence", "torch", "transformers", "peft")}
    about = json.dumps({"seconds": seconds, "versions": versions, "tracked": len(tracked)})
    np.savez(out / f"{NAME}.npz", **{"about": about, **found})


def load(exported: Path) -> nn.Module:
    adapter = exported / "adapter"
    base_path = PeftConfig.from_pretrained(adapter).base_model_name_or_path
    kind = json.loads((exported / "about.json").read_text())["kind"]
    options: dict[str, Any] = {"dtype": torch.float32}
    if kind == "classification":
        base = AutoModelForSequenceClassification.from_pretrained(
            base_path, num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
            **options,
        )  # fmt: skip
    else:
        base = AutoModelForCausalLM.from_pretrained(base_path, **options)
    model: nn.Module = PeftModel.from_pretrained(base, adapter, is_trainable=True)
    return model.eval()


def load_denoiser(exported: Path) -> nn.Module:
    from diffusers import UNet2DConditionModel

    base = json.loads((exported / "about.json").read_text())["base"]
    unet: Any = UNet2DConditionModel.from_pretrained(base, torch_dtype=torch.float32)
    unet.requires_grad_(False)
    unet.add_adapter(LoraConfig.from_pretrained(exported / "adapter"))
    set_peft_model_state_dict(unet, load_file(exported / "adapter" / "adapter_model.safetensors"))
    model: nn.Module = unet.eval()
    return model


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
