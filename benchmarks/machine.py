"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version


def describe_machine() -> str:
    packages = (f"{name} {version(name)}" for name in ("torch", "transformers", "peft", "datainf"))
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, "
        f"{', '.join(packages)}."
    )
