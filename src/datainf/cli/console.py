"""What the terminal shows: messages, errors, progress. Quiet about progress when not a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from datainf.errors import DatainfError
from datainf.launch import launch

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def is_first() -> bool:
    """Whether this is the process that speaks, of those that torchrun has started."""
    return launch().rank == 0


def plain(text: str, limit: int | None = None) -> str:
    """Text from data, safe to print: control characters shown as such, cut to `limit`."""
    text = CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)
    return text if limit is None or len(text) <= limit else text[: limit - 1] + "…"


class OurConsole(Console):
    """A console that knows how our errors look."""

    def print_error(self, error: DatainfError) -> None:
        """What happened, and what to try."""
        self.print(f"[bold red]error:[/] {escape(plain(error.message))}", highlight=False)
        if error.remedy:
            self.print(f"[bold]try:[/] {escape(plain(error.remedy))}", highlight=False)


def console() -> OurConsole:
    """Results, on stdout. Wide when piped, so that no table is cut to 80 columns."""
    out = OurConsole(highlight=False, quiet=not is_first())
    return out if out.is_terminal else OurConsole(highlight=False, quiet=out.quiet, width=160)


def error_console() -> OurConsole:
    """Messages and progress, on stderr, of the process that speaks."""
    return OurConsole(stderr=True, highlight=False, soft_wrap=True, quiet=not is_first())


def any_console() -> OurConsole:
    """What a process has to say whichever it is, on stderr."""
    return OurConsole(stderr=True, highlight=False, soft_wrap=True)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.1f}/s")


class TerminalProgress:
    """Bars with count, rate and time left; see `datainf.progress.Progress`."""

    def __init__(self, bars: RichProgress) -> None:
        self.bars = bars

    def stage(self, what: str, total: int, done: int = 0) -> Callable[[int], None]:
        task = self.bars.add_task(what, total=total, completed=done)
        return lambda units: self.bars.advance(task, units)


@contextmanager
def progress() -> Iterator[TerminalProgress]:
    """Progress bars on stderr; nothing is shown when stderr is not a terminal."""
    shown = error_console()
    with RichProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=shown,
        disable=shown.quiet or not shown.is_terminal,
    ) as bars:
        yield TerminalProgress(bars)


def say(message: str) -> None:
    """A line about the work, on stderr."""
    error_console().print(escape(plain(message)))
