"""Numbers in words: bytes, times and counts, as people read them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")
MINUTE, HOUR, DAY = 60, 3600, 86400
MOST = {"s": 119.5, "min": 119.5, "hours": 47.5}
"""Of a unit of time, before the next is taken."""


def size(count: float) -> str:
    """Bytes: "812 bytes", "41.2 GB"; a kB has 1,000."""
    for unit in UNITS:
        if count < 999.5 or unit == UNITS[-1]:
            break
        count /= 1000
    digits = 1 if unit != UNITS[0] and count < 99.95 else 0
    return f"{count:,.{digits}f} {unit}"


def duration(seconds: float) -> str:
    """A time: "0.4 s", "48 s", "3.4 min", "12 min", "3.2 hours", "5.1 days"."""
    for unit, name in ((1, "s"), (MINUTE, "min"), (HOUR, "hours"), (DAY, "days")):
        count = seconds / unit
        if count < MOST.get(name, count + 1):
            break
    return f"{count:.{1 if count < 9.95 else 0}f} {name}"


def count(number: int, one: str, many: str | None = None) -> str:
    """ "1 tensor", "1,024 tensors"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def rows(some: range) -> str:
    """ "row 4", "rows 2 to 1,025"; of none, nothing would be said."""
    if len(some) == 1:
        return f"row {some.start:,}"
    return f"rows {some.start:,} to {some.stop - 1:,}"


def listed(names: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def settings(values: Mapping[str, Any]) -> str:
    """ "damping rows:2.222, normalize unit"; a damping that was found out has many digits."""
    return ", ".join(f"{name} {_in_four_digits(value)}" for name, value in values.items())


def _in_four_digits(value: Any) -> str:
    kind, _, number = str(value).rpartition(":")
    try:
        return f"{kind}:{float(number):.4g}" if kind else str(value)
    except ValueError:
        return str(value)


def plain(number: float) -> float | None:
    """As JSON has it, which knows neither NaN nor infinity."""
    return number if math.isfinite(number) else None
