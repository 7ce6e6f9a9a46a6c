"""Help waits for no library."""

from __future__ import annotations

from typing import get_args

import pytest
import typer.main

from datainf.cli import app
from datainf.cli.options import Stored
from datainf.store.encoding import DTYPES
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


def test_a_store_s_forms_are_checked_before_any_library_is_imported():
    assert get_args(Stored) == tuple(DTYPES)
    code = """
import runpy
sys.argv = ["datainf", "attribute", "--store", "int4"]
try:
    runpy.run_module("datainf", run_name="__main__")
except SystemExit as stop:
    assert stop.code == 2
"""
    assert not loaded_after(code) & HEAVY


@pytest.mark.parametrize(
    "words", [["top"], ["report"], ["view"], ["mislabeled"], ["select", "--out", "o"]], ids=" ".join
)
def test_what_is_no_run_is_refused_before_any_library_is_imported(words, tmp_path):
    code = f"""
import runpy
sys.argv = {["datainf", *words, str(tmp_path)]}
try:
    runpy.run_module("datainf", run_name="__main__")
except SystemExit as stop:
    assert stop.code == 1
"""
    assert not loaded_after(code) & HEAVY


@pytest.mark.parametrize("name", COMMANDS)
def test_help_breaks_lines_where_the_terminal_ends(name, datainf, monkeypatch):
    """Not where the docstring does: its lines are as long as those of code."""
    monkeypatch.setenv("COLUMNS", "300")
    code, out, _ = datainf(name, "--help")
    assert code == 0
    for paragraph in COMMANDS[name].callback.__doc__.split("\n\n"):
        assert " ".join(paragraph.split())[:250] in out
