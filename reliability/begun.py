"""What a process that may be killed does; importing it is what takes long."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import datasets  # noqa: F401
import peft  # noqa: F401
import torch
import transformers  # noqa: F401
from torch.distributed import run as torchrun
from torch.distributed.launcher.api import elastic_launch
from torch.multiprocessing import _prctl_pr_set_pdeathsig

import datainf.report
import datainf.runs  # noqa: F401
from datainf.cli import app
from datainf.launch import end_with_launcher
from reliability.processes import done

LOG = "RELIABILITY_LOG"
"""The variable by which forked processes know what they belong to."""


def alone(arguments: Sequence[str], log: Path) -> None:
    """The command line."""
    _say_to(log)
    _work(arguments)


def one_of_several(arguments: Sequence[str]) -> None:
    """The command line, in a process that torchrun has forked."""
    # As a command begins, which outlives a killed torchrun, and ends at once when it is told to.
    _prctl_pr_set_pdeathsig(0)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    end_with_launcher()
    _work(arguments)
    done(Path(os.environ[LOG]), os.getpid()).touch()


def together(
    options: Sequence[str],
    arguments: Sequence[str],
    log: Path,
    environment: Mapping[str, str],
    work: Callable[[Sequence[str]], None] = one_of_several,
) -> None:
    """torchrun with these options, and some work in each of its processes. These are forked, and so
    have the libraries read: each start takes tenths of a second in place of many."""
    _say_to(log)
    os.environ.update({**environment, LOG: str(log)})
    parser = torchrun.get_args_parser()
    config, _, _ = torchrun.config_from_args(
        parser.parse_args([*options, "--start-method", "fork", "-m", "datainf"])
    )
    elastic_launch(config, work)(arguments)


def _work(arguments: Sequence[str]) -> None:
    torch.set_num_threads(1)
    try:
        app(list(arguments))
    except SystemExit as end:
        if end.code:
            raise


def _say_to(log: Path) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    sys.stdout.flush()
    for stream in (1, 2):
        os.dup2(file, stream)
