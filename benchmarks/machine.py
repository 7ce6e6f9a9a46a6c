"""What the figures were measured on."""

from __future__ import annotations

import os
import platform

import peft
import torch
import transformers

import datainf


def describe_machine() -> str:
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, "
        f"torch {torch.__version__}, transformers {transformers.__version__}, "
        f"peft {peft.__version__}, datainf {datainf.__version__}."
    )
