"""What other libraries hand over as a batch, as one example a row."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, default_collate

from datainf.errors import InputError
from datainf.integrations.collated import by_position, parted, side_by_side, uncollated

LABELS = "labels"
"""The column of the targets that come beside a batch of columns, as transformers names it."""


def rows_of(batch: Any, like: Any = None) -> list[Any]:
    """A batch as one example a row: of a tuple of tensors, tuples; of a mapping of columns, such as
    a tokenizer's output, mappings; of a pair of such columns, or of a list of mappings, and targets
    mappings with the targets as `labels`, or as they are where the targets are None. A tensor is
    its rows, and a list is as it is.

    Of a data loader it is the rows of all its batches. Those that torch's `default_collate` made
    are taken apart as they were put together: of lists [T] it makes T tensors [B]. Another
    `collate_fn` may leave examples as they are, in a list of mappings, of tuples or of what `like`
    is; any other list has parts, as a tuple has.

    Args:
        batch: Any of these.
        like: A training example. Where it is no tensor, a list that holds a tensor is a batch, as
            one that is taken from a data loader. Where a part is a list of tensors of one length,
            which may be an example each or a position of all examples each, the other parts'
            lengths tell; else it is an example each if the training example has no list there.

    Raises `InputError` for parts of unlike lengths, for a list of tensors of which neither tells
    what each is, and for anything else.
    """
    if isinstance(batch, DataLoader):
        return _of_loader(batch, like)
    if isinstance(batch, list):
        return _of_columns(tuple(batch), like) if _is_batch(batch, like) else batch
    if isinstance(batch, Tensor):
        return parted(batch)
    if isinstance(batch, Mapping | tuple):
        return _of_columns(batch, like)
    if isinstance(batch, Iterable) and not isinstance(batch, str | bytes):
        return [row for one in batch for row in _of_batch(one, like)]
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


def _of_loader(loader: DataLoader[Any], like: Any) -> list[Any]:
    """The rows of all its batches, which its `collate_fn` may tell how it made."""
    if loader.collate_fn is list:
        return [row for batch in loader for row in batch]
    collated = loader.collate_fn is default_collate
    return [row for batch in loader for row in _of_batch(batch, like, collated=collated)]


def _of_batch(batch: Any, like: Any, *, collated: bool = False) -> list[Any]:
    """The rows of what a loader made; `collated`: by `default_collate`, which leaves no examples as
    they are but texts."""
    if isinstance(batch, list):
        left: tuple[type, ...] = (str, bytes)
        left = left if collated else (*left, Mapping, tuple, _kind(like))
        if all(isinstance(one, left) for one in batch):
            return batch
        batch = tuple(batch)
    if isinstance(batch, Mapping | tuple):
        return _of_columns(batch, like, collated=collated)
    return rows_of(batch, like)


def _kind(like: Any) -> type:
    return Tensor if isinstance(like, Tensor) else type(like)  # one of a subclass is like any other


def _is_batch(parts: list[Any], like: Any) -> bool:
    """Whether a list is no list of examples, since it holds what none of them is."""
    known = like is not None and not isinstance(like, Tensor)
    return known and any(isinstance(part, Tensor) for part in parts)


def _of_columns(
    batch: Mapping[Any, Any] | tuple[Any, ...], like: Any, *, collated: bool = False
) -> list[Any]:
    """The rows of parts by name, or by place; as mappings, or as tuples."""
    if isinstance(batch, Mapping):
        return _mappings(batch, like, (), collated=collated)
    if not _has_columns(batch, collated=collated):
        parts = dict(enumerate(batch))
        return side_by_side(_entries(parts, like, plain=parts, collated=collated))
    inputs, targets = batch
    if targets is None:
        return rows_of(inputs, like)
    if isinstance(inputs, Mapping):
        return _mappings({**inputs, LABELS: targets}, like, (LABELS,), collated=collated)
    each = _entries({"examples": inputs, LABELS: targets}, like, (LABELS,), collated=collated)
    return [{**row, LABELS: target} for row, target in side_by_side(each)]


def _has_columns(pair: tuple[Any, ...], *, collated: bool) -> bool:
    """Whether it is a pair of inputs by column and targets; or of a list of mappings, which is no
    list of examples where it was collated."""
    if len(pair) != 2:
        return False
    inputs = pair[0]
    listed = isinstance(inputs, list) and len(inputs) > 0 and not collated
    return isinstance(inputs, Mapping) or (listed and isinstance(inputs[0], Mapping))


def _mappings(
    columns: Mapping[Any, Any], like: Any, plain: Collection[Any], *, collated: bool
) -> list[Any]:
    rows = side_by_side(_entries(columns, like, plain, collated=collated))
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _entries(
    parts: Mapping[Any, Any], like: Any, plain: Collection[Any], *, collated: bool
) -> list[list[Any]]:
    """Of each part its entries, one a row; of those that are `plain`, as tensors."""
    apart = parts.keys() if collated else by_position(parts, like)
    return [
        uncollated(part) if name in apart else _one_each(part, plain=name in plain)
        for name, part in parts.items()
    ]


def _one_each(part: Any, *, plain: bool) -> list[Any]:
    """The entries of a part that has one a row; labels as tensors of their own, so that they are
    stacked again."""
    return [_as_tensor(one) for one in parted(part)] if plain else parted(part)


def _as_tensor(one: Any) -> Tensor:
    try:
        return torch.as_tensor(one)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"a part of the batch holds a {type(one).__qualname__}, which is no tensor: {error}",
            remedy="a list of examples, as the training data has them",
        ) from None
