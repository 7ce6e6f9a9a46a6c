"""Exponents in n and d from the points that the scaling study measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, TypeVar

from experiments.scaling.power_law import PowerLaw, power_law

LEAST_WORK = {"datainf": 2**18, "exact": 2**24}
"""Below so much work, n·d and n·d·min(n, d), most of a call is its own start. Sizes are left out by
this and not by the time that they took, which would bend the law."""

Point = Mapping[str, Any]
K = TypeVar("K")


def error_laws(points: Sequence[Point]) -> dict[tuple[str, float, str], PowerLaw]:
    """(what is bounded, λ, side) → the law of the absolute error ‖D‖₂.

    The side is "below" where the mean ‖g‖² is a tenth of λ at most, so that the error can still
    grow, "above" where it is more than λ and 1/λ is near, or "between". Sides with too few points
    are left out.
    """
    groups: dict[tuple[str, float, str], list[tuple[Point, float]]] = defaultdict(list)
    for point in points:
        for error in point["errors"]:
            bounded, lam = error["bounded"], error["lambda"]
            size = point["d"] if bounded == "entries" else 1.0
            side = "below" if size <= lam / 10 else "above" if size > lam else "between"
            groups[bounded, lam, side].append((point, error["absolute"]))
    return _laws(groups)


def cost_laws(results: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], PowerLaw]:
    """(method, shape) → the law of its seconds; `exact` works on the smaller side, so that its
    shapes d ≤ n and d > n are two laws. A size counts once, by its median over seeds."""
    sizes: dict[tuple[str, int, int], list[float]] = defaultdict(list)
    for result in results:
        [point] = result["points"]
        for method, seconds in result["seconds"].items():
            sizes[method, point["n"], point["d"]].append(seconds)
    groups: dict[tuple[str, str], list[tuple[Point, float]]] = defaultdict(list)
    for (method, n, d), found in sizes.items():
        work = n * d * (min(n, d) if method == "exact" else 1)
        shape = "all"
        if method == "exact":
            shape = "d ≤ n" if d <= n else "d > n"
        if work >= LEAST_WORK[method]:
            groups[method, shape].append(({"n": n, "d": d}, median(found)))
    return _laws(groups)


def _laws(groups: Mapping[K, Sequence[tuple[Point, float]]]) -> dict[K, PowerLaw]:
    found = {
        key: power_law([{"n": p["n"], "d": p["d"]} for p, _ in group], [v for _, v in group])
        for key, group in groups.items()
    }
    return {key: law for key, law in found.items() if law is not None}
