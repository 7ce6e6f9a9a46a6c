"""The command line of the experiments: what it refuses, and what it says of what is left."""

from __future__ import annotations

import shutil

import pytest
from typer.testing import CliRunner

from datainf.errors import StoreBusyError
from datainf.files import locked
from experiments import __main__ as main
from experiments.__main__ import app
from experiments.plan import COMMITTED
from experiments.workers import Failure


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
    assert [file.name for file in (tmp_path / "mine").iterdir()] == [".lock"]


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


def test_files_that_are_not_there_are_named_before_anything_runs(cli, tmp_path):
    (tmp_path / "glue" / "MRPC").mkdir(parents=True)
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / "glue" / "MRPC" / name).touch()
    done = cli("run", "mislabeled", "images", "--data", str(tmp_path))
    assert done.exit_code == 2
    said = "".join(done.output.split())
    for file in ("glue/QQP/train_subset.tsv", "glue/WNLI/dev.tsv", "emoji_styles/metadata.jsonl"):
        assert f"no{tmp_path / file}" in said
    assert "MRPC" not in said


@pytest.mark.parametrize("minutes", ["-1", "nan", "inf"])
def test_a_time_that_is_none_is_refused(cli, minutes):
    done = cli("run", "text", "--minutes", minutes)
    assert done.exit_code == 2
    assert "--minutes" in done.output


def test_a_report_of_nothing_is_refused_and_overwrites_nothing(cli, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "RESULTS.md").write_text("of another scale")
    done = cli("report")
    assert done.exit_code == 2
    assert "no finished cells of the scale desk" in " ".join(done.output.split())
    assert (tmp_path / "mine" / "RESULTS.md").read_text() == "of another scale"


def test_a_second_run_into_the_same_folder_is_told(cli, tmp_path):
    (tmp_path / "mine").mkdir()
    with locked(tmp_path / "mine"):
        done = cli("run", "text", "--minutes", "0")
    assert isinstance(done.exception, StoreBusyError)


def test_a_line_that_cannot_be_read_is_named(cli, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "text.jsonl").write_text("[1]\n")
    done = cli("plan", "text")
    assert "text.jsonl,line1:cannotberead" in "".join(done.output.split())


def test_a_run_that_is_interrupted_says_what_is_kept(cli, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "work", interrupted)
    done = cli("run", "text")
    assert done.exit_code == 130
    assert "stopped: 0 of 15 cells are finished" in " ".join(done.output.split())


def test_cells_that_fail_alike_are_told_once(cli, monkeypatch):
    def failed(plan, **_):
        return [Failure(cell, "Traceback\nOSError: no hub") for cell in plan.pending[:3]]

    monkeypatch.setattr(main, "work", failed)
    done = cli("run", "text")
    assert done.exit_code == 1
    assert done.output.count("OSError: no hub") == done.output.count("FAILED") == 1
