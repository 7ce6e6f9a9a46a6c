"""The ground truth: models trained again on parts of the training data, and what became of queries.

    truth/
    ├── truth.json        schema; how many examples and queries; what trains (`recipe`)
    └── retrained.jsonl   a line a training: digest of its rows, seed, the queries' losses, seconds

Training runs the caller's own function. A line is on disk before the next training begins (of
several side by side, before another takes its place), and a training whose line is there is never
repeated: a killed run goes on with the one that it was at.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datainf.errors import NonFiniteError, OptionError, StoreCorruptError, StoreMismatchError
from datainf.files import locked, make_folder, write_atomically, writing
from datainf.fingerprint import digest
from datainf.progress import Progress, Silent

SCHEMA = 1
ABOUT, LINES = "truth.json", "retrained.jsonl"

TrainAgain = Callable[[list[int], int], Sequence[float]]
"""(rows, seed) → the m queries' losses under a model that was trained on these rows alone."""


@dataclass(frozen=True)
class Training:
    """One training to be done: the rows of the training data that it sees, and a seed."""

    rows: tuple[int, ...]
    seed: int

    @property
    def key(self) -> str:
        """A name for it, the same in every process: a digest of its rows, and its seed."""
        return f"{digest(list(self.rows))[:24]} {self.seed}"


def random_parts(n: int, count: int, *, share: float = 0.5, seed: int = 0) -> Tensor:
    """bool [count, n]: random parts of n examples, each of round(share · n), drawn anew.

    The first parts do not change with `count`: a larger truth holds the smaller one.

    Raises `OptionError` unless every part has some of the examples and lacks some.
    """
    size = round(share * n)
    if not 0 < size < n or count < 1:
        raise OptionError(f"{count} parts of {size} of {n} examples", remedy="a share such as 0.5")
    parts = torch.zeros((count, n), dtype=torch.bool)
    for position in range(count):
        parts[position, np.random.default_rng([seed, position]).permutation(n)[:size]] = True
    return parts


@dataclass
class GroundTruth:
    """Losses of m queries under models trained again, in a folder."""

    folder: Path
    n: int
    m: int
    recipe: Mapping[str, Any]
    """What trains, as plain values: other values mean other losses, and are refused."""
    _known: dict[str, list[float]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        make_folder(self.folder)
        about = {"schema": SCHEMA, "n": self.n, "m": self.m, "recipe": dict(self.recipe)}
        path, lines = self.folder / ABOUT, self.folder / LINES
        if path.exists() and lines.exists() and lines.stat().st_size:
            _require_same(path, about)
        else:  # nothing was trained yet
            write_atomically(path, json.dumps(about, indent=1, sort_keys=True).encode())
        self._known = dict(_read(self.folder / LINES, self.m))

    def __len__(self) -> int:
        """How many trainings are known."""
        return len(self._known)

    def __contains__(self, training: Training) -> bool:
        return training.key in self._known

    def losses(
        self,
        parts: Tensor,
        seeds: Sequence[int],
        train: TrainAgain,
        *,
        jobs: int = 1,
        progress: Progress | None = None,
    ) -> Tensor:
        """[S, seeds, m] of parts bool [S, n]; what is not known yet is trained.

        Raises:
            OptionError: parts of another n, or a number of losses that is not m.
            NonFiniteError: a training whose losses are not finite; those before it are kept.
            StoreBusyError: another process is training into the folder.
        """
        if parts.ndim != 2 or parts.shape[1] != self.n:
            raise OptionError(f"parts of shape {tuple(parts.shape)} for {self.n} examples")
        wanted = [
            Training(tuple(part.nonzero()[:, 0].tolist()), seed) for part in parts for seed in seeds
        ]
        self.train(wanted, train, jobs=jobs, progress=progress)
        values = torch.tensor(
            [self._known[training.key] for training in wanted], dtype=torch.float64
        )
        return values.reshape(len(parts), len(seeds), self.m)

    def train(
        self,
        wanted: Sequence[Training],
        train: TrainAgain,
        *,
        jobs: int = 1,
        progress: Progress | None = None,
    ) -> None:
        """Do what is not known yet of these trainings, `jobs` at a time in threads. Where one
        fails no other is begun, those beside it are finished and kept, and its error is raised."""
        left = [training for training in dict.fromkeys(wanted) if training not in self]
        advance = (progress or Silent()).stage("training again", len(left))

        def timed(training: Training) -> tuple[list[float], float]:
            started = time.perf_counter()
            found = [float(loss) for loss in train(list(training.rows), training.seed)]
            return found, time.perf_counter() - started

        with locked(self.folder):
            if jobs == 1:
                for training in left:
                    self._add(training, *timed(training))
                    advance(1)
            else:
                self._side_by_side(left, timed, jobs, advance)

    def _side_by_side(
        self, left: Sequence[Training], timed: Callable[[Training], tuple[list[float], float]],
        jobs: int, advance: Callable[[int], None],
    ) -> None:  # fmt: skip
        waiting, failure = iter(left), None
        with ThreadPoolExecutor(jobs) as pool:
            running = {pool.submit(timed, each): each for each in islice(waiting, jobs)}
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    training = running.pop(future)
                    try:
                        self._add(training, *future.result())
                        advance(1)
                    except Exception as error:  # those that run beside it are kept first
                        failure = failure or error
                if failure is None:
                    for each in islice(waiting, jobs - len(running)):
                        running[pool.submit(timed, each)] = each
        if failure is not None:
            raise failure

    def _add(self, training: Training, losses: list[float], seconds: float) -> None:
        where = f"the training on {len(training.rows)} rows with seed {training.seed}"
        if len(losses) != self.m:
            raise OptionError(f"{where} gave {len(losses)} losses for {self.m} queries")
        if not all(map(math.isfinite, losses)):
            bad = next(q for q, loss in enumerate(losses) if not math.isfinite(loss))
            raise NonFiniteError(
                f"{where} gave query {bad} the loss {losses[bad]}",
                remedy="a training that does not diverge; those that were finished are kept",
            )
        line = {"training": training.key, "losses": losses, "seconds": round(seconds, 3)}
        path = self.folder / LINES
        with writing(path):
            torn = path.exists() and path.read_bytes()[-1:] not in (b"\n", b"")
            with path.open("a", encoding="utf-8") as file:
                file.write(("\n" if torn else "") + json.dumps(line) + "\n")
                file.flush()
                os.fsync(file.fileno())
        self._known[training.key] = losses


def _read(path: Path, m: int) -> Iterator[tuple[str, list[float]]]:
    """Finished trainings. A line that is cut short is one that was being written when it ended."""
    if not path.exists():
        return
    for number, text in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        try:
            line = json.loads(text) if text.strip() else None
        except json.JSONDecodeError:
            continue
        if line is None:
            continue
        if not isinstance(line, dict) or len(line.get("losses", ())) != m:
            raise StoreCorruptError(f"{path}, line {number} is no training of {m} queries")
        yield line["training"], line["losses"]


def _require_same(path: Path, wanted: dict[str, Any]) -> None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StoreCorruptError(f"{path} cannot be read: {error}") from None
    wanted = json.loads(json.dumps(wanted))
    if found == wanted:
        return
    before, now = _flat(found), _flat(wanted)
    differ = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    told = ", ".join(f"{name} ({before.get(name)!r}, now {now.get(name)!r})" for name in differ)
    raise StoreMismatchError(
        f"{path.parent} holds trainings of something else. What differs: {told}",
        remedy="what it was before; or another folder (--out), or delete this one",
    )


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Plain values by their names, `recipe: files: train.py`."""
    if not isinstance(value, dict):
        return {name: value}
    return {
        inner: found
        for key, part in value.items()
        for inner, found in _flat(part, f"{name}: {key}" if name else key).items()
    }
