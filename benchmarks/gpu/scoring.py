"""DataInf's scores from bfloat16 gradients: held in the device's memory, and from a store that was
just written, in the host's page cache, opened anew with its checksums. GB/s are of the gradients,
counted once however often they are read, beside plain copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import datainf
from benchmarks.gpu.watched import Found, gib, in_turn
from benchmarks.made_stores import make
from benchmarks.scale import scoring_flops
from datainf.estimators import DataInf
from datainf.linalg import Damping, GradientMatrix, from_dense
from datainf.memory import available


@dataclass(frozen=True)
class Size:
    """n rows of so many blocks of d numbers, held or stored; m queries."""

    n: int = 10_000
    d: int = 32_768
    held: int = 64
    stored: int = 8
    queries: tuple[int, ...] = (50, 500)


FULL = {"scoring": Size()}
TOY = Size(n=60, d=32, held=3, stored=2, queries=(2, 5))
DTYPE = torch.bfloat16
SHARE = 0.6
"""Of the device's free memory, for gradients that are held."""


def run(size: Size, device: torch.device, folder: Path) -> Iterator[dict[str, Any]]:
    """What is found, each time that there is more of it."""
    block_bytes = size.n * size.d * DTYPE.itemsize
    blocks = max(1, min(size.held, int(SHARE * available(device)) // block_bytes))
    found: dict[str, Any] = {"n": size.n, "d": size.d, "held": blocks, "stored": size.stored}
    for measured in (held(size, blocks, device), stored(size, device, folder)):
        for name, (nbytes, m, one) in measured:
            found.setdefault("ways", {})[name] = {"bytes": nbytes, "m": m, "found": one}
            yield found


Measured = Iterator[tuple[str, tuple[int, int, Found | None]]]
"""By name: bytes of gradients, queries (0 for a copy), what it took."""
COPY = "copy within the device"


def held(size: Size, blocks: int, device: torch.device) -> Measured:
    draw = torch.Generator(device).manual_seed(0)

    def normal(rows: int, dtype: torch.dtype) -> Tensor:
        return torch.randn((rows, size.d), generator=draw, device=device, dtype=dtype)

    dense = [normal(size.n, DTYPE) for _ in range(blocks)]
    everything = sum(block.nbytes for block in dense)
    about, ways = {}, {}
    for name, (nbytes, copy) in copies(dense).items():
        about[name], ways[name] = (nbytes, 0), copy
    matrices = [from_dense(block) for block in dense]
    for m in size.queries:
        name, V = f"scores of held gradients, m = {m}", normal(m, torch.float32)
        about[name], ways[name] = (everything, m), partial(scores, matrices, V)
    for name, found in in_turn(ways, device).items():
        yield name, (*about[name], found)


def copies(dense: list[Tensor]) -> dict[str, tuple[int, Callable[[], object]]]:
    """By name: bytes, and a copy of them to a place in the device's memory, all blocks from there
    and one block from the host."""
    target, host = torch.empty_like(dense[0]), dense[0].cpu()

    def all_blocks() -> None:
        for block in dense:
            target.copy_(block)

    ways: dict[str, tuple[int, Callable[[], object]]] = {
        COPY: (len(dense) * target.nbytes, all_blocks),
        "copy from the host": (target.nbytes, lambda: target.copy_(host)),
    }
    if target.device.type == "cuda":
        pinned = host.pin_memory()
        copy = (target.nbytes, lambda: target.copy_(pinned, non_blocking=True))
        ways["copy from the host, pinned"] = copy
    return ways


def scores(matrices: list[GradientMatrix], V: Tensor) -> Tensor:
    """As `datainf.attribute` does it, but for the reading."""
    total = torch.zeros((len(V), matrices[0].shape[0]), device=V.device)
    for G in matrices:
        total += DataInf().fit(G).scores(V, Damping().lambda_of(G)).values
    return total


def stored(size: Size, device: torch.device, folder: Path) -> Measured:
    widths = {f"block.{place}": size.d for place in range(size.stored)}
    train = make(folder / "train", size.n, widths, 1, dtype="bfloat16", device=device)
    nbytes = size.n * train.index.row_bytes
    for m in size.queries:
        make(folder / f"query {m}", m, widths, 2, dtype="bfloat16", device=device)
        paths, name = (folder / "train", folder / f"query {m}"), f"scores of a store, m = {m}"

        def whole(paths: tuple[Path, Path] = paths) -> None:
            stores = map(datainf.GradientStore.open, paths)
            datainf.attribute(*stores, "datainf", device=device)

        yield name, (nbytes, m, in_turn({name: whole}, device)[name])


def lines(found: dict[str, Any]) -> list[str]:
    n, d = found["n"], found["d"]
    table = [
        f"n = {n:,}; {found['held']} blocks of {d:,} held, {found['stored']} stored.",
        "",
        "| | GB | seconds | GB/s | ÷ copy within the device | TFLOP/s | peak, GiB |",
        "|---|---|---|---|---|---|---|",
    ]
    copied = found["ways"].get(COPY, {}).get("found")
    best = found["ways"][COPY]["bytes"] / 1e9 / copied["seconds"] if copied else None
    for name, way in found["ways"].items():
        size, one = way["bytes"] / 1e9, way["found"]
        if one is None:
            table.append(f"| {name} | {size:.1f} | memory is too small | | | | |")
            continue
        rate = size / one["seconds"]
        ratio = f"{rate / best:.2f}" if best else ""
        flops = scoring_flops("datainf", n, way["m"], int(way["bytes"] // (n * DTYPE.itemsize)))
        speed = f"{flops / one['seconds'] / 1e12:.1f}" if way["m"] else ""
        table.append(
            f"| {name} | {size:.1f} | {one['seconds']:.3f} | {rate:,.1f} | {ratio} "
            f"| {speed} | {gib(one['peak'])} |"
        )
    return table
