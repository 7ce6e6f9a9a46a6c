"""What one of several processes does in tests/test_ranks.py: scores by every method."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import torch

import datainf
from datainf.linalg import ChunkedMatrix
from datainf.ranks import ranks
from datainf.scores import TopScores
from datainf.tasks import Custom

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
PRODUCTS = ("datainf", "cg", "lissa", "gradient", "weighted-gradient")
"""Methods with no square matrix of all examples, whose every product is a sum over rows."""
OPTIONS = (("none", "tensor"), ("unit", "model"), ("root", "module"))


def found(folder: Path) -> dict[str, torch.Tensor]:
    """Of stores train, query and drawn in a folder, by every method and some options."""
    train, query, drawn = (folder / name for name in ("train", "query", "drawn"))
    values = {}
    for method, (normalize, blocks) in itertools.product(METHODS, OPTIONS):
        options = {"normalize": normalize, "blocks": blocks}
        if method in ("gauss-newton", "datainf", "cg"):
            options["metric"] = "fisher"
        if method == "gauss-newton":
            options["curvature"] = drawn
        name = f"{method}, {normalize}, {blocks}"
        values[name] = datainf.attribute(train, query, method, **options).values
        values |= of_top(name, datainf.attribute_top(train, query, method, k=3, **options))
        values[f"{name}, own"] = datainf.self_influence(train, method, **options)
    for method in ("datainf", "exact"):
        many = {"train": [train, folder / "later"], "query": [query, query], "weights": [1.0, 0.5]}
        values |= of_top(f"{method} twice", datainf.attribute_top(**many, method=method, k=7))
    return values


def tied(folder: Path) -> dict[str, torch.Tensor]:
    """Of stores of whole numbers, whose products are exact, many of them equal."""
    values = {}
    for k in (1, 2, 5, 7):
        top = datainf.attribute_top(folder / "ties", folder / "ties", "gradient", k=k)
        values |= of_top(f"ties, {k}", top)
    return values


def of_top(name: str, top: TopScores) -> dict[str, torch.Tensor]:
    return {
        f"{name}, {end}, {part}": tensor
        for end in ("helpful", "harmful")
        for part, tensor in vars(getattr(top, end)).items()
    } | {f"{name}, mean": top.mean}


def read(folder: Path) -> dict[str, set[float]]:
    """The training rows that this process reads, by their first numbers."""
    store = folder / "train"
    with_query: dict[str, Callable[[str], object]] = {
        "top": lambda method: datainf.attribute_top(store, folder / "query", method, k=3),
        "matrix": lambda method: datainf.attribute(store, folder / "query", method),
        "own": lambda method: datainf.self_influence(store, method),
    }
    seen, plain = dict[str, set[float]](), ChunkedMatrix.rows

    for method, (name, score) in itertools.product(PRODUCTS, with_query.items()):
        rows_seen = seen.setdefault(f"{method}, {name}", set())

        def rows(G: ChunkedMatrix, start: int, stop: int, to: set[float] = rows_seen) -> object:
            found = plain(G, start, stop)
            to |= set(found[:, 0].tolist())
            return found

        ChunkedMatrix.rows = rows  # type: ignore[method-assign,assignment]
        try:
            score(method)
        finally:
            ChunkedMatrix.rows = plain  # type: ignore[method-assign]
    return seen


def collected(folder: Path) -> None:
    """Stores of five rows and two queries, in shards of one."""
    draw = torch.Generator().manual_seed(0)
    for name, n in (("five", 5), ("two", 2)):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
        datainf.collect(
            model, list(torch.randn(n, 3, generator=draw)), Custom(lambda m, b: m(b)[:, 0]),
            out=folder / name, shard_rows=1,
        )  # fmt: skip


def of_few(folder: Path) -> dict[str, torch.Tensor]:
    """Of these, by every method that needs no drawn targets; where processes are more than rows,
    some have none."""
    values, asked = {}, (folder / "five", folder / "two")
    for method in (*PRODUCTS, "exact", "ridge"):
        values[method] = datainf.attribute(*asked, method).values
        values |= of_top(method, datainf.attribute_top(*asked, method, k=4))
        values[f"{method}, own"] = datainf.self_influence(asked[0], method)
    return values


def of_all(folder: Path) -> dict[str, object]:
    return {"found": found(folder), "tied": tied(folder), "read": read(folder)}


WORK = {"all": of_all, "collect": collected, "few": of_few}

if __name__ == "__main__":
    torch.set_num_threads(1)
    what, folder = sys.argv[1], Path(sys.argv[2])
    told = WORK[what](folder)
    torch.save(told, folder / f"{what}-{ranks().rank}-of-{ranks().count}.pt")
