"""The stores of a finished run, and what each of its checkpoints counts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from datainf import words
from datainf.checkpoints import find
from datainf.config import RunConfig, read_config
from datainf.errors import OptionError, StoreIncompleteError
from datainf.estimators import from_name
from datainf.gradient_flow import RATE_SUM
from datainf.remote import place
from datainf.remote.tries import reading
from datainf.run_checkpoints import folders_of
from datainf.run_folder import SCORES, SETTINGS, require_finished
from datainf.scores import AnyScores
from datainf.scores.file import read_about
from datainf.scores.file import reading as reading_scores
from datainf.store import GradientStore
from datainf.store.index import INDEX

TRAIN, QUERY, CURVATURE = "train", "query", "curvature"
ASKED = "query_store"
"""In the diagnostics of scores of other queries than the run's: where their store is."""


def read_run(folder: Path) -> RunConfig:
    """The settings of a run. Raises `OptionError` for a folder that is no finished one."""
    require_finished(folder)
    return RunConfig.from_values(read_config(folder / SETTINGS), str(folder / SETTINGS))


def opened(folder: Path) -> list[GradientStore]:
    """A store; or those of a folder with one for each checkpoint, by step."""
    with reading(folder):
        below = find(folder)
    return [GradientStore.open(path) for path in (below if below else [folder])]


def queries_of(scores: AnyScores, told: str | None) -> Path | None:
    """Where the store of the queries of scores is; None if it is the run's own. It is noted in the
    scores' file, which may come from anybody: a URL there is gone to only if a person `told` it.

    Raises `OptionError` for a URL that nobody told, and for one that is told of the run's queries.
    """
    noted = scores.diagnostics.get(ASKED)
    if noted is None:
        if told is not None:
            raise OptionError("the scores are of the run's own queries", remedy="no --query-store")
        return None
    if told is None and "://" in str(noted):
        raise OptionError(
            f"the scores' file says that its queries' store is {noted}, and no file's word is "
            "taken for where to go in object storage",
            remedy=f"--query-store {noted}, if that is where you keep it",
        )
    return place(told or str(noted))


def in_words(store: GradientStore) -> str:
    """ "run/train: 900 gradients of 1,024 parameters in 16 tensors"."""
    blocks = store.index.blocks
    return (
        f"{store.path}: {words.count(len(store), 'gradient')} of "
        f"{words.count(sum(block.width for block in blocks), 'parameter')} in "
        f"{words.count(len(blocks), 'tensor')}"
    )


@dataclass(frozen=True)
class RunStores:
    """One of each for every checkpoint, with what it counts. `rate_sum` is the sum of the
    training's learning rates that the run was damped by."""

    config: RunConfig
    folders: list[Path]
    train: list[GradientStore]
    query: list[GradientStore]
    weights: list[float]
    rate_sum: float | None

    @classmethod
    def open(cls, run: Path) -> Self:
        """Raises `OptionError` for a folder that is no finished run, `StoreError` for a training or
        query store that is gone or broken."""
        config = read_run(run)
        folders = folders_of(config.checkpoints, run)
        with reading_scores(run / SCORES):
            told = read_about(run / SCORES)["diagnostics"]
            weights = [float(one["weight"]) for one in told.get("checkpoints", [{"weight": 1.0}])]
            rate_sum = None if told.get(RATE_SUM) is None else float(told[RATE_SUM])
        train, query = (
            [GradientStore.open(folder / part) for folder in folders] for part in (TRAIN, QUERY)
        )
        return cls(config, folders, train, query, weights, rate_sum)

    @cached_property
    def curvature(self) -> list[GradientStore] | None:
        """None where the run took none, or was stopped at it and finished by a method without.
        Opened only when it is asked for: methods without one do with whatever lies there.

        Raises `StoreCorruptError` for a store that is broken.
        """
        paths = [folder / CURVATURE for folder in self.folders]
        if not all((path / INDEX).is_file() for path in paths):
            return None
        try:
            return [GradientStore.open(path) for path in paths]
        except StoreIncompleteError:
            return None

    def curvature_for(self, method: str | None) -> list[GradientStore]:
        """The stores that a method takes for its curvature, one for each checkpoint: those of a
        method that needs them, and of the run's own (`method` None) if the run was told to take
        them by `--curvature-rows`; else none. Raises as `curvature`."""
        name = method or self.config.method
        asked = method is None and self.config.curvature_rows is not None
        needed = name is not None and from_name(name).needs_curvature
        return (self.curvature or []) if asked or needed else []
