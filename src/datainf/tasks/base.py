"""A task turns examples into batches and batches into one loss an example."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from datainf.tasks.answers import Answer
    from datainf.tasks.sampling import Draws
    from datainf.tasks.streams import Stream

IGNORE = -100
"""The label of a token that is not supervised, as in torch and transformers."""

FEWEST_TOKENS = 2
"""That an example may be cut to."""

TRUNCATED = "truncated_tokens"
"""Key under which `encode` says how many tokens of an example it cut off."""


class Task(ABC):
    """What a model is asked of an example, and what it loses.

    One loss an example: the mean over its supervised tokens, which is what a Hugging Face model
    returns for a batch of one. Padding never counts.
    """

    name: ClassVar[str]
    parts: int = 1
    """Rows that a batch holds for each example, part after part: row r is example r mod batch."""
    concatenate: bool = False
    """Keep the gradients of an example's parts apart, side by side, in place of their sum."""
    repeatable: bool = True
    """Whether another process gets the same losses for an example, up to rounding."""
    loss_floor: float = 1e-3
    """A loss that is less is judged by this, where one is checked: what is left of it is rounding
    of the outputs."""
    defined_alone: bool = False
    """Whether a batch of one defines the loss and larger batches are only its fast form: where the
    two differ, every example is then taken alone, in place of stopping."""

    def for_model(self, model: nn.Module) -> Self:  # noqa: ARG002 - a hook for subclasses
        """The same task, fitted to a model's limits (its maximal length, its labels).

        Raises `ModelError` where the model cannot do the task.
        """
        return self

    def encode(self, example: Any) -> Any:
        """An example as the model sees it; encoding twice changes nothing.

        Raises `DataError` for an example that the task cannot use.
        """
        return example

    def target_kind(self, example: Any) -> str | None:  # noqa: ARG002 - for subclasses
        """What an encoded example has that all of a data set have to have, in words, such as "one
        label"; None where they may differ."""
        return None

    @abstractmethod
    def collate(self, examples: Sequence[Any]) -> Any:
        """A batch from examples, encoded or not; padded on the right."""

    @abstractmethod
    def losses(self, model: nn.Module, batch: Any) -> Tensor:
        """One loss an example, [batch], float32 or better, in nats where it is a likelihood."""

    @property
    def can_sample(self) -> bool:
        """Whether the loss is a likelihood whose targets can be drawn: `sampled_losses`."""
        return False

    @property
    def uses_reference(self) -> bool:
        """Whether the loss asks the model without its adapter as well, so that the weights which
        the adapter replaces (`modules_to_save`) have a part in it."""
        return False

    @property
    def one_target(self) -> bool:
        """Whether an example has a single target, and its gradient one direction."""
        return False

    def sampled_losses(self, model: nn.Module, batch: Any, draws: Draws) -> Tensor:
        """[batch] losses whose gradients s have E[s sᵀ] = the Gauss–Newton matrix of the example's
        loss; see `tasks.sampling`."""
        raise NotImplementedError

    def part_losses(self, model: nn.Module, batch: Any) -> Tensor:
        """[batch, parts]: what `losses` is the mean of, for a task that can `concatenate`."""
        raise NotImplementedError

    @abstractmethod
    def describe(self, example: Any) -> str:
        """The example in words, for people."""

    def streams(self, example: Any) -> list[Stream]:  # noqa: ARG002 - for subclasses
        """The tokens of an encoded example by the positions that a model's modules see; none where
        its positions are no tokens, or are not known."""
        return []

    def told_apart(self, batch: Any) -> Any:
        """The batch of one example, with as much padding more as it takes for no two axes of its
        streams to be equally long."""
        return batch

    def answers(self, model: nn.Module, examples: Sequence[Any]) -> list[Answer | None]:  # noqa: ARG002
        """What the model says to each example, None where it says nothing that could be shown."""
        return [None] * len(examples)

    @property
    def guessing(self) -> float | None:
        """The loss of a model that knows nothing and gives all answers the same probability, where
        there are so few that a trained one does better."""
        return None

    def class_name(self, example: Any) -> str | None:  # noqa: ARG002 - for subclasses
        """What the model calls the one class that an example is of, None where it has none."""
        return None

    def length(self, example: Any) -> int:
        """The example's length in tokens, for batching; 1 where lengths do not matter."""
        ids = example.get("input_ids") if isinstance(example, Mapping) else None
        return 1 if ids is None else len(ids)

    def shortening(self, length: int | None) -> list[str]:  # noqa: ARG002 - for subclasses
        """Options of the command line by which no example is longer than so much, as `length` has
        it, or by which all are shorter, for None; none where there is no such option."""
        return []

    def settings(self) -> dict[str, Any]:
        """What a gradient depends on besides model and data, as plain JSON values."""
        return {"name": self.name}


def pad(sequences: Sequence[Sequence[int]], value: int) -> Tensor:
    """Sequences padded on the right, int64 [batch, longest]."""
    width = max(len(sequence) for sequence in sequences)
    out = torch.full((len(sequences), width), value, dtype=torch.long)
    for row, sequence in zip(out, sequences, strict=True):
        row[: len(sequence)] = torch.as_tensor(sequence, dtype=torch.long)
    return out


def token_limit(model: nn.Module, tokenizer: Any) -> int | None:
    """The most tokens that model and tokenizer take, None if neither says."""
    limits = []
    config = getattr(model, "config", None)
    if config is not None:
        config = config.get_text_config() if hasattr(config, "get_text_config") else config
        positions = getattr(config, "max_position_embeddings", None)
        if isinstance(positions, int) and positions > 0:
            limits.append(positions - _position_offset(model) - virtual_tokens(model))
    stated = getattr(tokenizer, "model_max_length", None)
    if isinstance(stated, int) and stated < 10**9:  # transformers says 10^30 for "unknown"
        limits.append(stated)
    return min(limits) if limits else None


def max_length_option(tokens: int | None) -> list[str]:
    """The option that cuts examples to so many tokens; one alone has nothing to learn from."""
    if tokens is None:
        return ["--max-length"]
    return [f"--max-length {tokens}"] if tokens >= FEWEST_TOKENS else []


def shorter(*limits: int | None) -> int | None:
    """The smallest limit, None where there is none."""
    stated = [limit for limit in limits if limit is not None]
    return min(stated, default=None)


def virtual_tokens(model: nn.Module) -> int:
    """How many positions a prompt-learning adapter (prompt, prefix or P-tuning) takes."""
    config = _prompt_learning(model)
    return 0 if config is None else int(config.num_virtual_tokens)


def soft_prompt_tokens(model: nn.Module) -> int:
    """How many embeddings an adapter puts in front of the inputs; a prefix of keys and values, as
    in prefix tuning, is none."""
    config = _prompt_learning(model)
    if config is None or config.peft_type.value in ("PREFIX_TUNING", "CARTRIDGE"):
        return 0
    return int(config.num_virtual_tokens)


def prompt_widths(model: nn.Module) -> set[int]:
    """How many positions the modules may have that a prompt-learning adapter makes its prompt by:
    virtual tokens, of the encoder alone or of the decoder too."""
    config, tokens = _prompt_learning(model), virtual_tokens(model)
    parts = getattr(config, "num_transformer_submodules", None) or 1
    return {tokens, tokens * int(parts)} - {0}


def _prompt_learning(model: nn.Module) -> Any:
    """The configuration of the active adapter if it is one that learns a prompt."""
    config = getattr(model, "active_peft_config", None)
    return config if getattr(config, "is_prompt_learning", False) else None


def _position_offset(model: nn.Module) -> int:
    """RoBERTa counts positions from its padding index + 1, so its table is that much too long."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0
