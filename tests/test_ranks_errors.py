"""What goes wrong in one of several processes ends them all, and is said once."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

import datainf
import faults_worker
from datainf import ranks
from datainf.cli import COMMANDS
from datainf.cli.console import OurConsole
from datainf.cli.several import SHARED, print_error
from datainf.errors import DataError, PeerError
from test_ranks import launched

PATIENCE = 900
"""Seconds, many times what it takes; without these errors processes would wait for days."""
ALONE = [name for name in COMMANDS if name not in SHARED]
MESSAGES = {
    "nonfinite": "the gradient of weight or its squared norm is NaN or infinite in float32",
    "data": "error: row 3: here alone",
    "all": "error: row 3: the same in all",
    "disk": "shard-00001.safetensors: No space left on device",
    "interrupt": "of 12 gradients are kept, those of finished shards; those that were begun start",
}


@pytest.mark.parametrize("fault", MESSAGES)
def test_an_error_in_one_ends_all_and_is_said_once(fault, tmp_path):
    done = launched(2, Path(faults_worker.__file__), fault, tmp_path / "store", timeout=PATIENCE)
    assert done.returncode != 0
    said, _, table = done.stderr.partition("Traceback")
    message = MESSAGES[fault]
    assert said.count(message) == 1, done.stderr
    assert " 0 of 12 gradients" not in said, "what is noted is kept, before it is in the index"
    assert said.count("error:") == (fault != "interrupt"), "and nothing else"
    assert "Traceback" not in table, "torchrun's own is the only one"
    cause = table.partition("Root Cause")[2]
    assert message.removeprefix("error: ") in cause, "the table ends with it"
    if fault in ("nonfinite", "disk", "interrupt"):  # what others did is kept: go on from there
        whole = collected(tmp_path / "alone")
        assert same_files(collected(tmp_path / "store"), whole)


def test_a_worker_that_dies_is_started_again_at_its_shard(tmp_path):
    done = launched(
        2, Path(faults_worker.__file__), "kill", tmp_path / "store",
        options=["--max-restarts", "1"], timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "SIGKILL" in done.stderr or "-9" in done.stderr, "it did die"
    assert same_files(tmp_path / "store", collected(tmp_path / "alone"))


def collected(folder):
    model, data, task = faults_worker.model(), faults_worker.data(), faults_worker.task()
    datainf.collect(model, data, task, out=folder, shard_rows=2)
    return folder


def same_files(one, other):
    """Whether two stores have the same bytes in their shards, and the same index of them."""
    names = sorted(path.name for path in other.glob("*.safetensors"))
    indices = [json.loads((store / "index.json").read_text())["shards"] for store in (one, other)]
    return (
        names == sorted(path.name for path in one.glob("*.safetensors"))
        and all((one / name).read_bytes() == (other / name).read_bytes() for name in names)
        and indices[0] == indices[1]
        and not list(one.glob("shard-*.json"))
    )


ARGUMENTS = {
    "select": ["run", "--out", "out"], "evaluate": ["run"], "demo": [],
    "plan": ["--adapter", "a"],
}  # fmt: skip


@pytest.mark.parametrize("command", ALONE)
def test_commands_of_one_process_are_refused(command, datainf, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "0")
    code, _, told = datainf(command, *ARGUMENTS.get(command, ["run"]))
    assert code == 1
    assert f"datainf {command} is the work of one process, and 3 were started" in told
    assert f"datainf {command} without torchrun" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["top", "run"], "datainf top is the work of one process, and 2 were started"),
        (["collect", "--nothing", "1"], "No such option"),
    ],
)
def test_a_refusal_is_printed_once(arguments, message):
    done = launched(2, "-m", "datainf", *arguments, timeout=PATIENCE)
    assert done.returncode != 0
    assert done.stderr.partition("Traceback")[0].count(message) == 1, done.stderr


@pytest.mark.parametrize(
    ("error", "first", "done"),
    [
        (DataError("no such file"), True, ["no such file"]),
        (DataError("no such file"), False, ["waited"]),
        (PeerError("another is gone"), True, ["waited", "another is gone"]),
    ],
)
def test_what_has_less_to_say_waits_to_be_ended(error, first, done, monkeypatch):
    """Were it gone first, torchrun would take it for the cause, and end the one that speaks."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    happened = []
    monkeypatch.setattr(time, "sleep", lambda _: happened.append("waited"))
    monkeypatch.setattr(ranks, "is_first_to_say", lambda _: first)
    monkeypatch.setattr(OurConsole, "print_error", lambda _, error: happened.append(error.message))
    print_error(error)
    assert happened == done


def test_a_process_that_is_gone_is_told_of(tmp_path):
    """Where nothing ends the others, as torchrun does, they end themselves."""
    code = (
        "import os, torch; from datainf.ranks import ranks; from datainf.errors import PeerError\n"
        "them = ranks()\n"
        "if them.rank == 1: os._exit(0)\n"
        "try: them.sum(torch.ones(1))\n"
        f"except PeerError as error: open({str(tmp_path / 'told')!r}, 'w').write(str(error))"
    )
    (tmp_path / "worker.py").write_text(code)
    launched(2, tmp_path / "worker.py", timeout=PATIENCE)
    assert "another of the processes that work on this" in (tmp_path / "told").read_text()
