"""No option is empty: an unset variable of the shell would name the folder that one stands in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from datainf.errors import OptionError


def require_no_empty(words: Sequence[str], parameters: Sequence[Any]) -> None:
    """Raises `OptionError` for an empty word of a command line, named by the option it is for;
    looked at before a `Path` is made of it, which would then be "."."""
    options = {
        name for one in parameters if not getattr(one, "is_flag", False)
        for name in (*one.opts, *one.secondary_opts) if name.startswith("-")
    }  # fmt: skip
    for before, word in pairwise(["", *words]):
        if word == "":
            what = before if before in options else "an argument"
        elif word.endswith("=") and word[:-1] in options:
            what = word[:-1]
        else:
            continue
        raise OptionError(
            f"{what} is empty", remedy="a value there; is it a variable of the shell that is unset?"
        )
