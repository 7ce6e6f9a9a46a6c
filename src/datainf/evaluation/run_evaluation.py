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

from torch import Tensor

from datainf.config import RunConfig, read_config
from datainf.data import Examples
from datainf.errors import ModelError, OptionError
from datainf.evaluation.lds import Ceiling, ceiling
from datainf.evaluation.plain import plain
from datainf.evaluation.removal import DRAWS, Removal, removal
from datainf.evaluation.representations import representations, similarity
from datainf.evaluation.retraining import GroundTruth, random_parts
from datainf.evaluation.training_again import TrainAgain, Training
from datainf.evaluation.ways import WAYS, Judged, Way, held_out, judge, judge_ways
from datainf.files import make_folder, write_atomically
from datainf.progress import Progress
from datainf.run_checkpoints import places_of, weights_of
from datainf.runs import load_model_and_task, open_run
from datainf.store import GradientStore

RESULT, TRUTH, WORK = "evaluation.json", "truth", "work"
BASELINES = ("representation similarity", "own loss", "gradient norm", "chance")
"""What needs no influence, and is compared too."""

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
    methods: Sequence[str] = (*WAYS, *BASELINES),
    budget: Budget = Budget(),
    out: Path | None = None,
    progress: Progress | None = None,
    say: Say = lambda _: None,
) -> Evaluation:
    """Train again on parts of a run's data, and hold methods against what came of it.

    Every line of the truth is kept as soon as it is there: killed, the same call goes on with the
    training that it was at, to the same figures.

    Args:
        run: A finished run's folder.
        training: The person's own, see `datainf.evaluation.training_again`.
        methods: Names in `WAYS` or `BASELINES`.
        budget: How often to train.
        out: Where it is kept; by default evaluate/ in the run's folder.

    Raises:
        OptionError: a method that there is not, or a budget that does not fit the data.
        TrainingError: the training failed or left no adapter; those before it are kept.
        StoreMismatchError: the folder holds trainings by another command or on other data.
    """
    if unknown := [name for name in methods if name not in (*WAYS, *BASELINES)]:
        known = "; ".join((*WAYS, *BASELINES))
        raise OptionError(f"there is no method {unknown[0]!r} to evaluate", remedy=known)
    finished = open_run(run)
    config = RunConfig.from_values(read_config(run / "run.yaml"), str(run / "run.yaml"))
    config = replace(config, out=str(run))
    train, query = finished.train, finished.query
    out = out or run / "evaluate"
    make_folder(out)
    again = TrainAgain(training, config, train, query, out / WORK)
    truth = GroundTruth(out / TRUTH, len(train), len(query), again.recipe)
    seeds = list(range(1, budget.seeds + 1))
    parts = random_parts(len(train), budget.parts, share=budget.share)

    def losses_of(wanted: Tensor) -> Tensor:
        return truth.losses(wanted, seeds, again, jobs=budget.jobs, progress=progress)

    losses, chosen_on = losses_of(parts), held_out(len(query))
    judged, scores = _judge(config, train, query, methods, parts, losses, chosen_on, say)
    dropped = round(budget.drop * len(train))
    removed = {}
    if dropped:
        reported = {name: values[~chosen_on] for name, values in scores.items()}
        removed = removal(reported, dropped, lambda wanted: losses_of(wanted)[..., ~chosen_on])
    result = Evaluation(
        judged,
        ceiling(losses[..., ~chosen_on]) if budget.seeds > 1 else None,
        removed,
        dropped,
        len(truth),
        len(query),
        int((~chosen_on).sum()),
    )
    result.save(out / RESULT)
    return result


def _judge(
    config: RunConfig, train: Examples, query: Examples, methods: Sequence[str],
    parts: Tensor, losses: Tensor, chosen_on: Tensor, say: Say,
) -> tuple[dict[str, Judged], dict[str, Tensor]]:  # fmt: skip
    """Every method's LDS and its scores [m, n]."""
    places = places_of(config, lambda _: None)
    stores = [
        [GradientStore.open(place.folder / part) for place in places] for part in ("train", "query")
    ]
    ways: dict[str, Way] = {name: WAYS[name] for name in methods if name in WAYS}
    judged, scores = judge_ways(
        ways, stores[0], stores[1], weights_of(places), parts, losses, chosen_on
    )
    wanted = [name for name in methods if name in BASELINES]
    for name, values in _baselines(places[-1].config, stores, train, query, wanted, say):
        judged[name], scores[name] = judge({None: values}, parts, losses, chosen_on), values
    return judged, scores


def _baselines(
    last: RunConfig, stores: Sequence[Sequence[GradientStore]],
    train: Examples, query: Examples, wanted: Sequence[str], say: Say,
) -> list[tuple[str, Tensor]]:  # fmt: skip
    known = plain(stores[0][-1], len(query))
    found = []
    for name in wanted:
        if name in known:
            found.append((name, known[name]))
            continue
        try:
            model, task = load_model_and_task(last, train, lambda _: None)
            found.append((name, similarity(*(
                representations(model, part, task) for part in (query, train)
            ))))  # fmt: skip
        except (ModelError, KeyError) as error:
            say(f"{name} is left out: {error}")
    return found
