"""Check that all that the package brings has a licence that scripts/licences.toml allows.

python scripts/licences.py           # fails on what is unknown or forbidden
python scripts/licences.py --write   # and writes the table of docs/dependencies.md
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.metadata import Distribution
from pathlib import Path

from distributions import EXTRAS, Missing, brought

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "dependencies.md"
BEGIN, END = "<!-- licences: made by scripts/licences.py --write -->", "<!-- end of licences -->"


@dataclass(frozen=True)
class Policy:
    """What licences.toml says: each entry has its reason, or the SPDX identifier that it means."""

    allowed: Mapping[str, str]
    spellings: Mapping[str, str]
    exceptions: Mapping[str, str]

    @classmethod
    def load(cls) -> Policy:
        path = Path(__file__).with_suffix(".toml")
        return cls(**tomllib.loads(path.read_text(encoding="utf-8")))

    def exception(self, name: str) -> str | None:
        return next((why for odd, why in self.exceptions.items() if fnmatch(name, odd)), None)

    def spdx(self, stated: str) -> str:
        return self.spellings.get(stated, stated)

    def refused(self, expression: str) -> list[str]:
        """What of an SPDX expression is not allowed. Both sides of an OR must be: which of the
        two was chosen would have to be written down, and so far none asks for it."""
        parts = re.split(r"\s+(?:AND|OR|WITH)\s+|[()]", expression)
        return [part for part in map(str.strip, parts) if part and part not in self.allowed]


def stated(metadata: Mapping[str, str], classifiers: list[str]) -> str | None:
    """The licence that a distribution's metadata name: SPDX if they have it, else the field if it
    is a name and not a whole text, else the classifiers."""
    field = metadata.get("License") or ""
    if expression := metadata.get("License-Expression"):
        return expression
    if field.strip() and "\n" not in field and len(field) < 80:
        return field.strip()
    trove = [c.rpartition(" :: ")[2] for c in classifiers if c.startswith("License :: ")]
    return " AND ".join(trove) or None


def licence(of: Distribution, policy: Policy) -> str:
    found = stated(dict(of.metadata.items()), of.metadata.get_all("Classifier") or [])
    return policy.spdx(found) if found else "unknown"


def faults(found: Mapping[str, str], policy: Policy) -> list[str]:
    """What is wrong with these distributions and their licences, a line each."""
    return [
        f"{name}: {expression}; {', '.join(bad)} is not in scripts/licences.toml"
        for name, expression in found.items()
        if policy.exception(name) is None and (bad := policy.refused(expression))
    ]


def table(found: Mapping[str, str], policy: Policy) -> str:
    """The page's: what is let through as an exception is said beside it, not listed."""
    core, *extras = ({*brought("datainf", chosen)} for chosen in ([], *([e] for e in EXTRAS)))
    lines = ["| distribution | licence | comes with |", "|---|---|---|"]
    for name, expression in found.items():
        by = [extra for extra, names in zip(EXTRAS, extras, strict=True) if name in names]
        if policy.exception(name) is None:
            lines.append(
                f"| {name} | {expression} | {'the core' if name in core else ', '.join(by)} |"
            )
    return "\n".join(lines)


def main() -> None:
    policy = Policy.load()
    try:
        everything = brought("datainf", EXTRAS)
    except Missing as error:
        sys.exit(f"error: {error}\ntry: pip install '.[{','.join(EXTRAS)}]'")
    found = {name: licence(distribution, policy) for name, distribution in everything.items()}
    if wrong := faults(found, policy):
        sys.exit("\n".join(wrong))
    if sys.argv[1:] == ["--write"]:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        text = f"{before}{BEGIN}\n\n{table(found, policy)}\n\n{END}{after}"
        PAGE.write_text(text, encoding="utf-8")
    print(f"{len(found)} distributions, all with a licence that is allowed")


if __name__ == "__main__":
    main()
