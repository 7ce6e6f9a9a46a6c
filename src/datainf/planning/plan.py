"""A run before it is done: what it takes of disk, memory and time, and whether it fits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from datainf.errors import PlanError
from datainf.gradients.footprint import BACKWARD
from datainf.planning.pace import Estimate
from datainf.planning.stores import StorePlan

LIBRARIES = 100 * 10**6
"""Bytes that go to what libraries make ready in the first batch. Measured."""


@dataclass(frozen=True)
class Form:
    """All stores in one form, by the options that ask for it, and the ratio of their projection, if
    any; bytes of the whole, and how many examples are kept in full beside."""

    options: str
    project: int | None
    bytes: int
    in_full: int
    asked: bool


@dataclass(frozen=True)
class Disk:
    """Bytes: free where the run's folder is or would be, and missing there, with the scores'."""

    folder: str
    free: int
    stores: int
    scores: int

    @property
    def needed(self) -> int:
        return self.stores + self.scores

    @property
    def fits(self) -> bool:
        return self.needed <= self.free


@dataclass(frozen=True)
class Collecting:
    """Where gradients are taken and in how many batches; their tokens, padding counted. Bytes: in
    use already, the model's weights, what the largest batch keeps for its backward pass and what
    its gradients take, what the device has left, and what libraries will take."""

    device: str
    batches: int
    batch_tokens: int
    padded_tokens: int
    in_use: int
    weights: int
    activations: int
    gradients: int
    available: int
    libraries: int = LIBRARIES

    @property
    def peak(self) -> int:
        return self.in_use + self.libraries + BACKWARD * (self.activations + self.gradients)


@dataclass(frozen=True)
class ScoringPlan:
    """How scores are computed, on the CPU, how many blocks at one time. Bytes: in use already; by
    `datainf.planning.costs` the matrix, the rows and the solve of the block that takes most, and
    the scores; and what is left there."""

    method: str
    blocks: str
    curvature_rows: int | None
    workers: int
    in_use: int
    matrix: int
    rows: int
    solve: int
    scores: int
    peak: int
    available: int


@dataclass(frozen=True)
class Problem:
    """Why a run cannot be done, and what would make it fit."""

    what: str
    remedy: str


@dataclass(frozen=True)
class Plan:
    """All of it. `row_bytes` is what an example takes on the disk, without its id. `collecting` is
    None where no gradient is to be taken, or the run does not fit; `scoring` where there are no
    scores; the times where they were not measured."""

    checkpoints: int
    parameters: int
    tensors: int
    row_bytes: int
    stores: tuple[StorePlan, ...]
    forms: tuple[Form, ...]
    disk: Disk
    collecting: Collecting | None
    scoring: ScoringPlan | None
    collecting_time: Estimate | None = None
    scoring_seconds: float | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def memory(self) -> dict[str, Collecting | ScoringPlan]:
        """What takes memory, by what it makes."""
        parts = {"gradients": self.collecting, "scores": self.scoring}
        return {what: part for what, part in parts.items() if part is not None}

    @property
    def fits(self) -> bool:
        return not self.problems

    def require_fit(self) -> None:
        """Raises `PlanError` for the first thing that does not fit."""
        for problem in self.problems:
            raise PlanError(problem.what, remedy=problem.remedy)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        told = asdict(self) | {"fits": self.fits}
        told["disk"]["needed"] = self.disk.needed
        if self.collecting is not None:
            told["collecting"]["peak"] = self.collecting.peak
        return told
