"""Help waits for no library."""

from __future__ import annotations

import pytest
import typer.main

from datainf.cli import app
from fresh import HEAVY, loaded_after

COMMANDS = typer.main.get_command(app).commands


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)], ids=" ".join
)
def test_help_imports_no_library(words):
    code = f"""
import runpy
sys.argv = {["datainf", *words]}
runpy.run_module("datainf", run_name="__main__")
"""
    loaded = loaded_after(code)
    assert "datainf" in loaded
    assert not loaded & HEAVY
