"""Secrets that nothing here writes down or says: they come in by the environment and by addresses,
and leave, but for this, by messages, settings and notes."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, quote_plus

HIDDEN = "***"
NAMES = re.compile(
    r"(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|KEY|KEY_ID)$", re.IGNORECASE
)
"""Variables of the environment whose values are secrets."""
LEAST = 8
"""Characters of a secret: a shorter one cannot be told from any word."""
USER = re.compile(r"(:/{1,2})(?:[^/\s:@]*:(?!\d+/)\S{0,500}|[^/\s]*)@")
"""With one slash too: as a path an address loses the other. Up to the last @, as passwords may have
that letter too, and a slash; but a port has none."""
PARAMETER = re.compile(
    r"(?<=[?&;#])((?=[\w.-]{0,100}(?:token|secret|sig|key|password|passwd|pwd|pass|auth|credential))"
    r"[\w.-]{1,100}=)[^&\s'\"]+",
    re.IGNORECASE,
)
"""No name is longer: what follows is looked at once, however often a text has such words."""
KNOWN = re.compile(r"(?<![A-Za-z0-9])(hf_[A-Za-z0-9]{16,}|AKIA[0-9A-Z]{16}(?![A-Za-z0-9]))")
"""As the hub's tokens and AWS's keys begin."""
HEADER = re.compile(r"\b(Bearer|Basic)\s+(?=[\w.~+/=-]*\d)[\w.~+/=-]{16,}", re.IGNORECASE)
"""As a header of HTTP brings one; without a figure in it, it is a word."""


def redacted(text: str) -> str:
    """A text with `***` for what an address says of its user, for its parameters that are named
    like secrets, and for values of the environment that are, be they written as in an address."""
    values = [value for name, value in os.environ.items() if NAMES.search(name)]
    for value in sorted(values, key=len, reverse=True):  # one may begin with another
        forms = (value, quote(value), quote(value, safe=""), quote_plus(value))
        if len(value) >= LEAST and any(form in text for form in forms) and not _is_path(value):
            for form in forms:
                text = text.replace(form, HIDDEN)
    text = USER.sub(rf"\1{HIDDEN}@", text)
    text = HEADER.sub(rf"\1 {HIDDEN}", text)
    return KNOWN.sub(HIDDEN, PARAMETER.sub(rf"\1{HIDDEN}", text))


def beginning(value: object, most: int = 40) -> str:
    """At most so many characters of a value: of a secret that was cut, `redacted` would not know
    the rest."""
    return redacted(str(value))[:most]


def _is_path(value: str) -> bool:
    """Where a secret lies is none."""
    try:
        return Path(value).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long, a zero in it, a user who is not there
        return False
