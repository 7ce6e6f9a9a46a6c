"""The first measurements, which this study began from, beside what it found: typed in by hand.

They had the data, bases and adapters of "SST-2 flipped", "SST-2 clean" and "writing styles", other
draws of rows and styles, and learning rates and batches that are not on record.
"""

from __future__ import annotations

from typing import Any

from experiments.tables import MISSING, table

FIRST: dict[str, dict[tuple[str, str], float]] = {
    "SST-2 flipped": {
        ("last", "gradient"): 0.46, ("last", "datainf"): 0.50, ("last", "exact"): 0.46,
        ("last", "datainf, unit"): 0.56, ("last", "exact, unit, model"): 0.87,
        ("checkpoints", "datainf"): 0.58, ("checkpoints", "exact, α = 10"): 0.76,
        ("checkpoints", "exact, unit, model"): 0.88, ("checkpoints", "recipe of the start"): 0.90,
        ("baselines", "representation similarity × label"): 0.72,
    },
    "SST-2 clean": {
        ("last", "gradient"): 0.45, ("last", "datainf"): 0.48, ("last", "exact"): 0.46,
        ("last", "datainf, unit"): 0.54, ("last", "exact, unit, model"): 0.83,
        ("checkpoints", "recipe of the start"): 0.85,
        ("baselines", "representation similarity × label"): 0.62,
    },
    "writing styles": {
        ("last", "gradient"): 0.31, ("last", "cosine"): 0.34, ("last", "datainf"): 0.34,
        ("last", "datainf, unit"): 0.37, ("last", "exact, α = 10"): 0.45,
        ("last", "exact, unit, model"): 0.41,
        ("checkpoints", "cosine"): 0.50, ("checkpoints", "datainf"): 0.55,
        ("checkpoints", "exact, α = 10"): 0.60, ("checkpoints", "exact, unit, model"): 0.55,
        ("checkpoints", "recipe of the start"): 0.59,
        ("baselines", "representation similarity, centred"): 0.50,
    },
}  # fmt: skip


def first_measurements(tasks: dict[str, dict[str, Any]]) -> list[str]:
    """Task by task: the first figure, ours with its interval, and whether it is inside."""
    rows = []
    for name, figures in FIRST.items():
        if name not in tasks:
            continue
        for (place, way), figure in figures.items():
            judged = tasks[name]["lds"][place].get(way)
            if judged is None:
                continue
            mean, low, high = judged["own"]
            inside = "inside" if low <= figure <= high else "outside"
            at = MISSING if place == "baselines" else place
            ours = f"{mean:.2f} [{low:.2f}, {high:.2f}]"
            rows.append((name, way, at, f"{figure:.2f}", ours, inside))
    if not rows:
        return []
    count = sum(row[-1] == "inside" for row in rows)
    return [
        "## The first measurements again", "",
        "This study began from a first measurement whose learning rates and batches are not on "
        "record; rows and styles are other draws. Where the fine-tuning moved the model less or "
        "more, levels differ; the order of the methods is what to compare. "
        f"{count} of {len(rows)} of its figures are inside our 95 % intervals.", "",
        *table(("fine-tuning", "method", "gradients at", "first", "here", ""), rows),
    ]  # fmt: skip
