"""What torch's `default_collate` makes of rows, taken apart again.

Of rows that hold lists it makes a list by position, not by row: B lists of T numbers become T
tensors [B], which look like T examples of B numbers. A data loader tells by its `collate_fn` which
they are. Elsewhere the other parts' lengths tell it, or a training example; where neither does,
they are refused, since scores of wrong examples look like any others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from datainf.errors import InputError

OF_PYTHON = (torch.int64, torch.float64, torch.bool)
"""What `default_collate` makes of Python's own numbers."""


def uncollated(part: Any) -> list[Any]:
    """The entries, one a row, of a part that `default_collate` made: of these it makes the part
    again. Of a tensor [B, …] they are tensors […]; of T tensors by position, B lists [T], of
    Python's own numbers where the rows may have held these.

    Raises `InputError` for a part that has no rows, and for parts of it of unlike lengths.
    """
    if isinstance(part, Mapping):
        rows = side_by_side([uncollated(column) for column in part.values()])
        return [dict(zip(part, row, strict=True)) for row in rows]
    if not isinstance(part, list | tuple) or all(isinstance(one, str | bytes) for one in part):
        return parted(part)  # texts are left in a list, one a row
    return [list(row) for row in side_by_side([_of_position(one) for one in part])]


def _of_position(part: Any) -> list[Any]:
    """Entries of a list's one position. Of numbers they are no tensors: so the list is of the kind
    that the training examples have."""
    numbers = isinstance(part, Tensor) and part.dim() == 1 and part.dtype in OF_PYTHON
    return part.tolist() if numbers else uncollated(part)


def by_position(parts: Mapping[Any, Any], like: Any) -> set[Any]:
    """Which parts of a batch are lists by position, of parts by name or by place; what made the
    batch is not known.

    Args:
        parts: Each a tensor, or a list.
        like: A training example, None where there is none.

    Raises `InputError` for a list of tensors that could be read both ways.
    """
    lengths = {name: _length_across(part) for name, part in parts.items()}
    rows = {len(part) for name, part in parts.items() if lengths[name] is None and _is_long(part)}
    return {
        name
        for name, length in lengths.items()
        if length is not None and _is_by_position(name, parts[name], length, rows, like)
    }


def _is_by_position(name: Any, part: Sequence[Any], length: int, rows: set[int], like: Any) -> bool:
    """Whether `length`, and not the number of entries, is the number of rows, which others have."""
    if rows and not rows >= {len(part), length}:
        return length in rows
    of_one = _entry(like, name)
    if of_one is not None and not isinstance(of_one, Sequence):
        return False  # `default_collate` makes one tensor of such entries, and no list
    raise InputError(
        f"part {name!r} of the batch is a list of {len(part)} tensors of length {length}: these "
        f"may be {len(part)} examples, or {len(part)} positions of {length} examples, as torch's "
        "default_collate makes them of lists",
        remedy="the data loader itself; or a tensor with one row an example: torch.stack(part), or "
        "torch.stack(part, dim=1) of what default_collate made",
    )


def _length_across(part: Any) -> int | None:
    """The one length of all tensors that a list holds, at any depth; None of anything else."""
    if not isinstance(part, list | tuple):
        return None
    lengths = {_row_count(leaf) for leaf in _leaves(part)}
    return lengths.pop() if len(lengths) == 1 else None


def _leaves(part: list[Any] | tuple[Any, ...]) -> Iterator[Any]:
    for one in part:
        if isinstance(one, list | tuple):
            yield from _leaves(one)
        else:
            yield one


def _row_count(leaf: Any) -> int | None:
    return len(leaf) if isinstance(leaf, Tensor) and leaf.dim() > 0 else None


def _is_long(part: Any) -> bool:
    """Whether it has a number of rows."""
    return isinstance(part, list | tuple) or _row_count(part) is not None


def _entry(like: Any, name: Any) -> Any:
    """What a training example has in a part's place; None where it has nothing there."""
    if isinstance(like, Mapping):
        return like.get(name)
    placed = isinstance(like, list | tuple) and isinstance(name, int) and name < len(like)
    return like[name] if placed else None


def side_by_side(parts: Sequence[list[Any]]) -> list[tuple[Any, ...]]:
    """Rows of parts that have an entry a row each. Raises `InputError` for unlike lengths."""
    lengths = {len(part) for part in parts}
    if len(lengths) > 1:
        raise InputError(
            f"the batch's parts have {sorted(lengths)} rows", remedy="parts with one entry a row"
        )
    return list(zip(*parts, strict=True))


def parted(part: Any) -> list[Any]:
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
