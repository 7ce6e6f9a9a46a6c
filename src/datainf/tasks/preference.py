"""Preference pairs: direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290).

    loss = −log σ(β[(log π(y_w|x) − log ref(y_w|x)) − (log π(y_l|x) − log ref(y_l|x))])

with the log-probabilities summed over the tokens of the chosen completion y_w and the rejected y_l.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from datainf.errors import DataError, ModelError, OptionError
from datainf.tasks.answers import Answer, one_by_one, preference
from datainf.tasks.base import FEWEST_TOKENS, IGNORE, TRUNCATED, max_length_option, pad
from datainf.tasks.causal_lm import CausalLM, common_prefix
from datainf.tasks.inputs import require_known
from datainf.tasks.preference_loss import LossName, PreferenceLoss
from datainf.tasks.reference import as_reference, has_reference, is_merged
from datainf.tasks.streams import Stream, pieces
from datainf.tasks.token_losses import next_token_nll

REFERENCE_LOGPS = ("ref_chosen_logps", "ref_rejected_logps")
IDS = ("prompt_ids", "chosen_ids", "rejected_ids")


@dataclass(frozen=True)
class Preference(CausalLM):
    """DPO, and its variants in `datainf.tasks.preference_loss`.

    Examples are mappings with `chosen` and `rejected`, and the `prompt` that comes before both,
    as texts or as lists of messages; without a prompt, what the two begin with is the prompt. Or
    they hold `prompt_ids`, `chosen_ids` and `rejected_ids`, as TRL's DPOTrainer prepares them.
    Pairs longer than `max_length` lose the start of their prompt, and only then the end of their
    completions.

    The reference is the model with its adapter off; or the adapter named "ref" if the model has
    one, as TRL leaves it; or `ref_chosen_logps` and `ref_rejected_logps` of the examples.
    """

    beta: float = 0.1
    label_smoothing: float = 0.0
    loss: LossName = "sigmoid"
    own_reference: bool = True  # whether the model offers one; found by `for_model`
    name: ClassVar[str] = "preference"
    parts = 2

    def __post_init__(self) -> None:
        PreferenceLoss(self.loss, self.beta, self.label_smoothing)
        if self.max_length is not None and self.max_length < FEWEST_TOKENS:
            raise OptionError(
                f"max_length must be at least {FEWEST_TOKENS} tokens, got {self.max_length}"
            )

    def for_model(self, model: nn.Module) -> Self:
        if has_reference(model) and is_merged(model):
            raise ModelError(
                "the adapter is merged into its base, which is the reference",
                remedy="model.unmerge_adapter()",
            )
        return replace(super().for_model(model), own_reference=has_reference(model))

    def encode(self, example: Mapping[str, Any]) -> dict[str, Any]:
        if TRUNCATED in example:
            return dict(example)
        logps = {key: float(example[key]) for key in REFERENCE_LOGPS if key in example}
        if len(logps) < 2 and not self.own_reference:
            raise ModelError(
                "nothing to compare with: the model has no adapter that could be put aside, and "
                "the examples hold no log-probabilities of a reference",
                remedy="a peft model, or columns ref_chosen_logps and ref_rejected_logps",
            )
        pair = self._fitted(*self._ids(example))
        require_known(pair, self.vocabulary, IDS)
        return {**pair, **(logps if len(logps) == 2 else {})}

    def collate(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        encoded = [self.encode(example) for example in examples]
        rows = [
            (pair["prompt_ids"], pair[completion])
            for completion in ("chosen_ids", "rejected_ids")
            for pair in encoded
        ]
        batch = {
            "input_ids": pad([[*x, *y] for x, y in rows], self.tokenizer.pad_token_id or 0),
            "attention_mask": pad([[1] * (len(x) + len(y)) for x, y in rows], 0),
            "labels": pad([[IGNORE] * len(x) + y for x, y in rows], IGNORE),
        }
        given = [pair for pair in encoded if REFERENCE_LOGPS[0] in pair]
        if 0 < len(given) < len(encoded):
            raise DataError(
                "some examples hold log-probabilities of a reference and some do not",
                remedy=f"{' and '.join(REFERENCE_LOGPS)} in all of them, or in none",
            )
        for key in REFERENCE_LOGPS if given else ():
            batch[key] = torch.tensor([pair[key] for pair in given])
        return batch

    def losses(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        return self._loss(*self._compared(model, batch))

    @property
    def _loss(self) -> PreferenceLoss:
        return PreferenceLoss(self.loss, self.beta, self.label_smoothing)

    def _compared(
        self, model: nn.Module, batch: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of each row of a batch the log-probabilities of its completion under the policy and under
        the reference, and its tokens, [rows] each."""
        inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
        labels = batch["labels"]
        if REFERENCE_LOGPS[0] in batch:
            reference = torch.cat([batch[key] for key in REFERENCE_LOGPS])
        else:  # before the policy: nothing changes any more once its graph stands
            with torch.no_grad(), as_reference(model):
                reference = completion_logps(model, inputs, labels)
        policy = completion_logps(model, inputs, labels)
        tokens = (labels != IGNORE).sum(dim=1).to(policy.device)
        return policy, reference.to(policy.device), tokens

    @property
    def uses_reference(self) -> bool:
        return self.own_reference

    @property
    def can_sample(self) -> bool:
        return False  # of hinge and ipo there is no likelihood, of a pair no text to draw

    def streams(self, example: Mapping[str, Any]) -> list[Stream]:
        pair, found = self.encode(example), []
        for row, name in enumerate(("chosen", "rejected")):
            prompt, completion = pair["prompt_ids"], pair[f"{name}_ids"]
            learned = [False] * len(prompt) + [True] * len(completion)
            read = pieces(self.tokenizer, [*prompt, *completion])
            found.append(Stream(name, read, learned, row))
        return found

    def answers(self, model: nn.Module, examples: Sequence[Any]) -> list[Answer | None]:
        """Which completion the model prefers, beside its reference: two passes a pair, of either
        one, and no text that would take long."""
        encoded = [self.encode(example) for example in examples]
        margins = one_by_one(
            model, encoded, self.collate, lambda *of: self._loss.margins(*self._compared(*of))
        )
        return [preference(float(margin)) for margin in margins]

    def length(self, example: Mapping[str, Any]) -> int:
        """Tokens of the pair's two rows, both as long as the longer one."""
        prompt, chosen, rejected = (len(example[key]) for key in IDS)
        return 2 * (prompt + max(chosen, rejected))

    def shortening(self, length: int | None) -> list[str]:
        return max_length_option(None if length is None else length // 2)

    def describe(self, example: Mapping[str, Any]) -> str:
        if IDS[1] in example:
            shown = [
                self.tokenizer.decode(example[key], skip_special_tokens=True)
                for key in IDS
                if key in example
            ]
            prompt, chosen, rejected = ["", *shown][-3:]
        else:
            parts = (example.get("prompt", ""), example["chosen"], example["rejected"])
            prompt, chosen, rejected = (_words(part) for part in parts)
        return f"{prompt}\n+ {chosen}\n− {rejected}".lstrip("\n")

    def settings(self) -> dict[str, Any]:
        return {
            **super().settings(),
            "loss": self.loss,
            "beta": self.beta,
            "label_smoothing": self.label_smoothing,
        }

    def _ids(self, example: Mapping[str, Any]) -> tuple[list[int], list[int], list[int]]:
        """The tokens of prompt, chosen and rejected."""
        if all(key in example for key in IDS):
            prompt, chosen, rejected = ([int(token) for token in example[key]] for key in IDS)
            return prompt, chosen, rejected
        if "chosen" not in example or "rejected" not in example:
            raise DataError(
                f"no pair in the example: its columns are {', '.join(map(str, example))}",
                remedy="columns chosen and rejected, and prompt; or prompt_ids, chosen_ids and "
                "rejected_ids",
            )
        prompt, chosen, rejected = _parts(example)
        both = []
        for completion in (chosen, rejected):
            if isinstance(prompt, str):
                ids, labels = self._completion(prompt, completion)
            else:
                ids, labels = self._answer(prompt, completion)
            supervised = (t for t, label in enumerate(labels) if label != IGNORE)
            both.append((ids, next(supervised, len(ids))))
        # One prompt for both: it ends where either completion's tokens begin.
        start = min(start for _, start in both)
        return both[0][0][:start], both[0][0][start:], both[1][0][start:]

    def _answer(self, prompt: Sequence[Any], answer: Sequence[Any]) -> tuple[list[int], list[int]]:
        ids = self._template([*prompt, *answer])
        asked = self._template(prompt, generation=True) if prompt else []
        start = common_prefix(asked, ids)
        return ids, [IGNORE] * start + ids[start:]

    def _fitted(self, prompt: list[int], chosen: list[int], rejected: list[int]) -> dict[str, Any]:
        longest = max(len(chosen), len(rejected))
        if longest < (1 if prompt else 2):
            raise DataError(
                "no token to learn from: both completions are empty",
                remedy="leave the row out",
            )
        keep, room = len(prompt), longest
        if self.max_length is not None and keep + longest > self.max_length:
            # One token of the prompt stays, for the first of the completion to be predicted from.
            keep = min(keep, max(self.max_length - longest, 1))
            room = self.max_length - keep
        fitted = prompt[len(prompt) - keep :], chosen[:room], rejected[:room]
        cut = len(prompt) - keep + max(0, len(chosen) - room) + max(0, len(rejected) - room)
        return {**dict(zip(IDS, fitted, strict=True)), TRUNCATED: cut}


def completion_logps(model: nn.Module, inputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
    """log π(completion | prompt), summed over its tokens, [rows]."""
    sums, _ = next_token_nll(model(**inputs).logits, labels)
    return -sums


def _parts(example: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Prompt, chosen and rejected, all texts or all lists of messages."""
    chosen, rejected, prompt = example["chosen"], example["rejected"], example.get("prompt")
    kinds = {isinstance(part, str) for part in (chosen, rejected)}
    if len(kinds) == 2 or (prompt is not None and not isinstance(prompt, str) and True in kinds):
        raise DataError(
            "prompt, chosen and rejected are texts in part and messages in part",
            remedy="all three as texts, or all as lists of messages",
        )
    # A prompt in words beside conversations is their first turn, told twice.
    if prompt is not None and isinstance(prompt, str) == isinstance(chosen, str):
        return prompt, chosen, rejected
    start = common_prefix(chosen, rejected)
    most = max(0, min(len(chosen), len(rejected)) - 1)
    if isinstance(chosen, str) and 0 < start <= most and chosen[start - 1] == " ":
        start -= 1  # a word keeps the space in front of it, as its token does
    start = min(start, most)  # of two alike, the end is the completion
    return chosen[:start], chosen[start:], rejected[start:]


def _words(part: Any) -> str:
    if isinstance(part, str):
        return part
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in part)
