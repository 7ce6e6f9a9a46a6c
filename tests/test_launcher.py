"""A process that torchrun has started ends when torchrun is killed; others work on."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from datainf import launch as launcher

WORKER = textwrap.dedent("""
    import time
    from datainf.launch import end_with_launcher

    end_with_launcher()
    print("watching", flush=True)
    time.sleep(60)
""")
FROM_PYTHON = textwrap.dedent("""
    import time
    from datainf.ranks import ranks

    ranks()
    print("watching", flush=True)
    time.sleep(60)
""")
LAUNCHER = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


@pytest.fixture
def started():
    """What starts a launcher and gives it with its process, which works by then."""
    both = []

    def start(worker=WORKER, **environment):
        command = [sys.executable, "-c", LAUNCHER, worker]
        process = psutil.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ | environment
        )
        assert process.stdout.readline() == b"watching\n"
        both.extend([process, *process.children()])
        return both

    yield start
    for one in both:
        if one.is_running():
            one.kill()


def is_alive(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("program", [WORKER, FROM_PYTHON], ids=["at once", "from Python, alone"])
def test_a_process_ends_soon_after_a_launcher_that_was_killed(started, program):
    process, worker = started(program, **{launcher.STARTED_BY: "x"})
    time.sleep(2 * launcher.INTERVAL)
    assert is_alive(worker), "as long as its launcher does"
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while is_alive(worker):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_one_that_a_shell_started_works_on(started):
    process, worker = started()
    process.kill()
    process.wait()
    time.sleep(3 * launcher.INTERVAL)
    assert is_alive(worker)


def test_without_a_word_of_machines_there_is_one(monkeypatch):
    for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    assert launcher.launch() == launcher.Launch(3, 4, local_rank=3, local_count=4)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert launcher.launch() == launcher.Launch(3, 4, local_rank=1, local_count=2)
