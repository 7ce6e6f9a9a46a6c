"""What an encoder or decoder reads, in rows that were tokenised here or before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from torch import Tensor, nn

from datainf.errors import DataError, ModelError
from datainf.tasks.base import IGNORE, pad

MODEL_INPUTS = {"input_ids": None, "attention_mask": 0, "token_type_ids": 0}
"""What is handed to the model, with the value that pads it (None: the tokenizer's)."""


def given_inputs(example: Mapping[str, Any], max_length: int | None) -> dict[str, list[int]]:
    """The model's inputs in a row that was tokenised before.

    Raises `DataError` for a row that is longer than the limit: which of its special tokens would
    have to stay is not known here.
    """
    row = {key: [int(v) for v in example[key]] for key in MODEL_INPUTS if key in example}
    row.setdefault("attention_mask", [1] * len(row["input_ids"]))
    lengths = {key: len(values) for key, values in row.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{key} {length}" for key, length in lengths.items())
        raise DataError(f"the row's parts differ in length: {shown}")
    if max_length is not None and len(row["input_ids"]) > max_length:
        raise DataError(
            f"the row has {len(row['input_ids'])} tokens and the limit is {max_length}",
            remedy="tokenise with truncation, or give the text in place of input_ids",
        )
    return row


def require_known(
    row: Mapping[str, Any],
    vocabulary: int | None,
    parts: Sequence[str] = ("input_ids",),
    *,
    fine: Set[int] = frozenset(),
) -> None:
    """Raises `DataError` for ids in these parts of a row that the model has no embedding for: the
    lookup would fail, naming nothing. `IGNORE` may stand among labels, and what is `fine`."""
    if vocabulary is None:
        return
    for part in parts:
        ids, fine_here = row[part], fine | {IGNORE} if part == "labels" else fine
        if not ids or (min(ids) >= 0 and max(ids) < vocabulary):
            continue
        odd = next((i for i in ids if not 0 <= i < vocabulary and i not in fine_here), None)
        if odd is not None:
            raise DataError(
                f"{part} holds {odd}, and the model's vocabulary has {vocabulary} ids, 0 to "
                f"{vocabulary - 1}",
                remedy="the tokenizer that the model was trained with, or leave the row out",
            )


def vocabulary_of(model: nn.Module) -> int | None:
    """How many ids a model has embeddings for, which can be more than its tokenizer has; None where
    it has no plain table of them."""
    return _ids_of(model, "get_input_embeddings")


def placeholders_of(model: nn.Module) -> frozenset[int]:
    """Ids that a model's configuration names, as that of a picture's place: a model may take one
    that has no embedding, for what it puts there itself."""
    config: Any = getattr(base_model(model), "config", None)
    return frozenset(_named_ids(config.to_dict() if hasattr(config, "to_dict") else {}))


def _named_ids(config: Mapping[str, Any]) -> Iterator[int]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _named_ids(value)
        elif str(name).endswith(("_token_id", "_token_index")) and isinstance(value, int):
            yield value


def targets_of(model: nn.Module) -> int | None:
    """How many ids a model's outputs tell apart: of an encoder and a decoder, which may have two
    vocabularies, the decoder's; None where they come from no plain layer."""
    return _ids_of(model, "get_output_embeddings")


def _ids_of(model: nn.Module, getter: str) -> int | None:
    try:
        layer = getattr(base_model(model), getter)()
    except (AttributeError, NotImplementedError):
        return None
    while layer is not None and not isinstance(layer, nn.Embedding | nn.Linear):
        # An adapter may be around it.
        layer = getattr(layer, "base_layer", None) or getattr(layer, "original_module", None)
    return (
        layer.num_embeddings
        if isinstance(layer, nn.Embedding)
        else getattr(layer, "out_features", None)
    )


def tokens_within(tokenizer: Any, limit: int | None, texts: Mapping[str, Any]) -> tuple[Any, int]:
    """A tokenizer's output for `texts`, which are its arguments by name, and how many tokens were
    cut off, as the tokenizer does it, to keep within the limit."""
    encoded = tokenizer(**texts, verbose=False)
    excess = 0 if limit is None else max(0, len(encoded["input_ids"]) - limit)
    if excess:
        encoded = tokenizer(**texts, verbose=False, truncation=True, max_length=limit)
    return encoded, excess


def pad_inputs(encoded: Sequence[Mapping[str, Any]], tokenizer: Any) -> dict[str, Tensor]:
    """The model's inputs of several rows, int64 [batch, longest] each."""
    # Which id pads is of no consequence under the mask; 0 exists in every vocabulary.
    pad_id = getattr(tokenizer, "pad_token_id", None) or 0
    return {
        key: pad([row[key] for row in encoded], pad_id if value is None else value)
        for key, value in MODEL_INPUTS.items()
        if key in encoded[0]
    }


def pad_labels(encoded: Sequence[Mapping[str, Any]]) -> Tensor:
    """Labels of several rows, int64 [batch, longest], −100 where there is none."""
    return pad([row["labels"] for row in encoded], IGNORE)


def require_fast(tokenizer: Any, purpose: str) -> None:
    """Raises `ModelError` for a tokenizer that does not say which word a token came from."""
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"{purpose} needs a fast tokenizer, and {type(tokenizer).__name__} is none",
            remedy="rows with input_ids and labels, or a model that has a fast tokenizer",
        )


def base_model(model: nn.Module) -> Any:
    """The model inside its adapter."""
    unwrap = getattr(model, "get_base_model", None)
    return unwrap() if callable(unwrap) else model
