"""`exact` and `gauss-newton` on one large block of float32 gradients in the device's memory, and
`exact` on a projected store of many blocks. `gauss-newton` is given the training gradients for its
curvature: it is then `exact` with products in float32, factored in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import datainf
from benchmarks.gpu.watched import gib, in_turn
from benchmarks.made_stores import make
from benchmarks.scale import scoring_flops
from datainf import estimators
from datainf.linalg import Damping, GradientMatrix, from_dense


@dataclass(frozen=True)
class Size:
    """One block of d numbers, by number of rows; a store of so many such blocks projected to
    1/ratio; m queries."""

    d: int = 40_960
    rows: tuple[int, ...] = (10_000, 50_000)
    queries: int = 50
    blocks: int = 80
    ratio: int = 64


FULL = {"exact": Size()}
TOY = Size(d=2_100, rows=(40, 3_000), queries=3, blocks=3)
METHODS = ("exact", "gauss-newton")
DAMPING = Damping(20, "rows")
"""Far above the rounding of float32, so that `gauss-newton` takes its fast way."""


def run(size: Size, device: torch.device, folder: Path) -> Iterator[dict[str, Any]]:
    """What is found, each time that there is more of it."""
    found: dict[str, Any] = {"d": size.d, "m": size.queries, "blocks": size.blocks}
    for n in size.rows:
        for method, one in block(n, size, device):
            found.setdefault("block", {}).setdefault(str(n), {})[method] = one
            yield found
    found["projected"] = projected(size, device, folder)
    yield found


def block(n: int, size: Size, device: torch.device) -> Iterator[tuple[str, Any]]:
    """Each method's seconds and peak, and how far its scores are from `exact`'s by their norm."""
    draw = torch.Generator(device).manual_seed(0)
    G = from_dense(torch.randn((n, size.d), generator=draw, device=device))
    V = torch.randn((size.queries, size.d), generator=draw, device=device)
    scores: dict[str, Tensor] = {}

    def once(method: str) -> None:
        scores[method] = scored(method, G, V).cpu().double()

    ways = {method: partial(once, method) for method in METHODS}
    for method, one in in_turn(ways, device).items():
        if one is not None and "exact" in scores:
            right = scores["exact"]
            one["off"] = float((scores[method] - right).norm() / right.norm())
        yield method, one


def scored(method: str, G: GradientMatrix, V: Tensor) -> Tensor:
    lam = DAMPING.lambda_of(G)
    return estimators.from_name(method).fit(G).scores(V, lam).values


def projected(size: Size, device: torch.device, folder: Path) -> dict[str, Any]:
    """`exact` on all blocks of a store, each factored by itself."""
    n, widths = max(size.rows), {f"block.{place}": size.d for place in range(size.blocks)}
    paths = folder / "train", folder / "query"
    for seed, (path, rows) in enumerate(zip(paths, (n, size.queries), strict=True)):
        store = make(
            path, rows, widths, seed, dtype="bfloat16", ratio=size.ratio, device=device
        )  # fmt: skip

    def whole() -> None:
        datainf.attribute(*map(datainf.GradientStore.open, paths), "exact", device=device)

    return {
        "n": n,
        "columns": store.index.blocks[0].columns,
        "bytes": n * store.index.row_bytes,
        "found": in_turn({"exact": whole}, device)["exact"],
    }


def lines(found: dict[str, Any]) -> list[str]:
    d, m = found["d"], found["m"]
    table = [
        f"m = {m}; one block of {d:,}.",
        "",
        "| n | method | seconds | TFLOP/s | off `exact` | peak, GiB |",
        "|---|---|---|---|---|---|",
    ]
    for n, methods in found.get("block", {}).items():
        for method, one in methods.items():
            head = f"| {int(n):,} | {method} |"
            if one is None:
                table.append(f"{head} memory is too small | | | |")
                continue
            speed = scoring_flops("exact", int(n), m, d) / one["seconds"] / 1e12
            off = f"{one['off']:.0e}" if method != "exact" and "off" in one else ""
            table.append(
                f"{head} {one['seconds']:.2f} | {speed:.1f} | {off} | {gib(one['peak'])} |"
            )
    return table + (_of_projected(found) if "projected" in found else [])


def _of_projected(found: dict[str, Any]) -> list[str]:
    told, one = found["projected"], found["projected"]["found"]
    what = (
        f"`exact` on a projected store, n = {told['n']:,}, {found['blocks']} blocks of "
        f"{told['columns']:,}, {told['bytes'] / 1e9:.1f} GB in bfloat16:"
    )
    if one is None:
        return ["", f"{what} memory is too small."]
    return ["", f"{what} {one['seconds']:.2f} s in all, peak {gib(one['peak'])} GiB."]
