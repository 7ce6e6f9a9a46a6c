"""A fresh interpreter: what is imported there, and in which order, is not the tests' own doing."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

HEAVY = {
    "accelerate", "datasets", "numpy", "pandas", "peft", "pyarrow", "scipy", "sklearn", "torch",
    "transformers",
}  # fmt: skip
"""Libraries that take long to import."""


def python(code: str) -> str:
    """What code prints; its failure is the test's."""
    done = subprocess.run([sys.executable, "-c", dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_after(code: str) -> set[str]:
    """The packages that are imported once code has run; it may end in `sys.exit`."""
    watched = f"import atexit, sys\natexit.register(lambda: print(*sys.modules))\n{dedent(code)}"
    last = python(watched).splitlines()[-1]
    return {name.partition(".")[0] for name in last.split()}
