"""Encoder-decoder language modelling.

    loss = −(1/|T|) Σ_{t ∈ T} log p(target_t | source, target before t)

T being all of the target's tokens, its end-of-sequence token among them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch.nn.functional as F
from torch import Tensor, nn

from datainf.errors import DataError, ModelError, OptionError
from datainf.fingerprint import tokenizer_digest
from datainf.tasks.answers import Answer, continuations, room_for
from datainf.tasks.base import FEWEST_TOKENS, IGNORE, TRUNCATED, Task, shorter, token_limit
from datainf.tasks.inputs import (
    base_model,
    given_inputs,
    pad_inputs,
    pad_labels,
    require_known,
    targets_of,
    tokens_within,
    vocabulary_of,
)
from datainf.tasks.sampling import Draws, sampled_token_losses
from datainf.tasks.streams import Stream, pieces
from datainf.tasks.token_losses import token_nll

INPUTS = ("input_ids", "attention_mask")


@dataclass(frozen=True)
class Seq2Seq(Task):
    """The loss of a target given its source, as for T5 or BART.

    Examples are mappings with `source` and `target`, or with `input_ids` and `labels`. Both texts
    go through the tokenizer, which adds its special tokens. Sources longer than `max_length` and
    targets longer than `max_target_length` (None: the model's limit) lose their end. The decoder's
    inputs are made from the labels by the model itself.
    """

    tokenizer: Any
    max_length: int | None = None
    max_target_length: int | None = None
    vocabulary: int | None = None  # the encoder's, taken from the model by `for_model`
    targets: int | None = None  # the decoder's
    name: ClassVar[str] = "seq2seq"

    def __post_init__(self) -> None:
        if self.max_target_length is not None and self.max_target_length < 1:
            raise OptionError(
                f"the maximal length of a target must be at least 1, got {self.max_target_length}"
            )

    def for_model(self, model: nn.Module) -> Self:
        config: Any = base_model(model).config
        if not config.is_encoder_decoder:
            raise ModelError(
                f"{type(base_model(model)).__name__} has no encoder and decoder",
                remedy="datainf.tasks.CausalLM (--task causal-lm) for a decoder alone",
            )
        limit = token_limit(model, self.tokenizer)
        return replace(
            self,
            max_length=shorter(self.max_length, limit),
            max_target_length=shorter(self.max_target_length, limit),
            vocabulary=vocabulary_of(model),
            targets=targets_of(model),
        )

    def encode(self, example: Mapping[str, Any]) -> dict[str, Any]:
        if TRUNCATED in example:
            return dict(example)
        row = self._given(example) if "input_ids" in example else self._tokenized(example)
        require_known(row, self.vocabulary)
        require_known(row, self.targets, ("labels",))
        return row

    def _tokenized(self, example: Mapping[str, Any]) -> dict[str, Any]:
        if "source" not in example or "target" not in example:
            raise DataError(
                f"no source and target in the example: its columns are "
                f"{', '.join(map(str, example))}",
                remedy="columns source and target, or input_ids and labels",
            )
        row, cut = tokens_within(self.tokenizer, self.max_length, {"text": example["source"]})
        target, cut_target = tokens_within(
            self.tokenizer, self.max_target_length, {"text_target": example["target"]}
        )
        if not target["input_ids"]:
            raise DataError("the target has no token", remedy="fill it in, or leave the row out")
        inputs = {key: list(row[key]) for key in INPUTS}
        return {**inputs, "labels": list(target["input_ids"]), TRUNCATED: cut + cut_target}

    def collate(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        encoded = [self.encode(example) for example in examples]
        return {**pad_inputs(encoded, self.tokenizer), "labels": pad_labels(encoded)}

    def losses(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        sums, counts = token_nll(_logits(model, batch), batch["labels"])
        return sums / counts

    @property
    def can_sample(self) -> bool:
        return True

    def sampled_losses(self, model: nn.Module, batch: Mapping[str, Tensor], draws: Draws) -> Tensor:
        return sampled_token_losses(_logits(model, batch), batch["labels"], draws)

    def describe(self, example: Mapping[str, Any]) -> str:
        if "source" in example:
            return f"{example['source']} → {example['target']}"
        parts = [[t for t in example[key] if t != IGNORE] for key in ("input_ids", "labels")]
        return " → ".join(
            str(self.tokenizer.decode(part, skip_special_tokens=True)) for part in parts
        )

    def streams(self, example: Mapping[str, Any]) -> list[Stream]:
        """The decoder reads the target a token late, behind a token that starts it; the last is
        read only where `told_apart` adds a position."""
        row = self.encode(example)
        target = [t if t != IGNORE else self.tokenizer.pad_token_id or 0 for t in row["labels"]]
        source = pieces(self.tokenizer, row["input_ids"])
        read = ["<start>", *pieces(self.tokenizer, target)]
        if len(source) != len(target):
            read = read[:-1]
        return [Stream("source", source, axis="source"), Stream("target", read, axis="target")]

    def told_apart(self, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        labels = batch["labels"]
        if labels.shape[1] != batch["input_ids"].shape[1]:
            return batch
        return {**batch, "labels": F.pad(labels, (0, 1), value=IGNORE)}

    def answers(self, model: nn.Module, examples: Sequence[Any]) -> list[Answer | None]:
        encoded = [self.encode(example) for example in examples]
        targets = [[t for t in row["labels"] if t != IGNORE] for row in encoded]
        limit = self.max_target_length or sys.maxsize
        rooms = [room_for(len(target), limit) for target in targets]
        sources = [row["input_ids"] for row in encoded]
        said = continuations(model, self.tokenizer, sources, targets, rooms, echoed=False)
        return [None] * len(examples) if said is None else [*said]

    def length(self, example: Any) -> int:
        """Tokens of source and target together."""
        return super().length(example) + len(example.get("labels", ()))

    def shortening(self, length: int | None) -> list[str]:
        if length is not None and length < FEWEST_TOKENS:
            return []
        together = "" if length is None else f", {length} together"
        return [f"--max-length and --max-target-length{together}"]

    def settings(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "max_length": self.max_length,
            "max_target_length": self.max_target_length,
            "tokenizer": tokenizer_digest(self.tokenizer),
        }

    def _given(self, example: Mapping[str, Any]) -> dict[str, Any]:
        row = given_inputs(example, self.max_length)
        labels = [int(label) for label in example.get("labels") or ()]
        while labels and labels[-1] == IGNORE:  # padding that the row came with
            labels = labels[:-1]
        limit = self.max_target_length
        kept = labels if limit is None else labels[:limit]
        if all(label == IGNORE for label in kept):
            raise DataError("no label to learn from", remedy="labels, or columns source and target")
        inputs = {key: row[key] for key in INPUTS}
        return {**inputs, "labels": kept, TRUNCATED: max(0, len(labels) - (limit or len(labels)))}


def _logits(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """[rows, T, vocabulary], aligned to the labels; some soft prompts stand in front of the
    decoder's tokens too."""
    inputs = {key: batch[key] for key in INPUTS}
    logits: Tensor = model(**inputs, labels=batch["labels"]).logits
    return logits[:, -batch["labels"].shape[1] :]
