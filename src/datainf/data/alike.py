"""A text as a value of the kind that another value has."""

from __future__ import annotations

import math
from typing import Any


def alike(own: Any, text: str) -> Any:
    """`text` as a bool, an int, a float or a text, as `own` is one. Raises `ValueError` for a text
    that is none, and for an `own` of another kind."""
    if isinstance(own, bool):
        return _bool(text.strip().lower())
    if isinstance(own, int):
        return int(text)
    if isinstance(own, float):
        return _finite(float(text))
    if not isinstance(own, str):
        raise ValueError(f"a {type(own).__name__}")
    return text


def _bool(text: str) -> bool:
    if text not in ("true", "1", "false", "0"):
        raise ValueError(text)
    return text in ("true", "1")


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(str(value))
    return value
