"""The command line of the experiments: what it refuses, and what it says of what is left."""

from __future__ import annotations

import shutil

import pytest
from typer.testing import CliRunner

from experiments.__main__ import app
from experiments.plan import COMMITTED


@pytest.fixture
def cli(tmp_path):
    def call(*words):
        return CliRunner().invoke(app, [*words, "--out", str(tmp_path / "mine")])

    return call


def test_a_run_that_needs_local_files_says_so(cli):
    done = cli("run", "mislabeled", "text")
    assert done.exit_code == 2
    assert "glue read local files" in " ".join(done.output.split())


def test_a_run_that_has_no_time_starts_nothing_and_says_what_is_left(cli, tmp_path):
    done = cli("run", "text", "--minutes", "0")  # text is made up by the code: no --data
    assert done.exit_code == 0
    assert "15 cells left, about" in done.output
    assert (tmp_path / "mine" / "RESULTS.md").is_file()
    assert not (tmp_path / "mine" / "text.jsonl").exists()


def test_what_is_finished_needs_no_data(cli, tmp_path):
    (tmp_path / "mine").mkdir()
    shutil.copy(COMMITTED / "desk" / "training.jsonl", tmp_path / "mine")
    shutil.copy(COMMITTED / "desk" / "glue.jsonl", tmp_path / "mine")
    done = cli("run", "norms")
    assert done.exit_code == 0
    assert "left" not in done.output


def test_an_unknown_experiment_is_named(cli):
    done = cli("plan", "mislabelled")
    assert done.exit_code == 2
    assert "mislabelled" in done.output
    assert "mislabeled" in done.output
