"""What installing the package brings: its requirements, theirs, and so on, as installed here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("diffusion", "notebook", "captum", "experiments")
"""Those that go into one environment; quanda needs an older NumPy, and test, docs and dev
are for work on the package itself."""


class Missing(Exception):
    """A distribution that is asked for and not installed cannot be judged."""


def find(name: str, wanted_by: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        raise Missing(f"{name}, which {wanted_by} asks for, is not installed here") from error


def requirements(of: Distribution, extras: Iterable[str]) -> Iterator[Requirement]:
    """What a distribution asks for with these extras, on this machine and Python."""
    environments = [{"extra": extra} for extra in ("", *extras)]
    for text in of.requires or []:
        asked = Requirement(text)
        if asked.marker is None or any(asked.marker.evaluate(e) for e in environments):
            yield asked


def brought(name: str, extras: Iterable[str] = ()) -> dict[str, Distribution]:
    """All that `name[extras]` brings, by canonical name and in order of it, without itself.

    Raises:
        Missing: something is asked for that is not installed.
    """
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    todo = [(name, frozenset(extras), "you")]
    while todo:
        now, chosen, wanted_by = todo.pop()
        if (now, chosen) in seen:
            continue
        seen.add((now, chosen))
        found[now] = find(now, wanted_by)
        todo += [
            (canonicalize_name(asked.name), frozenset(asked.extras), now)
            for asked in requirements(found[now], chosen)
        ]
    del found[name]
    return dict(sorted(found.items()))
