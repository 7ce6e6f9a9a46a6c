"""What other libraries hand over as a batch, as one example a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from datainf.errors import InputError

LABELS = "labels"
"""The column of the targets that come beside a batch of columns, as transformers names it."""


def rows_of(batch: Any) -> list[Any]:
    """A batch as one example a row: of a tuple of tensors, tuples; of a mapping of columns, such as
    a tokenizer's output, mappings; of a pair of such columns, or of a list of mappings, and targets
    mappings with the targets as `labels`, or as they are where the targets are None. A tensor is
    its rows, and a list is as it is; of a data loader the rows of all its batches, which may be
    lists too, as its `default_collate` makes them.

    Raises `InputError` for parts of unlike lengths, and for anything else.
    """
    if isinstance(batch, list):
        return batch
    if isinstance(batch, Tensor):
        return _parted(batch)
    if isinstance(batch, Mapping):
        return [dict(zip(batch, row, strict=True)) for row in _side_by_side(batch.values())]
    if isinstance(batch, tuple):
        return _with_targets(*batch) if _has_columns(batch) else _side_by_side(map(_plain, batch))
    if isinstance(batch, Iterable) and not isinstance(batch, str | bytes):
        batches = (tuple(one) if isinstance(one, list) else one for one in batch)
        return [row for one in batches for row in rows_of(one)]
    raise InputError(
        f"a {type(batch).__qualname__} is no batch of examples",
        remedy="a tuple (inputs, labels), a mapping of columns, a data loader of such, or a list "
        "of examples",
    )


def by_number(data: Any) -> Any:
    """Training data whose rows can be counted and asked for by number; of a data loader its data
    set. Raises `InputError` for those that only come one after another."""
    data = data.dataset if isinstance(data, DataLoader) else data
    iterated = isinstance(data, IterableDataset)  # has a __getitem__, and cannot use it
    if iterated or not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise InputError(
            f"a {type(data).__qualname__} has no length or no rows to ask for by number, and a "
            "score is one of a row",
            remedy="a list of its rows, list(dataset)",
        )
    return data


def _has_columns(pair: tuple[Any, ...]) -> bool:
    """Whether it is a pair of inputs by column and targets."""
    if len(pair) != 2:
        return False
    inputs = pair[0]
    listed = isinstance(inputs, list) and len(inputs) > 0
    return isinstance(inputs, Mapping) or (listed and isinstance(inputs[0], Mapping))


def _with_targets(inputs: Any, targets: Any) -> list[Any]:
    rows = rows_of(inputs)
    if targets is None:
        return rows
    return [{**row, LABELS: target} for row, target in _side_by_side([rows, _plain(targets)])]


def _side_by_side(parts: Iterable[Any]) -> list[tuple[Any, ...]]:
    each = [_parted(part) for part in parts]
    lengths = {len(part) for part in each}
    if len(lengths) > 1:
        raise InputError(f"the batch's parts have {sorted(lengths)} rows")
    return list(zip(*each, strict=True))


def _parted(part: Any) -> list[Any]:
    """The rows of a part. Raises `InputError` for one that has none."""
    if isinstance(part, Tensor) and part.dim() == 0:
        raise InputError("it is one example, and no batch", remedy="a batch of one, x[None]")
    if isinstance(part, Tensor):
        return list(part)
    if not isinstance(part, Sequence) or isinstance(part, str | bytes):
        raise InputError(
            f"a part of the batch is a {type(part).__qualname__}",
            remedy="tensors or lists, with one entry an example",
        )
    return list(part)


def _plain(part: Any) -> Any:
    """Labels as tensors of their own, so that they are stacked again."""
    if isinstance(part, Tensor) or not isinstance(part, Sequence):
        return part
    return [_as_tensor(one) for one in part]


def _as_tensor(one: Any) -> Tensor:
    try:
        return torch.as_tensor(one)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"a part of the batch holds a {type(one).__qualname__}, which is no tensor: {error}",
            remedy="a list of examples, as the training data has them",
        ) from None
