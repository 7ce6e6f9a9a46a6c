"""What a process that may be killed does; importing it is what takes long."""

from __future__ import annotations

import peft  # noqa: F401
import torch
import transformers  # noqa: F401

from datainf.config import RunConfig
from datainf.runs import run


def go_on(config: RunConfig) -> None:
    """Begin a run, or go on with it."""
    torch.set_num_threads(1)
    run(config)
