"""Image classification: loss = −log p(label | image), or as `tasks.labels` has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from datainf.errors import DataError
from datainf.fingerprint import digest
from datainf.tasks.answers import Answer, label_answers, one_by_one
from datainf.tasks.base import TRUNCATED, Task
from datainf.tasks.images import image_name, open_image
from datainf.tasks.labels import Labels
from datainf.tasks.sampling import Draws

PATCH = 16
"""Side of a patch in pixels where the model does not say: it bounds batches, nothing else."""


@dataclass(frozen=True)
class ImageClassification(Task):
    """Cross-entropy of an image's label.

    Examples are mappings with `image` (a path, bytes, a PIL image or what `datasets` gives), which
    goes through the model's image processor; or with `pixel_values` [channels, height, width],
    which are used as they are; and a `label` as for `SequenceClassification`.
    """

    processor: Any
    labels: Labels = field(default_factory=Labels)  # taken from the model by `for_model`
    patch: int = PATCH
    name: ClassVar[str] = "image-classification"

    def for_model(self, model: nn.Module) -> Self:
        config: Any = model.config
        side = getattr(config, "patch_size", None)
        patch = side if isinstance(side, int) and side > 0 else PATCH
        return replace(self, labels=Labels.of(config), patch=patch)

    def encode(self, example: Mapping[str, Any]) -> dict[str, Any]:
        if TRUNCATED in example:
            return dict(example)
        label = self.labels.read(example)
        if "pixel_values" in example:
            pixels = _given(example["pixel_values"])
        elif "image" in example:
            image = open_image(example["image"])
            pixels = self.processor(images=image, return_tensors="pt")["pixel_values"][0]
        else:
            raise DataError(
                f"no image in the example: its columns are {', '.join(map(str, example))}",
                remedy="columns image or pixel_values, and label",
            )
        return {"pixel_values": pixels, "label": label, TRUNCATED: 0}

    def target_kind(self, example: Mapping[str, Any]) -> str:
        return self.labels.kind(example["label"])

    def collate(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        encoded = [self.encode(example) for example in examples]
        sizes = {tuple(row["pixel_values"].shape) for row in encoded}
        if len(sizes) > 1:
            raise DataError(
                f"the images are of different sizes: {', '.join(map(str, sorted(sizes)))}",
                remedy="a column image in place of pixel_values, or a processor that resizes",
            )
        return {
            "pixel_values": torch.stack([row["pixel_values"] for row in encoded]),
            "labels": self.labels.collate([row["label"] for row in encoded]),
        }

    def losses(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        return self.labels.losses(_logits(model, batch), batch["labels"])

    @property
    def can_sample(self) -> bool:
        return True

    @property
    def one_target(self) -> bool:
        return True

    def sampled_losses(self, model: nn.Module, batch: Mapping[str, Tensor], draws: Draws) -> Tensor:
        return self.labels.sampled_losses(_logits(model, batch), batch["labels"], draws)

    def describe(self, example: Mapping[str, Any]) -> str:
        name = image_name(example.get("image"))
        shown = "an image without a name" if name is None else Path(name).name
        return f"[{example['label']}] {shown}"

    @property
    def guessing(self) -> float | None:
        return self.labels.guessing

    def class_name(self, example: Mapping[str, Any]) -> str | None:
        return self.labels.class_name(example)

    def answers(self, model: nn.Module, examples: Sequence[Any]) -> list[Answer | None]:
        encoded = [self.encode(example) for example in examples]
        outputs = one_by_one(model, encoded, self.collate, _logits)
        return [*label_answers(self.labels, outputs, [row["label"] for row in encoded])]

    def length(self, example: Any) -> int:
        """Patches, and one for the class token."""
        pixels: Tensor = example["pixel_values"]
        height, width = pixels.shape[-2:]
        return max(1, height // self.patch) * max(1, width // self.patch) + 1

    def settings(self) -> dict[str, Any]:
        return {
            "name": self.name,
            **self.labels.settings(),
            "processor": digest(self.processor.to_json_string()),
        }


def _logits(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    logits: Tensor = model(pixel_values=batch["pixel_values"].to(dtype)).logits
    return logits


def _given(values: Any) -> Tensor:
    try:
        pixels = torch.as_tensor(values, dtype=torch.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"pixel_values cannot be used: {error}") from None
    if pixels.dim() != 3 or not bool(torch.isfinite(pixels).all()):
        raise DataError(
            f"pixel_values of shape {tuple(pixels.shape)} are no image of finite numbers",
            remedy="[channels, height, width], as the image processor gives them",
        )
    return pixels
