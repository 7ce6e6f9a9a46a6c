"""How well do a run's scores foretell what a person's own training does?

RUN/evaluate/
├── truth/            what was trained again, a line a training; never trained twice
└── evaluation.json   the figures
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from datainf.config import RunConfig
from datainf.errors import OptionError
from datainf.estimators import from_name
from datainf.evaluation.lds import Ceiling, ceiling
from datainf.evaluation.removal import DRAWS, Removal, removal
from datainf.evaluation.representations import representations, similarity
from datainf.evaluation.retraining import GroundTruth, random_parts
from datainf.evaluation.store_baselines import store_baselines
from datainf.evaluation.training_again import Function, TrainAgain, Training
from datainf.evaluation.ways import WAYS, Judged, Scored, Way, held_out, judge_ways
from datainf.files import make_folder, write_atomically
from datainf.progress import Progress
from datainf.run_checkpoints import at_each
from datainf.run_gradients import load_model_and_task
from datainf.run_stores import RunStores, read_run
from datainf.runs import open_run

FOLDER, RESULT, TRUTH, WORK = "evaluate", "evaluation.json", "truth", "work"
THIS_RUN = "this run"
SIMILARITY = "representation similarity"
BASELINES = (SIMILARITY, "own loss", "gradient norm", "chance")
"""What needs no influence, and is compared too."""
WITH_STATES = ("causal-lm", "classification", "token-classification")
"""Tasks whose model gives hidden states that are compared."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Budget:
    """How often to train: `seeds` times on each of `parts` random parts with `share` of the rows;
    and without the `drop` most helpful and harmful rows of each method (a share of all rows, 0 for
    no removal test), `seeds` times each too. `jobs` trainings run side by side."""

    parts: int = 50
    seeds: int = 2
    share: float = 0.5
    drop: float = 0.1
    jobs: int = 1

    def __post_init__(self) -> None:
        if self.parts < 3 or self.seeds < 1 or self.jobs < 1:
            raise OptionError(
                f"{self.parts} parts, {self.seeds} seeds, {self.jobs} jobs",
                remedy="three parts at least, fifty for a figure to rely on; a seed and a job",
            )
        if not 0 <= self.drop < 1:
            raise OptionError(
                f"a share of {self.drop} cannot be left out", remedy="0.1; 0 for none"
            )

    def trainings(self, methods: int) -> int:
        """How many they are, at most, for so many methods."""
        arms = 1 + DRAWS + 2 * methods if self.drop else 0
        return (self.parts + arms) * self.seeds


@dataclass(frozen=True)
class Evaluation:
    """What came out: LDS by method, on the `reported` of `queries` queries; what noise leaves to
    foretell, None with one seed; and what leaving rows out did, method → `Removal`."""

    judged: Mapping[str, Judged]
    ceiling: Ceiling | None
    removal: Mapping[str, Removal]
    dropped: int
    trainings: int
    queries: int
    reported: int

    def save(self, path: Path) -> None:
        """Write it as JSON, in full or not at all. Raises `WriteError`."""
        values = asdict(self)
        for judged in values["judged"].values():
            for interval in (judged["own"], judged["best"]):
                if interval is not None:
                    interval["by_query"] = interval["by_query"].tolist()
        write_atomically(path, (json.dumps(values, indent=1) + "\n").encode())


def evaluate(
    run: Path,
    training: Training,
    *,
    methods: Sequence[str] = (),
    budget: Budget = Budget(),
    out: Path | None = None,
    progress: Progress | None = None,
    say: Say = lambda _: None,
) -> Evaluation:
    """Train again on parts of a run's data, and hold methods against what came of it.

    All methods score before the first training. Every line of the truth is kept as soon as it is
    there: killed, the same call goes on with the training that it was at, to the same figures.

    Args:
        run: A finished run's folder.
        training: The person's own, see `datainf.evaluation.training_again`.
        methods: Names in `WAYS` or `BASELINES`, or `this run`, the run's own method and options; by
            default all that the run's task has.
        budget: How often to train.
        out: Where it is kept; by default evaluate/ in the run's folder.

    Raises:
        OptionError: a method that there is not, a budget that does not fit the data, or functions
            side by side.
        TrainingError: the training failed or left no adapter; those before it are kept.
        StoreMismatchError: the folder holds trainings by another command or on other data.
    """
    config = read_run(run)
    evaluated = _Run(run, replace(config, out=str(run)))
    n, m = len(evaluated.train), len(evaluated.query)
    dropped = _dropped(budget, n)
    if isinstance(training, Function) and budget.jobs > 1:
        raise OptionError("functions cannot train side by side", remedy="--jobs 1, or a command")
    scored = evaluated.scored(methods, say)
    parts, chosen_on = random_parts(n, budget.parts, share=budget.share), held_out(m)
    out = out or run / FOLDER
    make_folder(out)
    again = TrainAgain(
        training, evaluated.config, evaluated.train, evaluated.query, out / WORK,
        evaluated.losses_of,
    )  # fmt: skip
    truth = GroundTruth(out / TRUTH, n, m, again.recipe)
    if len(truth):
        say(f"{len(truth)} trainings are known from before, and not done again")
    seeds, asked = list(range(1, budget.seeds + 1)), set[str]()

    def losses_of(wanted: Tensor) -> Tensor:
        asked.update(str(part.nonzero()[:, 0].tolist()) for part in wanted)
        return truth.losses(wanted, seeds, again, jobs=budget.jobs, progress=progress)

    losses = losses_of(parts)
    if budget.seeds > 1 and bool((losses == losses[:, :1]).all()):
        say("warning: all seeds gave the same losses: does the training use its seed?")
    judged, scores = judge_ways(scored, parts, losses, chosen_on)
    noise = ceiling(losses[..., ~chosen_on]) if budget.seeds > 1 else None
    result = Evaluation(
        judged, noise, {}, dropped, len(asked) * len(seeds), m, int((~chosen_on).sum())
    )
    result.save(out / RESULT)
    if dropped:
        reported = {name: values[~chosen_on] for name, values in scores.items()}
        removed = removal(reported, dropped, lambda wanted: losses_of(wanted)[..., ~chosen_on])
        result = replace(result, removal=removed, trainings=len(asked) * len(seeds))
        result.save(out / RESULT)
    return result


def _dropped(budget: Budget, n: int) -> int:
    """How many rows the removal tests leave out; 0 for none of them."""
    count = max(1, round(budget.drop * n)) if budget.drop else 0
    if count >= n:
        raise OptionError(
            f"a share of {budget.drop} of {n} rows leaves none to train on", remedy="0.1"
        )
    return count


class _Run:
    """A finished run, ready to be scored in other ways."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        finished = open_run(folder)
        self.config, self.train, self.query = config, finished.train, finished.query
        self.stores = RunStores.open(folder)
        self.last = at_each(config, Path())[-1][0]

    @property
    def losses_of(self) -> dict[str, Any]:
        """What a query's loss is the loss of."""
        index = self.stores.query[-1].index
        known = {name: index.fingerprints.get(name) for name in ("base", "task")}
        return {**known, "model": self.config.model, "dtype": self.config.dtype}

    def scored(self, methods: Sequence[str], say: Say) -> dict[str, Scored]:
        """Every method's scores, by all its dampings."""
        ways = {THIS_RUN: self._own} | dict(WAYS)
        known = (*ways, *BASELINES)
        if unknown := [name for name in methods if name not in known]:
            raise OptionError(
                f"there is no method {unknown[0]!r} to evaluate", remedy="; ".join(known)
            )
        found: dict[str, Scored] = {}
        for name in methods or known:
            if name in BASELINES:
                found |= self._baseline(name, asked=bool(methods), say=say)
            elif methods or name != THIS_RUN or self._own_is_new:
                if ways[name].takes_curvature and self.stores.curvature is None and not methods:
                    say(f"{name} is left out: the run took no curvature")
                    continue
                found[name] = ways[name].scores(
                    self.stores.train, self.stores.query, self.stores.weights,
                    self.stores.rate_sum, self.stores.curvature,
                )  # fmt: skip
        return found

    @property
    def _own(self) -> Way:
        options = self.config.method_options
        method = str(self.config.method)
        if self.config.curvature_rows is not None and not from_name(method).needs_curvature:
            options["drawn"] = True
        return Way(method, options)

    @property
    def _own_is_new(self) -> bool:
        own = self._own
        return all((way.method, way.options) != (own.method, own.options) for way in WAYS.values())

    def _baseline(self, name: str, *, asked: bool, say: Say) -> dict[str, Scored]:
        if name != SIMILARITY:
            return {name: Scored(store_baselines(self.stores.train[-1], len(self.query))[name])}
        if self.train.task not in WITH_STATES:
            if asked:
                raise OptionError(
                    f"{name} is for {', '.join(WITH_STATES)}; the run's task is {self.train.task}"
                )
            return {}
        say(f"{name}: the states of all rows")
        model, task = load_model_and_task(self.last, self.train, lambda _: None)
        query, train = (representations(model, part, task) for part in (self.query, self.train))
        return {name: Scored(similarity(query, train))}
