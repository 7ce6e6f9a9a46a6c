"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil

import datainf


def processor() -> str:
    """Its name, where Linux tells."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def accelerator() -> str:
    """The GPU, where there is one, its memory and CUDA's version; else nothing."""
    import torch  # not before: workers of the experiments set its threads first

    if not torch.cuda.is_available():
        return ""
    memory = round(torch.cuda.get_device_properties(0).total_memory / 2**30)
    return f"{torch.cuda.get_device_name(0)} ({memory} GiB), CUDA {torch.version.cuda}, "


def describe_machine() -> str:
    packages = [f"{name} {version(name)}" for name in ("torch", "transformers", "peft")]
    packages.append(f"datainf {datainf.__version__}")  # which may run without being installed
    memory = round(psutil.virtual_memory().total / 2**30)
    return (
        f"{accelerator()}{os.cpu_count()} cores ({processor()}, {memory} GiB), "
        f"Python {platform.python_version()}, {', '.join(packages)}."
    )
