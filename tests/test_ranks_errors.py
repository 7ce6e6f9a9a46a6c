"""What goes wrong in one of several processes ends them all, and is said once."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import datainf
import faults_worker
from conftest import TEXTS, write_rows
from datainf import meeting, ranks
from datainf.cli import COMMANDS
from datainf.cli.console import OurConsole
from datainf.cli.several import SHARED, print_error
from datainf.errors import DataError, PeerError
from test_ranks import launched

PATIENCE = 900
"""Seconds, many times what it takes; without these errors processes would wait for days."""
SOON = 240
"""As many, of what would wait for days in silence."""
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
    ("error", "unsaid", "done"),
    [
        (DataError("no such file"), True, ["no such file"]),
        (DataError("no such file"), False, ["waited"]),
        (DataError("no such file"), None, ["waited", "no such file"]),
        (PeerError("another is gone"), True, ["waited", "another is gone"]),
    ],
)
def test_what_has_less_to_say_waits_to_be_ended(error, unsaid, done, monkeypatch):
    """Were it gone first, torchrun would take it for the cause, and end the one that speaks."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    happened = []
    monkeypatch.setattr(time, "sleep", lambda _: happened.append("waited"))
    monkeypatch.setattr(meeting, "is_unsaid", lambda _: unsaid)
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


MEETS = """
import sys
from datetime import timedelta
from datainf import meeting, ranks
from datainf.errors import PeerError
from datainf.ranks import ranks

meeting.MEETING = timedelta(seconds=6)
try:
    ranks()
except PeerError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize(
    ("present", "missing"),
    [([0], "2 have not come to {}: ranks 1 and 2"), ([0, 2], "1 has not come to {}: rank 1"),
     ([1], "1 has not come to {}: rank 0")],
)  # fmt: skip
def test_who_does_not_come_is_named(present, missing):
    """Of which no connection tells."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "3"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", MEETS], env=os.environ | where | {"RANK": str(rank)},
            stderr=subprocess.PIPE, text=True,
        )
        for rank in present
    ]  # fmt: skip
    told = [process.communicate(timeout=PATIENCE)[1] for process in started]
    assert f"of 3 processes {missing.format(f'127.0.0.1:{port} within 6.0 s')}" in told[0]
    assert all("is gone" in one or "not come" in one for one in told)


@pytest.mark.parametrize("shared", ["0", "1"])
def test_an_error_before_all_have_met_is_said_once(shared, tmp_path, monkeypatch):
    """With a board of torchrun's, and with none yet."""
    monkeypatch.setenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", shared)
    done = launched(2, Path(faults_worker.__file__), "all", tmp_path / "store", timeout=PATIENCE)
    said = done.stderr.partition("Traceback")[0]
    assert said.count("error: row 3: the same in all") == 1, done.stderr
    assert "C++" not in done.stderr
    assert "socket" not in done.stderr


def test_what_does_not_fit_in_one_is_no_plan_of_any(saved_llama, tmp_path):
    """Each measures its own memory: one that goes on would wait for one that does not."""
    rows = write_rows(tmp_path / "rows.jsonl", [{"text": text} for text in TEXTS])
    worker, out = Path(faults_worker.__file__), tmp_path / "store"
    done = launched(2, worker, "planned", saved_llama[1], rows, out, timeout=SOON)
    said = done.stderr.partition("Traceback")[0]
    assert said.count("error:") == 1, done.stderr
    assert "tokens, of which a backward pass takes some" in said
    assert "10.0 kB are left on cpu for each of 2 processes" in " ".join(said.split())
    assert not out.exists()


def test_batches_are_those_of_the_process_that_has_the_least_memory(tmp_path):
    worker, out = Path(faults_worker.__file__), tmp_path / "store"
    done = launched(2, worker, "memory", out, timeout=SOON)
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "index.json").read_text())["notes"]["batch_tokens"] == 1


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), torch.OutOfMemoryError),
        (RuntimeError("NCCL error, invalid usage\nDuplicate GPU detected"), RuntimeError),
        (RuntimeError("Connection closed by peer"), PeerError),
    ],
)
def test_an_error_of_one_s_own_is_not_another_s(error, raised):
    with pytest.raises(raised) as caught, ranks._heard():
        raise error
    assert type(caught.value) is raised


@pytest.mark.parametrize(("gpus", "by_cpu"), [((None, None), False), (("a", "b"), False),
                                              (("a", "b", "a"), True)])  # fmt: skip
def test_what_lies_on_a_gpu_of_several_goes_over_the_cpu(gpus, by_cpu, monkeypatch):
    """NCCL takes one process a GPU."""
    gone = []
    monkeypatch.setattr(ranks.dist, "all_reduce", lambda X: gone.append(X) or X.mul_(3))
    monkeypatch.setattr(torch.Tensor, "cpu", torch.Tensor.clone)  # as of one that is elsewhere
    X = torch.ones(2)
    assert ranks.Ranks(0, len(gpus), gpus).sum(X) is X
    assert X.tolist() == [3, 3]
    assert (gone[0] is not X) == by_cpu
