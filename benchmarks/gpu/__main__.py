"""Figures of one GPU, part by part; each is kept as soon as it is there.

    python -m benchmarks.gpu                    # all parts, on a GPU
    python -m benchmarks.gpu llama7b scoring    # some of them
    python -m benchmarks.gpu --toy              # everything small, anywhere

A part is broken off when its time is over, so that minutes on a rented machine show all of them.
Results are RESULTS/gpu-PART.json; `python -m benchmarks --page` puts them on the page.
"""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.gpu.parts import PARTS, RESULTS, keep, shown


def main(arguments: list[str] | None = None) -> int:
    """How many parts failed."""
    parser = argparse.ArgumentParser(
        "benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--toy", action="store_true", help="small, on a GPU or not")
    parser.add_argument("--data", type=Path, help="where stores are meanwhile, some 6 GB")
    parser.add_argument(
        "--results", type=Path,
        help="a folder; by default benchmarks/results, and with --toy none",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {unknown.pop()}; there are {', '.join(PARTS)}")
    if not (options.toy or torch.cuda.is_available()):
        parser.error("there is no GPU; --toy runs everything small")
    transformers.utils.logging.set_verbosity_error()
    results = options.results or (None if options.toy else RESULTS)
    names = options.parts or list(PARTS)
    return sum(failed(name, options.toy, options.data, results) for name in names)


def failed(name: str, toy: bool, data: Path | None, results: Path | None) -> bool:
    """Whether a part broke off by an error, which is shown; the next has its turn all the same."""
    try:
        measure(name, toy, data, results)
    except Exception:
        traceback.print_exc()
        return True
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return False


def measure(name: str, toy: bool, data: Path | None, results: Path | None) -> None:
    part, started = PARTS[name], time.perf_counter()
    size = part.code.TOY if toy else part.code.FULL[name]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found: dict[str, Any] | None = None
    try:
        with (
            within(part.limit),
            tempfile.TemporaryDirectory(dir=data) as folder,
            closing(part.code.run(size, device, Path(folder))) as figures,
        ):
            for found in figures:
                print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
                if results is not None:
                    keep(name, found, results)
    except TimeUp:
        print(f"{name}: its {part.limit} s are over; what is missing is left out")
    if found is not None:
        print("\n".join(shown(name, found)), flush=True)


class TimeUp(BaseException):
    """Not an `Exception`, which a collection would take for a batch that fails."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raises `TimeUp` inside when they are over."""

    def over(*_: object) -> None:
        raise TimeUp

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    sys.exit(main())
