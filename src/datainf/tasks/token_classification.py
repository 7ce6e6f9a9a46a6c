"""A label for each word: loss = −(1/|S|) Σ_{t ∈ S} log p(tag_t | tokens).

S are the labelled tokens: the first of each word, or those whose label is not −100.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from datainf.errors import DataError
from datainf.fingerprint import tokenizer_digest
from datainf.tasks.answers import Answer, one_by_one
from datainf.tasks.base import IGNORE, TRUNCATED, Task, max_length_option, shorter, token_limit
from datainf.tasks.inputs import (
    MODEL_INPUTS,
    given_inputs,
    pad_inputs,
    pad_labels,
    require_fast,
    require_known,
    tokens_within,
    vocabulary_of,
)
from datainf.tasks.labels import Labels, plain
from datainf.tasks.sampling import Draws, sampled_token_losses
from datainf.tasks.streams import Stream, pieces
from datainf.tasks.token_losses import token_nll


@dataclass(frozen=True)
class TokenClassification(Task):
    """Cross-entropy of tags, such as those of named entities.

    Examples are mappings with `tokens` (a list of words) and `tags` (for each a class index, a
    class name of the model's `config.label2id`, or −100 for none); or with `input_ids` and
    `labels`. Inputs longer than `max_length` (None: the model's limit) lose their last words.
    """

    tokenizer: Any
    max_length: int | None = None
    labels: Labels = field(default_factory=Labels)  # taken from the model by `for_model`
    vocabulary: int | None = None  # so too
    name: ClassVar[str] = "token-classification"

    def for_model(self, model: nn.Module) -> Self:
        config: Any = model.config
        labels = replace(Labels.of(config), problem="single_label_classification")
        limit = shorter(self.max_length, token_limit(model, self.tokenizer))
        vocabulary = vocabulary_of(model)
        return replace(self, max_length=limit, labels=labels, vocabulary=vocabulary)

    def encode(self, example: Mapping[str, Any]) -> dict[str, Any]:
        if TRUNCATED in example:
            return dict(example)
        row = self._given(example) if "input_ids" in example else self._tokenized(example)
        require_known(row, self.vocabulary)
        return row

    def _tokenized(self, example: Mapping[str, Any]) -> dict[str, Any]:
        words, tags = self._words(example)
        require_fast(self.tokenizer, "tagging words")
        texts = {"text": words, "is_split_into_words": True}
        row, cut = tokens_within(self.tokenizer, self.max_length, texts)
        labels = _at_first_tokens(row.word_ids(), tags)
        inputs = {key: list(row[key]) for key in MODEL_INPUTS if key in row}
        _require_a_label(labels, cut)
        return {**inputs, "labels": labels, TRUNCATED: cut}

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
        if "tokens" in example:
            pairs = zip(example["tokens"], example["tags"], strict=False)
            return " ".join(f"{word}/{tag}" for word, tag in pairs)
        return str(self.tokenizer.decode(example["input_ids"], skip_special_tokens=True))

    def streams(self, example: Mapping[str, Any]) -> list[Stream]:
        row = self.encode(example)
        learned = [label != IGNORE for label in row["labels"]]
        return [Stream("text", pieces(self.tokenizer, row["input_ids"]), learned)]

    def answers(self, model: nn.Module, examples: Sequence[Any]) -> list[Answer | None]:
        encoded = [self.encode(example) for example in examples]
        outputs = one_by_one(model, encoded, self.collate, _logits)
        return [self._answer(row["labels"], out) for row, out in zip(encoded, outputs, strict=True)]

    def _answer(self, labels: Sequence[int], logits: Tensor) -> Answer:
        """The tags of the labelled tokens, as the model gives them and as they are."""
        places = [t for t, label in enumerate(labels) if label != IGNORE]
        said = [int(logits[t].argmax()) for t in places]
        own = [labels[t] for t in places]
        text, given = (" ".join(map(self.labels.name, tags)) for tags in (said, own))
        return Answer(text, given, agrees=said == own)

    def shortening(self, length: int | None) -> list[str]:
        return max_length_option(length)

    def settings(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "max_length": self.max_length,
            **self.labels.settings(),
            "tokenizer": tokenizer_digest(self.tokenizer),
        }

    def _words(self, example: Mapping[str, Any]) -> tuple[list[str], list[int]]:
        if "tokens" not in example or "tags" not in example:
            raise DataError(
                f"no tagged words in the example: its columns are {', '.join(map(str, example))}",
                remedy="columns tokens and tags (or ner_tags), or input_ids and labels",
            )
        words, tags = list(example["tokens"]), list(example["tags"])
        if not words or not all(isinstance(word, str) for word in words):
            raise DataError("tokens is not a list of words", remedy='["a", "word", "each"]')
        if len(words) != len(tags):
            raise DataError(
                f"there are {len(words)} tokens and {len(tags)} tags", remedy="a tag for each word"
            )
        return words, [self._tag(tag) for tag in tags]

    def _tag(self, tag: Any) -> int:
        tag = plain(tag)
        if tag is None or isinstance(tag, bool):
            raise DataError(f"the tag {tag!r} is neither a class index nor a class name")
        return IGNORE if tag == IGNORE else self.labels.class_index(tag)

    def _given(self, example: Mapping[str, Any]) -> dict[str, Any]:
        row = given_inputs(example, self.max_length)
        if "labels" not in example:
            raise DataError("the row has input_ids and no labels", remedy="a label for each token")
        labels = [self._tag(label) for label in example["labels"]]
        if len(labels) != len(row["input_ids"]):
            raise DataError(
                f"there are {len(row['input_ids'])} input_ids and {len(labels)} labels",
                remedy="a label for each token, -100 where there is none",
            )
        # Padding that the row came with may carry labels; it is not the example's.
        kept = [label if keep else IGNORE for label, keep in zip(labels, row["attention_mask"],
                                                                strict=True)]  # fmt: skip
        _require_a_label(kept, 0)
        return {**row, "labels": kept, TRUNCATED: 0}


def _logits(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """[rows, T, classes], aligned to the labels: a soft prompt's outputs stand in front."""
    inputs = {key: value for key, value in batch.items() if key in MODEL_INPUTS}
    logits: Tensor = model(**inputs).logits
    return logits[:, -batch["labels"].shape[1] :]


def _at_first_tokens(word_ids: Sequence[int | None], tags: Sequence[int]) -> list[int]:
    """The tag of a word at its first token, −100 at all others."""
    labels, before = [], None
    for word in word_ids:
        labels.append(IGNORE if word is None or word == before else tags[word])
        before = word
    return labels


def _require_a_label(labels: Sequence[int], cut: int) -> None:
    if all(label == IGNORE for label in labels):
        where = f" within the first {len(labels)} tokens" if cut else ""
        raise DataError(
            f"no labelled token{where}", remedy="a larger --max-length, or leave the row out"
        )
