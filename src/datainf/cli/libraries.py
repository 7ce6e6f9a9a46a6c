"""What the libraries below say: most of it would tear our messages apart, and what is left may
quote the data or a secret, so that it comes to the terminal as `datainf.cli.console.plain` and
`datainf.redaction` have it."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from datainf.cli.console import plain, say
from datainf.redaction import redacted

LOGGERS = ("", "transformers", "datasets", "diffusers", "huggingface_hub", "peft", "torch")


class _Plain(logging.Formatter):
    """Another one's lines, as `plain` has them."""

    def __init__(self, own: logging.Formatter | None) -> None:
        super().__init__()
        self.own = own or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        return plain(redacted(self.own.format(record)))


def quiet_libraries() -> None:
    """Progress bars and warnings of the libraries below would tear ours apart."""
    import datasets
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.utils.logging.set_verbosity_error()
    datasets.utils.logging.disable_progress_bar()
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # a traceback for each try that fails
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", module="peft")  # models.py looks at those that matter
    handlers = [handler for name in LOGGERS for handler in logging.getLogger(name).handlers]
    for handler in filter(None, (*handlers, logging.lastResort)):
        if not isinstance(handler.formatter, _Plain):
            handler.setFormatter(_Plain(handler.formatter))


def say_our_warnings() -> None:
    """Our own warnings, once each, as messages; others as Python shows them."""
    from datainf.gradients.append import AppendWarning
    from datainf.gradients.engine import FallbackWarning, UnusedWarning
    from datainf.gradients.pending import SkippedWarning
    from datainf.store.writer import DamagedWarning

    ours = (FallbackWarning, UnusedWarning, SkippedWarning, DamagedWarning, AppendWarning)
    for category in ours:
        warnings.simplefilter("once", category)

    show = warnings.showwarning

    def shown(message: Any, category: type[Warning], *where: Any, **options: Any) -> None:
        if issubclass(category, ours):
            say(f"note: {message}")
        else:
            text: Any = plain(redacted(str(message)))  # as a text it is shown as it is
            show(text, category, *where, **options)

    warnings.showwarning = shown


def told_plainly(program: Callable[[], None]) -> None:
    """Run it; an error that nobody foresaw is shown with its traceback, as Python does it, but with
    no control character of what it quotes. Exit code 1."""
    try:
        program()
    except Exception:
        sys.stderr.write(plain(redacted(traceback.format_exc())))
        raise SystemExit(1) from None
