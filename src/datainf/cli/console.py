"""What the terminal shows: messages, errors, progress. Quiet about progress when not a terminal."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

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
from datainf.redaction import redacted

JOINED = re.compile(r"(?<=[^\x00-\x7f])[\u200c\u200d](?=[^\x00-\x7f])")
"""Joiners within a script or an emoji that has them, where they are letters' own."""

MOST = 4000
"""Characters of a message: it may name all columns of the data."""


def is_leader() -> bool:
    """Whether this is the process that speaks, of those that torchrun has started."""
    return launch().rank == 0


def plain(text: str, limit: int | None = None) -> str:
    """Text from data, safe to print: what a terminal would obey or not show is written out, such as
    \\x1b and \\u202e; lines and tabs stay. Cut to `limit`."""
    if not text.isprintable():
        joined = {
            found.start()
            for found in JOINED.finditer(text)
            if text[found.start() - 1].isprintable() and text[found.end()].isprintable()
        }
        text = "".join(
            letter if place in joined or _shows(letter) else _written_out(letter)
            for place, letter in enumerate(text)
        )
    return text if limit is None or len(text) <= limit else text[: limit - 1] + "…"


def _shows(letter: str) -> bool:
    """Neither a control, format, private or unassigned character, half of one, nor a separator of
    lines but \\n."""
    return letter.isprintable() or letter in "\n\t" or unicodedata.category(letter) == "Zs"


def _written_out(letter: str) -> str:
    return (
        letter.encode("ascii", "backslashreplace").decode()
        if ord(letter) > 0x7F
        else f"\\x{ord(letter):02x}"
    )


class OurConsole(Console):
    """A console that knows how our errors look, and obeys no character of a text: whatever is
    printed as a `str`, in a table too, is as `plain` has it."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(plain(text), **options | {"emoji": False})

    def print_error(self, error: DatainfError) -> None:
        """What happened, and what to try."""
        self.print(f"[bold red]error:[/] {escape(_indented(error.message))}", highlight=False)
        if error.remedy:
            self.print(f"[bold]try:[/] {escape(_indented(error.remedy))}", highlight=False)


def _indented(message: str) -> str:
    """So that no line that a message quotes can look like one of ours."""
    return plain(message, MOST).replace("\n", "\n  ")


def console() -> OurConsole:
    """Results, on stdout. Wide when piped, so that no table is cut to 80 columns."""
    out = OurConsole(highlight=False, quiet=not is_leader())
    return out if out.is_terminal else OurConsole(highlight=False, quiet=out.quiet, width=160)


def error_console() -> OurConsole:
    """Messages and progress, on stderr, of the process that speaks."""
    return OurConsole(stderr=True, highlight=False, soft_wrap=True, quiet=not is_leader())


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
        task = self.bars.add_task(escape(plain(what)), total=total, completed=done)
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
    error_console().print(escape(_indented(redacted(message))))
