"""What is asked of the default method, held against the results: a table, so that it stays true."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from experiments.tables import MISSING, table

BLOCKWISE = ("datainf", "datainf, unit", "exact", "exact, module")


def verdicts(tasks: dict[str, dict[str, Any]]) -> list[str]:
    """Whether the default, by its own damping, is above each rival on every task."""
    if not tasks:
        return []
    own = {name: r["lds"]["checkpoints"][default(r)]["own"][0] for name, r in tasks.items()}
    rows = []
    for label, rival in (
        ("the other of `ridge` and `gauss-newton`, checkpoints", _other),
        ("`datainf`, last weights", _of("last", ("datainf",), "own")),
        ("`datainf`, checkpoints", _of("checkpoints", ("datainf",), "own")),
        ("best block-wise method, own damping, last weights", _of("last", BLOCKWISE, "own")),
        ("best block-wise method, best damping, checkpoints",
         _of("checkpoints", BLOCKWISE, "best")),
        ("best representation similarity", _similar),
        ("`gradient`, checkpoints", _of("checkpoints", ("gradient",), "own")),
        ("best of other tools, last weights, best damping", _peers),
        ("the first measurement's recipe, nλ = 10", _of(
            "checkpoints", ("recipe of the start",), "own")),
    ):  # fmt: skip
        cells = []
        for name, result in tasks.items():
            value = rival(result)
            if value is None:
                cells.append(MISSING)
                continue
            mark = "above" if own[name] > value else "**below**"
            if f"{own[name]:.2f}" == f"{value:.2f}":
                mark = "level"
            cells.append(f"{mark} ({value:.2f})".replace("0.", "."))
        rows.append((label, *cells))
    shares = [share(result) for result in tasks.values()]
    rows.append(("share of the ceiling", *(f"{value:.0%}" for value in shares)))
    return [
        "The default at the checkpoints, `ridge` for classifiers and `gauss-newton` for others, "
        "by the damping of the learning rates, beside (rival's LDS):",
        "", *table(("rival", *tasks), rows),
        f"On average {fmean(shares):.0%} of the ceiling.", "",
    ]  # fmt: skip


def share(result: dict[str, Any]) -> float:
    """Of the ceiling, by the default at the checkpoints."""
    own = result["lds"]["checkpoints"][default(result)]["own"][0]
    return float(own / result["ceiling"]["bound"])


def default(result: dict[str, Any]) -> str:
    """What `datainf attribute` takes for the task."""
    return "ridge" if result["settings"]["kind"] == "classification" else "gauss-newton"


def _other(result: dict[str, Any]) -> float:
    (name,) = {"ridge", "gauss-newton"} - {default(result)}
    return float(result["lds"]["checkpoints"][name]["own"][0])


def _of(place: str, ways: tuple[str, ...], which: str) -> Any:
    def best(result: dict[str, Any]) -> float:
        judged = [result["lds"][place][way] for way in ways]
        return float(max((j[which] or j["own"])[0] for j in judged))

    return best


def _similar(result: dict[str, Any]) -> float:
    baselines = result["lds"]["baselines"]
    return float(max(j["own"][0] for way, j in baselines.items() if way.startswith("repr")))


def _peers(result: dict[str, Any]) -> float | None:
    judged = [peer["lds"] for peer in result["peers"].values() if "lds" in peer]
    return max((float((j["best"] or j["own"])[0]) for j in judged), default=None)
