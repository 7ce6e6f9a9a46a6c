"""Secrets that nothing here writes down or says: they come in by the environment and by addresses,
and leave, but for this, by messages, settings and notes."""

from __future__ import annotations

import os
import re

HIDDEN = "***"
NAMES = re.compile(
    r"(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|KEY|KEY_ID)$", re.IGNORECASE
)
"""Variables of the environment whose values are secrets."""
LEAST = 8
"""Characters of a secret: a shorter one cannot be told from any word."""
USER = re.compile(r"(:/{1,2})[^/\s@]+@")
"""With one slash too: as a path an address loses the other."""
PARAMETER = re.compile(
    r"(?<=[?&;])([\w.-]*(?:token|secret|signature|sig|key|password|credential)[\w.-]*=)[^&\s'\"]+",
    re.IGNORECASE,
)
KNOWN = re.compile(r"\b(hf_[A-Za-z0-9]{16,}|AKIA[0-9A-Z]{16})\b")
"""As the hub's tokens and AWS's keys begin."""


def redacted(text: str) -> str:
    """A text with `***` for what an address says of its user, for its parameters that are named
    like secrets, and for values of the environment that are."""
    for name, value in os.environ.items():
        if len(value) >= LEAST and value in text and NAMES.search(name) and not _is_path(value):
            text = text.replace(value, HIDDEN)
    text = USER.sub(rf"\1{HIDDEN}@", text)
    return KNOWN.sub(HIDDEN, PARAMETER.sub(rf"\1{HIDDEN}", text))


def _is_path(value: str) -> bool:
    """Where a secret lies is none."""
    return value.startswith(("/", "~", "."))
