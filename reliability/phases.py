"""How far a run is, by what is on the disk and what it has said."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from reliability.processes import LOOK, Process

Sign = Callable[[Path, Path], bool]
"""Whether a phase has begun: of the run's folder, and of the log of what it says."""


class Work(Protocol):
    """What can be begun, and says what it does to the log or to those whose names begin so."""

    @property
    def log(self) -> Path: ...

    def begin(self) -> Process: ...


STARTING, FINISHED = "starting", "finished"


def there(*names: str) -> Sign:
    """One of these files of a run."""
    return lambda run, _: any((run / name).exists() for name in names)


def said(words: str) -> Sign:
    """By one of those whose logs' names begin as `log`."""

    def is_said(_: Path, log: Path) -> bool:
        logs = list(log.parent.glob(f"{log.name}*"))
        return any(words in one.read_text(encoding="utf-8", errors="replace") for one in logs)

    return is_said


SCORES = there("scores.safetensors.tmp", "scores.safetensors")
STORED: dict[str, Sign] = {
    "collecting train": there("train/index.json"),
    "collecting query": there("query/index.json"),
    "collecting curvature": there("curvature/index.json"),
    "scoring": said("gradients of drawn targets"),
    "writing scores": SCORES,
}
WHOLE: dict[str, Sign] = STORED | {FINISHED: there("top.jsonl")}
"""The phases of `datainf attribute --no-report`."""
SHOWN: dict[str, Sign] = {
    "scoring": STORED["scoring"],
    "writing scores": SCORES,
    "writing the page": there("top.jsonl"),
    FINISHED: there("report.html"),
}
"""Those of `datainf attribute` where the stores are there."""
EXACT = "exact"
"""The folder in a run's that other scores are written to."""
SCORED: dict[str, Sign] = {
    "writing scores": there(f"{EXACT}/scores.safetensors.tmp", f"{EXACT}/scores.safetensors"),
    FINISHED: there(f"{EXACT}/scores.parquet"),
}
"""Those of `datainf score`, which says nothing before the end: scoring is its start."""


def phase_of(signs: Mapping[str, Sign], run: Path, log: Path) -> str:
    """The last that has begun."""
    found = [phase for phase, has_begun in signs.items() if has_begun(run, log)]
    return found[-1] if found else STARTING


def wait_for(phase: str, signs: Mapping[str, Sign], run: Path, log: Path, process: Process) -> None:
    """Until a phase or one after it has begun, or the process has ended."""
    order = [STARTING, *signs]
    while order.index(phase_of(signs, run, log)) < order.index(phase) and process.poll() is None:
        time.sleep(LOOK)


def measured(signs: Mapping[str, Sign], work: Work, run: Path) -> dict[str, float]:
    """The seconds that each phase takes of a run that nobody disturbs, but for the last, which is
    its end. Exits if the run fails."""
    process, began = work.begin(), time.perf_counter()
    seconds, now = dict[str, float](), STARTING
    while process.poll() is None:
        phase, at = phase_of(signs, run, work.log), time.perf_counter()
        if phase != now:
            seconds[now], now, began = at - began, phase, at
        time.sleep(LOOK)
    if process.poll() != 0:
        logs = work.log.parent.glob(f"{work.log.name}*")
        raise SystemExit("\n".join(["the undisturbed run failed", *(p.read_text() for p in logs)]))
    return seconds
