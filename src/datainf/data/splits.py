"""Which of a source's splits is meant, of a source that has some and of one that has none."""

from __future__ import annotations

from collections.abc import Sequence

from datainf.errors import DataError


def pick_split(source: str, names: Sequence[str], split: str | None) -> str:
    """The split that was named, or the only one there is.

    Raises `DataError` if that leaves open which.
    """
    if split is None and len(names) == 1:
        return names[0]
    if split is None or split not in names:
        raise DataError(
            f"{source} has the splits {', '.join(names)}; "
            + ("none was named" if split is None else f"there is no {split!r}"),
            remedy="--train-split or --query-split (--split of datainf collect) names one",
        )
    return split


def refuse_split(source: str, split: str | None) -> None:
    """Raises `DataError` where a split of a source without any was named: all of its rows would be
    taken for that part of them."""
    if split is not None:
        raise DataError(
            f"{source} has no splits, and {split!r} was named", remedy="leave the split away"
        )
