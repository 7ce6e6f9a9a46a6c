"""The cost model of docs/scale.md beside measurements on this machine.

Predicted times are FLOPs over the rate of a large float32 (for `exact` float64) matrix product, or
bytes over the rate of a copy, whichever is longer: what the machine could do at best. Each of them,
and each piece of work, is the median of three rounds of its own. Predictions for other machines
take 40 % of their rates, see docs/scale.md: less than any share here.

    python -m benchmarks scale        # writes the tables of docs/scale.md too
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import datainf
from benchmarks.made_stores import make
from benchmarks.timing import alternating
from benchmarks.works import Work, llama, minilm
from datainf.planning.costs import Scoring

ROWS, BUDGET, QUERIES = 300, 1024, 50
PAGE = Path(__file__).parents[1] / "docs" / "scale.md"


@dataclass(frozen=True)
class Shape:
    """A transformer and its LoRA: P weights that every token passes, L layers of width h, LoRA of
    rank r on `targets` square matrices a layer; T tokens an example."""

    weights: float
    layers: int
    width: int
    rank: int = 8
    targets: int = 2
    tokens: int = 512

    @property
    def blocks(self) -> int:
        """A and B of every target."""
        return 2 * self.layers * self.targets

    @property
    def parameters(self) -> int:
        """D, of the LoRA."""
        return self.blocks * self.rank * self.width

    @property
    def pass_flops(self) -> float:
        """Of an example's forward and backward pass: 4 P T for the frozen weights, forward and
        through to the inputs; 6 · 2 L T² h for attention; 6 D T for the LoRA, of which the last
        third makes the per-example gradients."""
        attention = 12 * self.layers * self.tokens**2 * self.width
        return 4 * self.weights * self.tokens + attention + 6 * self.parameters * self.tokens


def scoring_flops(method: str, n: int, m: int, d: int) -> float:
    """Of one block, as `datainf plan` counts them."""
    work = Scoring(method, n=n, N=n, m=m, widths=(d,)).work
    return work.thin + work.square


@dataclass(frozen=True)
class Machine:
    """What a device does at best, by its maker's data sheet, and a disk beside each: FLOP/s of
    dense bfloat16, of float32 and of float64 products, bytes of memory, bytes/s of the disk."""

    name: str
    bfloat16: float
    float32: float
    float64: float
    capacity: float
    disk: float


H100 = Machine("H100 SXM", 989e12, 67e12, 67e12, 80e9, 5e9)
H200 = Machine("H200", 989e12, 67e12, 67e12, 141e9, 5e9)
PRECISION = {"datainf": "float32", "exact": "float64"}
"""What most of a method's products are in."""
LLAMA_13B = Shape(weights=12.85e9, layers=40, width=5120)
REACHED = 0.4
"""Of a GPU's rate: what training reaches there, by common reports; on CPUs here it was more. To be
measured: `python -m benchmarks.gpu`."""
STORES = {
    "float32": (4, 1), "bfloat16": (2, 1), "int8": (1, 1), "1/64": (4, 64), "1/16, int8": (1, 16)
}  # fmt: skip
"""Bytes a number, and the ratio that rows are projected by."""


def predictions() -> list[str]:
    """Llama-2-13B, LoRA r=8 on q and v, 512 tokens an example."""
    shape = LLAMA_13B
    table = [
        f"D = {shape.parameters:,} in {shape.blocks} blocks; {shape.pass_flops / 1e12:.1f} TFLOP "
        "an example.",
        "",
        "| examples | device | number | collection | DataInf, float32 store | DataInf, 1/16 int8 "
        "| exact, float32 store | exact, 1/16 int8 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for n in (52_000, 1_000_000):
        for machine in (H100, H200):
            for devices in (1, 8, 64):
                cells = [f"{n:,}", machine.name, str(devices)]
                cells.append(duration(collection_seconds(shape, n, machine, devices)))
                for method in PRECISION:
                    for store in ("float32", "1/16, int8"):
                        asked = (n, machine, devices, method, *STORES[store])
                        cells.append(duration(scoring_seconds(shape, *asked)))
                table.append(f"| {' | '.join(cells)} |")
    table += ["", f"| examples | {' | '.join(STORES)} |", "|---" * (1 + len(STORES)) + "|"]
    for n in (52_000, 1_000_000):
        numbers = n * shape.parameters / 1e9
        sizes = (f"{numbers * size / ratio:,.0f} GB" for size, ratio in STORES.values())
        table.append(f"| {n:,} | {' | '.join(sizes)} |")
    return table


def collection_seconds(shape: Shape, n: int, machine: Machine, devices: int) -> float:
    """The pass, or writing float32 rows, overlapped."""
    compute = n * shape.pass_flops / (REACHED * machine.bfloat16)
    written = n * shape.parameters * STORES["float32"][0] / machine.disk
    return max(compute, written) / devices


def scoring_seconds(
    shape: Shape, n: int, machine: Machine, devices: int, method: str, itemsize: int, ratio: int
) -> float:
    """Reading the store from every device's disk, once where a block fits in a quarter of the
    memory and else twice, or the products. `datainf` spreads the rows of every block, `exact` the
    blocks, each of which one device factors."""
    d = shape.parameters // shape.blocks // ratio
    rows_of, blocks = n / devices, float(shape.blocks)
    if method == "exact":
        rows_of, blocks = float(n), math.ceil(shape.blocks / devices) * devices
    rate = REACHED * getattr(machine, PRECISION[method])
    compute = blocks * scoring_flops(method, n, QUERIES, d) / rate
    passes = 1 if 4.0 * rows_of * d <= machine.capacity / 4 else 2
    read = passes * n * d * blocks * itemsize / machine.disk
    return max(compute, read) / devices


def duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def run(data: Path | None) -> dict[str, Any]:
    rate, rate64, copy = product_rate(torch.float32), product_rate(torch.float64), copy_rate()
    found: dict[str, Any] = {
        "rates": {"float32": rate, "float64": rate64, "copy": copy},
        "work": {},
    }
    works = [(llama(ROWS), LLAMA_HERE)]
    if data is not None:
        works += [(minilm(data, name, ROWS), MINILM_HERE) for name in ("SST-2", "MRPC")]
    for work, (weights, layers, width) in works:
        batches = work.batches(BUDGET)
        tokens = padded_tokens(work, batches)
        shape = Shape(weights, layers, width, tokens=round(tokens / ROWS))
        seconds = alternating({"pass": lambda w=work, b=batches: w.plain_pass(b)}, 3)["pass"]
        found["work"][f"plain pass, {work.name}"] = [ROWS * shape.pass_flops / rate, seconds]
    found["work"] |= scored(rate, rate64, copy)
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
    return found


LLAMA_HERE = (6 * (4 * 256**2 + 3 * 256 * 688) + 256 * 2000, 6, 256)
MINILM_HERE = (6 * 12 * 384**2, 6, 384)
"""P, L, h."""


def padded_tokens(work: Work, batches: list[list[Any]]) -> int:
    task = work.task.for_model(work.model)
    return sum(len(batch) * max(task.length(e) for e in batch) for batch in batches)


def scored(rate: float, rate64: float, copy: float) -> dict[str, list[float]]:
    """DataInf and exact on a made store: n = 2,000, four blocks of 4,096."""
    n, blocks, d = 2000, 4, 4096
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        widths = {f"block.{place}": d for place in range(blocks)}
        paths = Path(folder) / "train", Path(folder) / "query"
        for seed, (path, rows) in enumerate(zip(paths, (n, QUERIES), strict=True)):
            make(path, rows, widths, seed)
        for method, best in (("datainf", rate), ("exact", rate64)):
            flops = scoring_flops(method, n, QUERIES, d)
            predicted = max(blocks * flops / best, blocks * n * d * 4 / copy)
            stores = [*map(datainf.GradientStore.open, paths)]
            seconds = alternating({"": lambda s=stores, m=method: datainf.attribute(*s, m)}, 3)[""]
            found[f"{method}, n = {n:,}, {blocks} blocks of {d:,}"] = [predicted, seconds]
    return found


def product_rate(dtype: torch.dtype, size: int = 3000) -> float:
    """FLOP/s of a large square product."""
    A = torch.randn((size, size), dtype=dtype)
    return 2 * size**3 / alternating({"": lambda: A @ A}, 3)[""]


def copy_rate(size: int = 2**28) -> float:
    """Bytes/s that are read by a copy larger than any cache."""
    source, target = torch.ones(size, dtype=torch.uint8), torch.empty(size, dtype=torch.uint8)
    return size / alternating({"": lambda: target.copy_(source)}, 3)[""]


def lines(found: dict[str, Any]) -> list[str]:
    rates = found["rates"]
    table = [
        f"{rates['float32'] / 1e9:.0f} GFLOP/s in float32, {rates['float64'] / 1e9:.0f} in "
        f"float64, copies at {rates['copy'] / 1e9:.1f} GB/s.",
        "",
        "| work | at best, s | measured, s | reached |",
        "|---|---|---|---|",
    ]
    for name, (predicted, seconds) in found["work"].items():
        table.append(f"| {name} | {predicted:.3f} | {seconds:.3f} | {predicted / seconds:.0%} |")
    return table


def with_tables(text: str, found: dict[str, Any]) -> str:
    """docs/scale.md with both tables, each after its mark."""
    for mark, table in (("measured", lines(found)), ("predicted", predictions())):
        before, _, after = text.partition(f"<!-- {mark} -->\n")
        _, found_next, rest = after.partition("\n## ")
        text = f"{before}<!-- {mark} -->\n\n" + "\n".join(table) + "\n" + found_next + rest
    return text
