"""Secrets that nothing here writes down or says: they come in by the environment and by addresses,
and leave, but for this, by messages, settings and notes."""

from __future__ import annotations

import os
import re
from base64 import b64decode
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
    r"(?<=[?&;#])((?=[\w.-]{0,100}(?:token|secret|sig|key|password|passwd|pwd|pass|auth|credential|upload_?id))"
    r"[\w.-]{1,100}=)[^&\s'\"]+",
    re.IGNORECASE,
)
"""No name is longer: what follows is looked at once, however often a text has such words. Who knows
an upload's id can go on with it."""
KNOWN = re.compile(r"(?<![A-Za-z0-9])(hf_[A-Za-z0-9]{16,}|AKIA[0-9A-Z]{16}(?![A-Za-z0-9]))")
"""As the hub's tokens and AWS's keys begin."""
AUTHORIZATION = re.compile(
    r"""(authorization
        (?:\\?["']?[ \t]*(?::|(?<![?&;#]authorization)=)|\\?["'][ \t]*,)
        [ \t]*(?:[\[(]\s*)?(?:b(?=["']))?)
    (?:(\\?["'])((?:(?!\2)(?:[^\\\n]|\\.))+)
        |([^\s'"](?:[^\n'"]|(?<==)"[^"\n]*"|(?<==)'[^'\n]*')*))""",
    re.IGNORECASE | re.VERBOSE,
)
"""A header of HTTP, as it is sent or as Python and JSON show it: up to its quote, or to its line's
end. In an address it is a parameter."""
SCHEME = re.compile(r"(?:Basic|Bearer|Digest|Negotiate|NTLM|Token|AWS4-HMAC-SHA256)(?=[ \t])", re.I)
BEARER = re.compile(
    r"""(?<![/\\])\b(Bearer)\s+
    (?=[\w.~+/=-]*?(?-i:[A-Za-z]\d|\d[A-Za-z]|[a-z][A-Z]|\d{16}))
    (?:[\w.~+=-]{16,}+(?![/\\])|[\w.~+/=-]{32,}+(?!\\))""",
    re.IGNORECASE | re.VERBOSE,
)
"""Where no header is named: a word is none, nor is a part of a path; with a slash in it only what
is long."""
BASIC = re.compile(r"\b(Basic)\s+([A-Za-z0-9+/_-]{4,}={0,2})", re.IGNORECASE)
"""Where no header is named, and what follows is a user and a password, which base64 tells."""


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
    text = BEARER.sub(rf"\1 {HIDDEN}", AUTHORIZATION.sub(_without_credential, text))
    text = BASIC.sub(_without_password, text)
    return KNOWN.sub(HIDDEN, PARAMETER.sub(rf"\1{HIDDEN}", text))


def noted(argument: str) -> str:
    """What a person gave, as it is noted: a path of something that is there as it is, for it would
    lead nowhere otherwise."""
    return argument if _is_path(argument) else redacted(argument)


def beginning(value: object, most: int = 40) -> str:
    """At most so many characters of a value: of a secret that was cut, `redacted` would not know
    the rest."""
    return redacted(str(value))[:most]


def _without_credential(header: re.Match[str]) -> str:
    name, quote, quoted, bare = header.groups()
    scheme = SCHEME.match(quoted or bare)
    kept = "" if scheme is None else f"{scheme[0]} "
    return f"{name}{quote or ''}{kept}{HIDDEN}"


def _without_password(found: re.Match[str]) -> str:
    scheme, credential = found.groups()
    plain = credential.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        told = b64decode(plain + "=" * (-len(plain) % 4)).decode()
    except ValueError:
        return found[0]
    return f"{scheme} {HIDDEN}" if ":" in told and told.isprintable() else found[0]


def _is_path(value: str) -> bool:
    """Where a secret lies is none."""
    try:
        return Path(value).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long, a zero in it, a user who is not there
        return False
