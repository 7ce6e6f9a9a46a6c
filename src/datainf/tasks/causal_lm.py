"""Next-token prediction.

    loss = −(1/|S|) Σ_{t ∈ S} log p(token_t | tokens before t),

S being the example's supervised tokens: all of a `text` (but its first token, which nothing
predicts), the completion of a `prompt` + `completion`, the assistant's turns of `messages`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from datainf.errors import DataError
from datainf.fingerprint import tokenizer_digest
from datainf.tasks.answers import Answer, continuations, room_for
from datainf.tasks.base import IGNORE, TRUNCATED, Task, max_length_option, pad, shorter, token_limit
from datainf.tasks.inputs import require_known, vocabulary_of
from datainf.tasks.packing import refuse_packed
from datainf.tasks.sampling import Draws, sampled_token_losses
from datainf.tasks.streams import Stream, pieces
from datainf.tasks.token_losses import next_token, next_token_nll

SUPERVISED = ("completion_mask", "assistant_masks")
"""In tokenised rows, as TRL writes them: 1 where a token is supervised."""


@dataclass(frozen=True)
class CausalLM(Task):
    """A decoder's language-modelling loss.

    Examples are mappings with `input_ids` (used as they are, with `labels`, `attention_mask`,
    `completion_mask` and `assistant_masks` if given), `messages` (through the tokenizer's chat
    template), `prompt` + `completion`, or `text`. The end-of-sequence token is appended to texts
    and completions that do not end in it, unless `append_eos` is false. Sequences longer than
    `max_length` (None: the model's limit) lose their end. Packed rows are refused.
    """

    tokenizer: Any
    max_length: int | None = None
    append_eos: bool = True
    vocabulary: int | None = None  # taken from the model by `for_model`
    name: ClassVar[str] = "causal-lm"

    def for_model(self, model: nn.Module) -> Self:
        limit = shorter(self.max_length, token_limit(model, self.tokenizer))
        return replace(self, max_length=limit, vocabulary=vocabulary_of(model))

    def encode(self, example: Mapping[str, Any]) -> dict[str, Any]:
        if TRUNCATED in example:
            return dict(example)
        if "input_ids" in example:
            refuse_packed(example)
            ids, labels = _given(example)
        elif "messages" in example:
            ids, labels = self._conversation(example["messages"])
        elif "completion" in example:
            ids, labels = self._completion(example.get("prompt", ""), example["completion"])
        elif "text" in example:
            ids = self._tokens(self._with_eos(example["text"]))
            labels = list(ids)
        else:
            raise DataError(
                f"no text in the example: its columns are {', '.join(map(str, example))}",
                remedy="columns text; prompt and completion; messages; or input_ids",
            )
        row = self._cut(ids, labels)
        require_known(row, self.vocabulary, ("input_ids", "labels"))
        return row

    def collate(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        encoded = [self.encode(example) for example in examples]
        pad_id = self.tokenizer.pad_token_id
        return {
            # Which id pads is of no consequence under the mask; 0 exists in every vocabulary.
            "input_ids": pad(
                [row["input_ids"] for row in encoded], 0 if pad_id is None else pad_id
            ),
            "attention_mask": pad([row["attention_mask"] for row in encoded], 0),
            "labels": pad([row["labels"] for row in encoded], IGNORE),
        }

    def losses(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        sums, counts = next_token_nll(_logits(model, batch), batch["labels"])
        return sums / counts

    @property
    def can_sample(self) -> bool:
        return True

    def sampled_losses(self, model: nn.Module, batch: Mapping[str, Tensor], draws: Draws) -> Tensor:
        return sampled_token_losses(*next_token(_logits(model, batch), batch["labels"]), draws)

    def describe(self, example: Mapping[str, Any]) -> str:
        if "messages" in example:
            return "\n".join(f"{turn['role']}: {turn['content']}" for turn in example["messages"])
        if "completion" in example:
            return f"{example.get('prompt', '')}{example['completion']}"
        if "text" in example:
            return str(example["text"])
        return str(self.tokenizer.decode(example["input_ids"], skip_special_tokens=True))

    def streams(self, example: Mapping[str, Any]) -> list[Stream]:
        row = self.encode(example)
        learned = [label != IGNORE for label in row["labels"]]
        return [Stream("text", pieces(self.tokenizer, row["input_ids"]), learned)]

    def answers(self, model: nn.Module, examples: Sequence[Any]) -> list[Answer | None]:
        encoded = [self.encode(example) for example in examples]
        starts = [_last_start(row["labels"]) for row in encoded]
        limit = self.max_length or sys.maxsize
        asked = [place for place, start in enumerate(starts) if 0 < start < limit]
        prompts = [encoded[place]["input_ids"][: starts[place]] for place in asked]
        own = [encoded[place]["input_ids"][starts[place] :] for place in asked]
        left = [limit - len(prompt) for prompt in prompts]
        rooms = [room_for(len(ids), room) for ids, room in zip(own, left, strict=True)]
        said = continuations(model, self.tokenizer, prompts, own, rooms, echoed=True)
        found: list[Answer | None] = [None] * len(examples)
        for place, answer in zip(asked, said or [], strict=said is not None):
            found[place] = answer
        return found

    def shortening(self, length: int | None) -> list[str]:
        return max_length_option(length)

    def settings(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "max_length": self.max_length,
            "append_eos": self.append_eos,
            "tokenizer": tokenizer_digest(self.tokenizer),
        }

    def _tokens(self, text: str, *, special: bool = True) -> list[int]:
        encoded = self.tokenizer(text, add_special_tokens=special, truncation=False, verbose=False)
        return list(encoded["input_ids"])

    def _with_eos(self, text: str) -> str:
        eos = self.tokenizer.eos_token
        return text if not self.append_eos or eos is None or text.endswith(eos) else text + eos

    def _completion(self, prompt: str, completion: str) -> tuple[list[int], list[int]]:
        # Tokenised together, as the model would read them; the prompt ends where the two
        # tokenisations part, so that a token across the seam counts as completion.
        ids = self._tokens(self._with_eos(prompt + completion))
        start = common_prefix(self._tokens(prompt), ids) if prompt else 0
        return ids, [IGNORE] * start + ids[start:]

    def _conversation(self, messages: Sequence[Mapping[str, Any]]) -> tuple[list[int], list[int]]:
        ids = self._template(messages)
        labels = [IGNORE] * len(ids)
        for turn, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            asked = self._template(messages[:turn], generation=True) if turn else []
            start = common_prefix(asked, ids)
            stop = common_prefix(self._template(messages[: turn + 1]), ids)
            labels[start:stop] = ids[start:stop]
        return ids, labels

    def _template(self, messages: Sequence[Any], *, generation: bool = False) -> list[int]:
        if getattr(self.tokenizer, "chat_template", None) is None:
            raise DataError(
                "the rows hold messages, and the tokenizer has no chat template to write them with",
                remedy="a tokenizer with a chat_template, or columns prompt and completion",
            )
        text = self.tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=generation
        )
        return self._tokens(text, special=False)

    def _cut(self, ids: list[int], labels: list[int]) -> dict[str, Any]:
        keep = len(ids) if self.max_length is None else min(len(ids), self.max_length)
        if all(label == IGNORE for label in labels[1:keep]):
            where = f" within the first {keep} tokens" if keep < len(ids) else ""
            raise DataError(
                f"no token to learn from{where}: nothing but prompt, or a single token",
                remedy="a larger --max-length, or leave the row out",
            )
        return {
            "input_ids": ids[:keep],
            "attention_mask": [1] * keep,
            "labels": labels[:keep],
            TRUNCATED: len(ids) - keep,
        }


def _last_start(labels: Sequence[int]) -> int:
    """Where the last run of supervised tokens starts: a completion, or the assistant's last turn;
    0 where nothing comes before it."""
    stop = next((t for t in reversed(range(len(labels))) if labels[t] != IGNORE), 0)
    return next((t + 1 for t in reversed(range(stop)) if labels[t] == IGNORE), 0)


def _logits(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    logits: Tensor = model(**inputs).logits
    return logits


def _given(example: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    """Ids and labels of a row that was tokenised before, without the padding it came with."""
    ids = [int(token) for token in example["input_ids"]]
    parts: dict[str, list[int]] = {"attention_mask": [1] * len(ids), "labels": list(ids)}
    for part in (*parts, *SUPERVISED):
        if example.get(part) is not None:
            parts[part] = [int(value) for value in example[part]]
    if any(len(values) != len(ids) for values in parts.values()):
        lengths = ", ".join(str(len(values)) for values in (ids, *parts.values()))
        raise DataError(f"input_ids, {' and '.join(parts)} differ in length: {lengths}")
    mask, labels = parts.pop("attention_mask"), parts.pop("labels")
    for marks in parts.values():
        labels = [label if mark else IGNORE for label, mark in zip(labels, marks, strict=True)]
    kept = [position for position, keep in enumerate(mask) if keep]
    return [ids[position] for position in kept], [labels[position] for position in kept]


def common_prefix(left: Sequence[Any], right: Sequence[Any]) -> int:
    """How many items both begin with."""
    length = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        length += 1
    return length
