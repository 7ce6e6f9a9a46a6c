"""Work on several blocks at one time."""

from __future__ import annotations

import signal
import threading
import time

import pytest
import torch

from datainf.scoring import in_parallel

NAMES = [f"block {place}" for place in range(400)]


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)


def run(done, fail):
    """Blocks of 5 ms, with `fail` called at the second one."""

    def work(names):
        for name in names:
            if name == NAMES[1]:
                fail()
            time.sleep(0.005)
            done.append(name)

    in_parallel(work, NAMES, torch.device("cpu"))


def test_every_block_is_worked_on_once():
    found = in_parallel(list, NAMES, torch.device("cpu"))
    assert found == [NAMES[::2], NAMES[1::2]]


def test_an_error_in_one_share_ends_the_others():
    done = []

    def fail():
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        run(done, fail)
    assert len(done) < 20


@pytest.fixture
def interruptible():
    """As a process in the foreground is: one in the background may have been started deaf."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_all_shares():
    done, main = [], threading.main_thread().ident
    with pytest.raises(KeyboardInterrupt):
        run(done, lambda: signal.pthread_kill(main, signal.SIGINT))
    assert len(done) < 100
