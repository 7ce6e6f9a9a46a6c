"""A trainer's own loss: what it minimised, on the data as it fed them.

An example's loss is what the trainer's `compute_loss` returns, in evaluation mode, for a batch
that holds it alone. Where that is a loss we know, batches are taken apart by the same formula, and
every run starts by comparing the two; where it is not, each example is taken alone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from datainf.errors import CoverageError, DataError, OptionError
from datainf.tasks.base import IGNORE, Task
from datainf.tasks.inputs import base_model, placeholders_of, require_known, vocabulary_of
from datainf.tasks.left_padding import ALIGNED, flushed
from datainf.tasks.token_losses import at_least_float32
from datainf.tasks.trainer_losses import KnownLoss, NextTokens, known_loss, shifts_labels, stock
from datainf.tasks.trainer_settings import loss_code, tokenizer_of, trainer_settings
from datainf.tasks.trainer_state import untouched, weights_precision

IDS = ("prompt_ids", "completion_ids", "chosen_ids", "rejected_ids", "input_ids")
"""Columns of transformers and TRL with an example's tokens."""
NOT_PACKED = "packing=False and padding_free=False when making the trainer, for attribution alone"


def is_trainer(value: Any) -> bool:
    """Whether this is a `transformers.Trainer`, which takes seconds to import: where nobody has,
    nothing is one."""
    library = sys.modules.get("transformers.trainer")
    return library is not None and isinstance(value, library.Trainer)


@dataclass(frozen=True, eq=False)
class FromTrainer(Task):
    """The loss, the collator and the columns of a `transformers.Trainer` (TRL's included).

    The trainer is left as it was found: its metrics, its model's modes and the random generators
    too. Losses are computed in the precision of the weights, without the autocast under which a
    trainer with bf16=True or fp16=True (TRL's default) computes what it logs. One whose loss asks
    the model without its adapter as well says so by an attribute `ref_model`, as TRL's do.

    Raises `OptionError` for what is no trainer, one that packs examples together, or one
    whose collator masks at random, since no loss is then an example's own.
    """

    trainer: Any
    model: nn.Module = field(init=False)
    known: KnownLoss | None = field(init=False)
    columns: tuple[str, ...] | None = field(init=False)
    parts: int = field(init=False)
    vocabulary: int | None = field(init=False)
    placeholders: frozenset[int] = field(init=False)
    name: ClassVar[str] = "trainer"
    defined_alone = True

    def __post_init__(self) -> None:
        if not is_trainer(self.trainer):
            raise OptionError(
                f"a {type(self.trainer).__qualname__} is not a transformers.Trainer",
                remedy="a Trainer of transformers or TRL, or another task",
            )
        _require_separable(self.trainer)
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        known = known_loss(self.trainer, model)
        object.__setattr__(self, "model", model)
        object.__setattr__(self, "known", known)
        object.__setattr__(self, "columns", _columns(self.trainer, model))
        object.__setattr__(self, "parts", 1 if known is None else known.parts)
        object.__setattr__(self, "vocabulary", vocabulary_of(model))
        object.__setattr__(self, "placeholders", placeholders_of(model))

    def for_model(self, model: nn.Module) -> Self:
        if model is not self.model:
            raise OptionError(
                "the model is not the one that the trainer holds",
                remedy="collect(trainer, …), or a task of its own for the other model",
            )
        return self

    def encode(self, example: Any) -> Any:
        """The columns that the trainer hands to its collator.

        Raises `DataError` for a row of several examples packed together, or without any of them, or
        with tokens that the model does not know.
        """
        row = self._kept(example)
        if isinstance(row, Mapping):
            tokens = {name: ids for name in IDS if (ids := _plain(row.get(name)))}
            require_known(tokens, self.vocabulary, [*tokens], fine=self.placeholders)
        return row

    def _kept(self, example: Any) -> Any:
        """As `encode`, whatever the tokens are."""
        if not isinstance(example, Mapping):
            return example
        if "seq_lengths" in example:
            raise DataError("the row holds several examples packed together", remedy=NOT_PACKED)
        if self.columns is None:
            return dict(example)
        kept = {key: value for key, value in example.items() if key in self.columns}
        if not kept.keys() - {"label", "labels", "label_ids"}:  # a trainer keeps these always
            raise DataError(
                f"the trainer uses none of the columns {', '.join(map(str, example))}; it takes "
                f"{', '.join(self.columns)}",
                remedy="rows as trainer.train_dataset holds them, which is after the trainer "
                "tokenised them",
            )
        return kept

    def collate(self, examples: Sequence[Any]) -> dict[str, Any]:
        """{"size": B, "inputs": what the trainer's collator makes of the B examples}."""
        rows = [self._kept(example) for example in examples]
        with untouched(self.trainer, self.model):
            inputs = self.trainer.data_collator(
                [dict(row) if isinstance(row, Mapping) else row for row in rows]
            )
        if isinstance(inputs, Mapping):
            inputs = self._flushed(dict(inputs), rows)
        return {"size": len(rows), "inputs": inputs}

    def losses(self, model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
        inputs = batch["inputs"]
        if batch["size"] == 1:
            return self._own(model, inputs).reshape(1)
        if self.known is None or not self._knows(inputs):
            raise CoverageError(
                f"the loss of {type(self.trainer).__qualname__} is not one that can be taken apart "
                "by example",
                remedy="allow the fallback, which takes each example alone; or a task of your own, "
                "datainf.tasks.Custom",
            )
        with weights_precision(model, getattr(self.trainer, "ref_model", None)):
            return self.known.losses(model, inputs)

    def weight(self, example: Any) -> float:
        """What the example's loss counts for in the loss that the trainer logs, which is
        Σ weight·loss / Σ weight over the examples of a step: its supervised tokens where the
        trainer takes the mean over tokens, else 1.

        A loss that weighs classes differs too: alone, an example is divided by its own weight.
        And a collator that pads on the left makes the log differ: a padded row's first token then
        follows something, and is counted in the batch although it is not for the example alone.
        """
        inputs = self.collate([example])["inputs"]
        labels = inputs.get("labels") if isinstance(inputs, Mapping) else None
        if not isinstance(labels, Tensor) or labels.dim() < 2 or labels.is_floating_point():
            return 1.0
        if isinstance(self.known, NextTokens):
            return float(self.known.tokens(labels).sum())
        first = 1 if self.known is None and shifts_labels(self.trainer) else 0
        return float(labels[:, first:].ne(IGNORE).sum())

    def length(self, example: Any) -> int:
        """Tokens that the example takes up in a batch."""
        row = self._kept(example)
        if isinstance(row, Mapping) and "chosen_ids" in row:
            longest = max(len(row["chosen_ids"]), len(row["rejected_ids"]))
            return 2 * (len(row.get("prompt_ids", ())) + longest)
        if isinstance(row, Mapping) and "input_ids" in row:
            return len(row["input_ids"])
        inputs = self.collate([row])["inputs"]
        ids = inputs.get("input_ids") if isinstance(inputs, Mapping) else None
        return 1 if ids is None else int(ids.numel())

    def describe(self, example: Any) -> str:
        if not isinstance(example, Mapping):
            return str(example)
        texts = {key: value for key, value in example.items() if isinstance(value, str)}
        if texts:
            return "\n".join(texts.values())
        tokenizer = tokenizer_of(self.trainer)
        if tokenizer is None or not any(key in example for key in IDS):
            return str(dict(example))
        return "\n".join(
            tokenizer.decode(example[key], skip_special_tokens=True)
            for key in IDS
            if key in example
        )

    @property
    def uses_reference(self) -> bool:
        """As of TRL's trainers that have one: the model itself where `ref_model` is None."""
        return hasattr(self.trainer, "ref_model")

    def settings(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "loss": None if self.known is None else type(self.known).__name__,
            "code": None if self.known is not None else loss_code(self.trainer),
            "columns": None if self.columns is None else sorted(self.columns),
            **trainer_settings(self.trainer),
        }

    def _own(self, model: nn.Module, inputs: Any) -> Tensor:
        """The trainer's own loss of a batch, as it computes it in evaluation."""
        trainer = self.trainer
        given = dict(inputs) if isinstance(inputs, Mapping) else inputs
        counted = {}
        count = getattr(trainer, "_get_num_items_in_batch", None)
        if count and stock(trainer, "transformers.trainer", "Trainer", "prediction_step"):
            counted["num_items_in_batch"] = count([given], next(model.parameters()).device)
        precision = weights_precision(model, getattr(trainer, "ref_model", None))
        with untouched(trainer, model), precision, trainer.compute_loss_context_manager():
            loss: Tensor = trainer.compute_loss(model, given, **counted)
        return at_least_float32(loss).mean()

    def _knows(self, inputs: Any) -> bool:
        """Whether a batch is as the known loss expects it."""
        return isinstance(inputs, Mapping) and (
            self.parts > 1 or ("labels" in inputs and "shift_labels" not in inputs)
        )

    def _flushed(self, inputs: dict[str, Any], rows: list[Any]) -> Any:
        """A batch padded on the left, as its examples would be alone."""
        collator = self.trainer.data_collator
        tokenizer = tokenizer_of(self.trainer)
        if len(rows) == 1 or getattr(tokenizer, "padding_side", "right") != "left":
            return inputs
        if "attention_mask" not in inputs or not all("input_ids" in row for row in rows):
            return inputs
        total = inputs["attention_mask"].shape[1]
        if getattr(collator, "padding", True) not in (True, "longest"):
            return inputs  # as wide alone as in a batch
        multiple = getattr(collator, "pad_to_multiple_of", None) or 1
        widths = [-(-len(row["input_ids"]) // multiple) * multiple for row in rows]
        decoder = not getattr(base_model(self.model).config, "is_encoder_decoder", False)
        labels = ("labels",) if decoder else ()
        return flushed(inputs, [min(width, total) for width in widths], (*ALIGNED, *labels))


def _require_separable(trainer: Any) -> None:
    collator = trainer.data_collator
    packed = (
        getattr(trainer.args, "packing", False)
        or getattr(trainer, "padding_free", False)
        or getattr(collator, "padding_free", False)
        or type(collator).__name__ == "DataCollatorWithFlattening"
    )
    if packed:
        raise OptionError(
            "the trainer packs several examples into one row, where no loss is an example's own",
            remedy=NOT_PACKED,
        )
    if getattr(collator, "mlm", False):
        raise OptionError(
            "the trainer's collator masks tokens at random, so an example loses something else "
            "every time",
            remedy="rows that were masked once, with labels, and a collator that only pads",
        )


def _plain(ids: Any) -> list[int]:
    """Tokens that stand in one list, a tensor's or an array's too; none of what else a collator may
    take, which it knows alone."""
    found = ids.tolist() if hasattr(ids, "tolist") else ids
    return found if isinstance(found, list) and set(map(type, found)) == {int} else []


def _columns(trainer: Any, model: nn.Module) -> tuple[str, ...] | None:
    """The columns that the trainer keeps, None for all."""
    if not trainer.args.remove_unused_columns:
        return None
    with untouched(trainer, model):
        trainer._set_signature_columns_if_needed()
        return tuple(trainer._signature_columns)
