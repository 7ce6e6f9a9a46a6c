"""Sequence classification: loss = −log p(label | text), or of a pair of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datainf.errors import DataError, ModelError
from datainf.fingerprint import tokenizer_digest
from datainf.tasks.base import TRUNCATED, Task, pad, token_limit

MODEL_INPUTS = {"input_ids": None, "attention_mask": 0, "token_type_ids": 0}
"""What is handed to the model, with the value that pads it (None: the tokenizer's)."""


@dataclass(frozen=True)
class SequenceClassification(Task):
    """Cross-entropy of one label an example.

    Examples are mappings with `text` (and `text_pair`) or `input_ids`, and a `label`: a class
    index, or a class name of the model's `config.label2id`. Longer inputs are cut to
    `max_length` (None: the model's limit) as the tokenizer does it.
    """

    tokenizer: Any
    max_length: int | None = None
    num_labels: int | None = None  # taken from the model by `for_model`
    label2id: Mapping[str, int] = field(default_factory=dict)
    name: ClassVar[str] = "classification"

    def for_model(self, model: nn.Module) -> Self:
        config: Any = model.config
        if config.num_labels < 2 or config.problem_type in (
            "regression",
            "multi_label_classification",
        ):
            raise ModelError(
                f"the model is for {config.problem_type or 'regression'} with "
                f"{config.num_labels} output(s), not for one label out of several",
                remedy="datainf.tasks.Custom with your own loss",
            )
        self._require_padding(model)
        limit = token_limit(model, self.tokenizer)
        lengths = [length for length in (limit, self.max_length) if length is not None]
        return replace(
            self,
            max_length=min(lengths) if lengths else None,
            num_labels=config.num_labels,
            label2id={str(name): int(index) for name, index in (config.label2id or {}).items()},
        )

    def _require_padding(self, model: nn.Module) -> None:
        """A decoder classifies at the last token that is not padding, which it knows by its id."""
        config: Any = model.config
        ours, models = self.tokenizer.pad_token_id, config.get_text_config().pad_token_id
        if not hasattr(_base_model(model), "score"):  # the mask tells encoders
            return
        if ours is None or models is None or ours != models:
            raise ModelError(
                f"the tokenizer pads with {ours} and the model reads {models} as padding: it would "
                "classify at the wrong token",
                remedy="model.config.pad_token_id = tokenizer.pad_token_id, as in training",
            )

    def encode(self, example: Mapping[str, Any]) -> dict[str, Any]:
        if TRUNCATED in example:
            return dict(example)
        label = self._class_index(example)
        if "input_ids" in example:
            row = {key: list(example[key]) for key in MODEL_INPUTS if key in example}
            row.setdefault("attention_mask", [1] * len(row["input_ids"]))
            if self.max_length is not None and len(row["input_ids"]) > self.max_length:
                raise DataError(
                    f"the row has {len(row['input_ids'])} tokens and the limit is "
                    f"{self.max_length}",
                    remedy="tokenise with truncation, or give the text in place of input_ids",
                )
            return {**row, "label": label, TRUNCATED: 0}
        if "text" not in example:
            raise DataError(
                f"no text in the example: its columns are {', '.join(map(str, example))}",
                remedy="columns text (and text_pair) or input_ids, and label",
            )
        texts = [example["text"], *([example["text_pair"]] if "text_pair" in example else [])]
        row = self._tokens(texts)
        cut = 0
        if self.max_length is not None and len(row["input_ids"]) > self.max_length:
            cut = len(row["input_ids"]) - self.max_length
            row = self._tokens(texts, truncation=True, max_length=self.max_length)
        return {**row, "label": label, TRUNCATED: cut}

    def collate(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        encoded = [self.encode(example) for example in examples]
        pad_id = self.tokenizer.pad_token_id
        batch = {
            key: pad([row[key] for row in encoded], (pad_id or 0) if value is None else value)
            for key, value in MODEL_INPUTS.items()
            if key in encoded[0]
        }
        return {**batch, "labels": torch.tensor([row["label"] for row in encoded])}

    def losses(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        inputs = {key: value for key, value in batch.items() if key in MODEL_INPUTS}
        logits = model(**inputs).logits
        logits = logits if logits.itemsize >= 4 else logits.float()
        return F.cross_entropy(logits, batch["labels"].to(logits.device), reduction="none")

    def describe(self, example: Mapping[str, Any]) -> str:
        if "text" in example:
            text = " ‖ ".join(str(example[key]) for key in ("text", "text_pair") if key in example)
        else:
            text = str(self.tokenizer.decode(example["input_ids"], skip_special_tokens=True))
        return f"[{example['label']}] {text}"

    def settings(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "max_length": self.max_length,
            "num_labels": self.num_labels,
            "label2id": dict(self.label2id),
            "tokenizer": tokenizer_digest(self.tokenizer),
        }

    def _tokens(self, texts: Sequence[str], **options: Any) -> dict[str, list[int]]:
        encoded = self.tokenizer(*texts, verbose=False, **options)
        return {key: list(encoded[key]) for key in MODEL_INPUTS if key in encoded}

    def _class_index(self, example: Mapping[str, Any]) -> int:
        if example.get("label") is None:
            raise DataError("the example has no label", remedy="a column label, or --label-column")
        label = example["label"]
        if isinstance(label, str):
            if label in self.label2id:
                return self.label2id[label]
            if not label.strip().lstrip("-").isdecimal():
                known = ", ".join(list(self.label2id)[:10]) or "none"
                raise DataError(
                    f"label {label!r} is not a class of the model (its classes: {known})",
                    remedy="a class index, or the names of the model's config.label2id",
                )
        elif isinstance(label, float) and not label.is_integer():
            raise DataError(f"label {label!r} is not a class index", remedy="a whole number")
        index = int(label)
        if index < 0 or (self.num_labels is not None and index >= self.num_labels):
            most = "" if self.num_labels is None else f" 0 to {self.num_labels - 1}"
            raise DataError(
                f"label {index} is out of range: the model's classes are{most}",
                remedy="labels that count from 0, or the model that was trained on these labels",
            )
        return index


def _base_model(model: nn.Module) -> nn.Module:
    """The model inside its adapter."""
    unwrap = getattr(model, "get_base_model", None)
    inner: nn.Module = unwrap() if callable(unwrap) else model
    return inner
