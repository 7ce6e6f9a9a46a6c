"""What one of several processes does in tests/test_ranks.py: scores by every method."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import torch

import datainf
from datainf.ranks import ranks

METHODS = (
    "gauss-newton",
    "ridge",
    "datainf",
    "exact",
    "cg",
    "lissa",
    "gradient",
    "weighted-gradient",
)


def found(folder: Path) -> dict[str, torch.Tensor]:
    """Of stores train, query and drawn in a folder, by every method and some options."""
    train, query, drawn = (folder / name for name in ("train", "query", "drawn"))
    values = {}
    for method, (normalize, blocks) in itertools.product(
        METHODS, (("none", "tensor"), ("unit", "model"), ("root", "module"))
    ):
        options = {"normalize": normalize, "blocks": blocks}
        if method in ("gauss-newton", "datainf", "cg"):
            options["metric"] = "fisher"
        curvature = drawn if method == "gauss-newton" else None
        name = f"{method}, {normalize}, {blocks}"
        values[name] = datainf.attribute(
            train, query, method, curvature=curvature, **options
        ).values
        if method in ("datainf", "exact"):
            top = datainf.attribute_top(train, query, method, k=3, **options)
            values[f"{name}, top"] = top.helpful.scores
            values[f"{name}, own"] = datainf.self_influence(train, method, **options)
    return values


if __name__ == "__main__":
    torch.set_num_threads(1)
    values = found(Path(sys.argv[1]))
    torch.save(values, Path(sys.argv[1]) / f"rank-{ranks().rank}-of-{ranks().count}.pt")
