"""The program, run in this process."""

from __future__ import annotations

import sys

import pytest

from datainf.cli import main


@pytest.fixture
def datainf(capsys, monkeypatch):
    """Run the program: datainf("top", …) → (exit code, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["datainf", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return call
