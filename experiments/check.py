"""Are the committed figures what the code gives? Some finished cells are run again and compared.

Cells are deterministic on one machine with the same number of threads. On another one training
rounds otherwise, and figures move as they do from seed to seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.cells import Key, Ledger, Study, name

TIMED = ("seconds", "score_seconds", "passes")
"""What a cell's clock says, which no second run repeats."""


@dataclass(frozen=True)
class Comparison:
    """A cell run again: how many figures it has, and those that differ, path → (known, found)."""

    cell: str
    figures: int
    different: dict[str, tuple[float, float]]

    @property
    def worst(self) -> tuple[str, float] | None:
        """The largest difference relative to the larger of the two figures, and where it is."""
        sizes = {path: abs(a - b) / max(abs(a), abs(b)) for path, (a, b) in self.different.items()}
        return max(sizes.items(), key=lambda item: item[1]) if sizes else None


def sample(
    wanted: Sequence[tuple[Study, list[Key]]], known: Mapping[str, Ledger], count: int, seed: int
) -> list[tuple[Study, list[Key]]]:
    """Of each study, `count` finished cells drawn at random; of studies that time, none."""
    draw = random.Random(seed)
    chosen = []
    for study, keys in wanted:
        finished = [key for key in keys if key in known[study.name] and not study.alone]
        chosen.append((study, draw.sample(finished, min(count, len(finished)))))
    return [(study, keys) for study, keys in chosen if keys]


def compare(key: Key, study: str, known: Mapping[str, Any], found: Mapping[str, Any]) -> Comparison:
    """What was found before and what is now, of the figures that both have."""
    old, new = dict(_figures(known)), dict(_figures(found))
    common = [path for path in old if path in new]
    different = {path: (old[path], new[path]) for path in common if old[path] != new[path]}
    return Comparison(f"{study} {name(key)}", len(common), different)


def _figures(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key not in TIMED:
                yield from _figures(inner, f"{path}/{key}")
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _figures(inner, f"{path}/{position}")
    elif isinstance(value, int | float):
        yield path, float(value)
