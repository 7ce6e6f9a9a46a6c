"""Sequence classification and regression, of a text or a pair of texts.

The loss is that of `tasks.labels`: −log p(label | text) where a text has one label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from datainf.errors import CoverageError, DataError, ModelError
from datainf.fingerprint import tokenizer_digest
from datainf.tasks.answers import Answer, label_answers, one_by_one
from datainf.tasks.base import (
    TRUNCATED,
    Task,
    max_length_option,
    shorter,
    soft_prompt_tokens,
    token_limit,
)
from datainf.tasks.inputs import (
    MODEL_INPUTS,
    base_model,
    given_inputs,
    pad_inputs,
    require_known,
    tokens_within,
    vocabulary_of,
)
from datainf.tasks.labels import Labels
from datainf.tasks.sampling import Draws
from datainf.tasks.streams import Stream, pieces


@dataclass(frozen=True)
class SequenceClassification(Task):
    """Cross-entropy of a label, or what the model's `config.problem_type` has in its place.

    Examples are mappings with `text` (and `text_pair`) or `input_ids`, and a `label`: a class
    index or a class name of the model's `config.label2id`; for several labels an example a list of
    these, or a 0 or 1 for each class; for regression a number, or a list of one for each output.
    Longer inputs are cut to `max_length` (None: the model's limit) as the tokenizer does it.
    """

    tokenizer: Any
    max_length: int | None = None
    labels: Labels = field(default_factory=Labels)  # taken from the model by `for_model`
    vocabulary: int | None = None  # so too
    name: ClassVar[str] = "classification"

    def for_model(self, model: nn.Module) -> Self:
        labels = Labels.of(model.config)
        self._require_padding(model)
        limit = shorter(self.max_length, token_limit(model, self.tokenizer))
        vocabulary = vocabulary_of(model)
        return replace(self, max_length=limit, labels=labels, vocabulary=vocabulary)

    def _require_padding(self, model: nn.Module) -> None:
        """A decoder classifies at the last token that is not padding, which it knows by its id."""
        config: Any = model.config
        ours, models = self.tokenizer.pad_token_id, config.get_text_config().pad_token_id
        if not _is_decoder(model):  # the mask tells encoders
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
        label = self.labels.read(example)
        inputs, cut = self._inputs(example)
        require_known(inputs, self.vocabulary)
        return {**inputs, "label": label, TRUNCATED: cut}

    def _inputs(self, example: Mapping[str, Any]) -> tuple[dict[str, list[int]], int]:
        """What the model reads, and how many tokens were cut."""
        if "input_ids" in example:
            return given_inputs(example, self.max_length), 0
        if "text" not in example:
            raise DataError(
                f"no text in the example: its columns are {', '.join(map(str, example))}",
                remedy="columns text (and text_pair) or input_ids, and label",
            )
        texts = {key: example[key] for key in ("text", "text_pair") if key in example}
        row, cut = tokens_within(self.tokenizer, self.max_length, texts)
        return {key: list(row[key]) for key in MODEL_INPUTS if key in row}, cut

    def target_kind(self, example: Mapping[str, Any]) -> str:
        return self.labels.kind(example["label"])

    def collate(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        encoded = [self.encode(example) for example in examples]
        targets = self.labels.collate([row["label"] for row in encoded])
        return {**pad_inputs(encoded, self.tokenizer), "labels": targets}

    def losses(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        return self.labels.losses(_logits(model, batch), batch["labels"])

    @property
    def can_sample(self) -> bool:
        return True

    @property
    def one_target(self) -> bool:
        return self.labels.one_number

    def sampled_losses(self, model: nn.Module, batch: Mapping[str, Tensor], draws: Draws) -> Tensor:
        return self.labels.sampled_losses(_logits(model, batch), batch["labels"], draws)

    def describe(self, example: Mapping[str, Any]) -> str:
        if "text" in example:
            text = " ‖ ".join(str(example[key]) for key in ("text", "text_pair") if key in example)
        else:
            text = str(self.tokenizer.decode(example["input_ids"], skip_special_tokens=True))
        return f"[{example['label']}] {text}"

    def streams(self, example: Mapping[str, Any]) -> list[Stream]:
        return [Stream("text", pieces(self.tokenizer, self.encode(example)["input_ids"]))]

    @property
    def guessing(self) -> float | None:
        return self.labels.guessing

    def class_name(self, example: Mapping[str, Any]) -> str | None:
        return self.labels.class_name(example)

    def answers(self, model: nn.Module, examples: Sequence[Any]) -> list[Answer | None]:
        encoded = [self.encode(example) for example in examples]
        outputs = one_by_one(model, encoded, self.collate, _logits)
        return [*label_answers(self.labels, outputs, [row["label"] for row in encoded])]

    def shortening(self, length: int | None) -> list[str]:
        return max_length_option(length)

    def settings(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "max_length": self.max_length,
            **self.labels.settings(),
            "tokenizer": tokenizer_digest(self.tokenizer),
        }


def _logits(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    _require_unpadded_soft_prompt(model, batch["attention_mask"])
    logits: Tensor = model(**{k: v for k, v in batch.items() if k in MODEL_INPUTS}).logits
    return logits


def _is_decoder(model: nn.Module) -> bool:
    return hasattr(base_model(model), "score")


def _require_unpadded_soft_prompt(model: nn.Module, mask: Tensor) -> None:
    """Behind a soft prompt a decoder gets embeddings, not ids: it then classifies at the last
    position, padding or not. Examples taken alone have no padding.
    """
    if not soft_prompt_tokens(model) or not _is_decoder(model) or bool(mask.all()):
        return
    raise CoverageError(
        "behind a soft prompt the model classifies at the last position, which is padding in a "
        "batch of unequal lengths",
        remedy="allow the fallback, which takes each example alone",
    )
