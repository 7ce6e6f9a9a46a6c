"""Several processes at one terminal: what only one may do, and one message for an error of all."""

from __future__ import annotations

from rich.markup import escape

from datainf.cli.console import any_console, plain
from datainf.errors import DatainfError, OptionError, PeerError
from datainf.launch import launch, linger, tell_launcher

SHARED = ("attribute", "collect", "score")
"""The commands whose work several processes share."""


def require_alone(command: str) -> None:
    """Raise `OptionError` if several processes were started for a command of one."""
    if launch().count > 1 and command not in SHARED:
        raise OptionError(
            f"datainf {command} is the work of one process, and {launch().count} were started",
            remedy=f"datainf {command} without torchrun; {', '.join(SHARED)} are shared",
        )


def print_error(error: DatainfError) -> None:
    """By the process that is first to meet it. The others wait to be ended with it, so that what
    it says is neither cut short nor hidden among theirs."""
    if isinstance(error, PeerError):  # that one tells more
        linger()
    if not speaks(str(error)):
        return
    tell_launcher(str(error))
    any_console().print_error(error)


def print_stop(text: str) -> None:
    """That a person has stopped it, by the first process that was. Each has been told, and goes."""
    if is_unsaid("stopped"):
        tell_launcher(text)
        any_console().print(escape(plain(text)))


def speaks(text: str) -> bool:
    """Whether this process is to say it. One that is not has waited to be ended; so has one that
    cannot know, which says it after all."""
    unsaid = is_unsaid(text)
    if not unsaid:
        linger()
    return unsaid is not False


def is_unsaid(text: str) -> bool | None:
    """Whether no other process has said this; None where that cannot be known."""
    if launch().count == 1:
        return True
    from datainf import meeting

    return meeting.is_unsaid(text)
