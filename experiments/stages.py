"""How long each stage of a cell takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

Seconds = dict[str, float]


@contextmanager
def stage(seconds: Seconds, name: str) -> Iterator[None]:
    """Note the seconds of what is done inside, that of a GPU counted."""
    started = time.perf_counter()
    yield
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds[name] = time.perf_counter() - started
