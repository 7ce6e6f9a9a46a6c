"""The plan of a run, from its settings and what is prepared of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

from datainf.config import RunConfig
from datainf.errors import PlanError
from datainf.memory import available_each, in_use
from datainf.planning import disk, method
from datainf.planning.choices import Choices
from datainf.planning.collecting import Memory, probe
from datainf.planning.costs import Scoring
from datainf.planning.lines import first_lines
from datainf.planning.method import CPU
from datainf.planning.pace import Forecast, Pace
from datainf.planning.plan import Collecting, Disk, Form, Plan, Problem, ScoringPlan
from datainf.planning.speed import measured
from datainf.planning.stores import Stores
from datainf.progress import Progress, Silent
from datainf.ranks import ranks
from datainf.remote import forbid_url, place
from datainf.run_checkpoints import places_of
from datainf.run_gradients import Prepared, once, prepare_run, sources_of
from datainf.run_stores import CURVATURE
from datainf.store.index import INDEX
from datainf.store.shards import example_bytes
from datainf.tasks.sampled import can_be_sampled
from datainf.tasks.text_to_image import TextToImage

Say = Callable[[str], None]


def plan_run(
    config: RunConfig, *, begun: bool = True, progress: Progress | None = None,
    say: Say = lambda _: None,
) -> Plan:  # fmt: skip
    """The plan of `datainf.runs.run`, with times that a few batches tell; nothing is written.

    Args:
        config: The run's settings.
        begun: Whether what stands in the run's folder counts as done.

    Raises what the run would before its first gradient, but for `PlanError`: what does not fit
    stands in the plan's `problems`.
    """
    forbid_url(config.out, "a run")
    progress, say = progress or Silent(), once(say)
    places = places_of(config, say)
    train, query = sources_of(config, places[-1])
    prepared = prepare_run(places[0], places, config, train, query, progress, say)
    planner = Planner(config, prepared, [place.folder for place in places], begun=begun)
    return planner.timed(planner.plan())


class Planner:
    """A run, or the collection of some stores, of the first of whose checkpoints all is prepared.

    Raises `StoreMismatchError` where stores of something else are in the way.
    """

    def __init__(
        self,
        config: RunConfig,
        prepared: Prepared,
        folders: Sequence[Path],
        *,
        begun: bool = True,
        scored: bool = True,
        alike: bool = False,
    ) -> None:
        """`folders`: those of the checkpoints; `begun`: whether what stands there counts as done;
        `scored`: whether the stores are those of training examples and queries, to be scored;
        `alike`: whether they have to be projected as those of a run are."""
        self.config = replace(config, method=prepared.method, metric=prepared.metric)
        self.prepared, self.folders = prepared, folders
        self.stores = [
            Stores(pending, _at_each(folders, pending.out) if begun else [None] * len(folders))
            for pending in prepared.pending
        ]
        self.sizes = self._sizes() if scored else None
        self.scoring = None if self.sizes is None else method.scoring_of(self.config, self.sizes)
        drawn = begun and any((folder / CURVATURE / INDEX).exists() for folder in folders)
        self.choices = Choices(self.config, self.stores, self.scoring, alike, drawn)

    def _sizes(self) -> method.Sizes:
        train, query = self.prepared.stores
        return method.Sizes(
            examples=train.index.n,
            queries=query.index.n,
            checkpoints=len(self.folders),
            index=train.index,
            can_draw=can_be_sampled(self.prepared.task),
        )

    def plan(self) -> Plan:
        """Without times. How much memory examples take is found out only if all else fits."""
        pending = self.prepared.pending
        stores = tuple(each.plan(self._name(each.pending.out)) for each in self.stores)
        forms = disk.forms_of(pending, len(self.folders))
        leftover = sum(each.leftover_bytes for each in self.stores)
        takes = disk.disk_of(place(self.config.out), stores, self.choices.scores_bytes, leftover)
        limit = None if takes.fits else self.choices.limit(takes.free, stores)
        # Each process has its own memory and moment. What one has no room for all hear of, before
        # any of them goes on to where it would wait for the others.
        problems = _of_all(self._problems(takes, forms, limit))
        if not problems:
            problems = _of_all(self._too_long())
        collecting = None
        if not problems:
            collecting, found = self._collecting()
            problems = _of_all(found)
        blocks = pending[0].index.blocks
        return Plan(
            checkpoints=len(self.folders),
            parameters=sum(block.width for block in blocks),
            tensors=len(blocks),
            row_bytes=example_bytes(pending[0].index),
            stores=stores,
            forms=forms,
            disk=takes,
            collecting=collecting,
            scoring=self._scoring(),
            problems=tuple(problems),
        )

    def _scoring(self) -> ScoringPlan | None:
        if self.scoring is None:
            return None
        freed = freed_bytes(self.prepared)
        there = available_each(CPU) + freed
        return method.told(self.config, self.scoring, max(0, in_use(CPU) - freed), there)

    def _name(self, out: Path) -> str:
        """A store's, whatever the checkpoint."""
        of_checkpoint = len(self.folders) > 1 and out == self.folders[0]
        return out.parent.name if of_checkpoint else out.name

    def _problems(self, takes: Disk, forms: Sequence[Form], limit: str | None) -> list[Problem]:
        found = [
            disk.problem_of(
                takes,
                self.choices.forms(forms),
                begun=self.choices.is_begun,
                kept=self.choices.kept_bytes,
                limit=limit,
            )
        ]
        if self.sizes is not None:
            bound = self.choices.bound
            there = available_each(CPU) + freed_bytes(self.prepared)
            found.append(method.problem_of(self.config, self.sizes, there, bound))
        return [problem for problem in found if problem is not None]

    def _too_long(self) -> list[Problem]:
        """Why some example does not fit alone."""
        try:
            probe(self.stores)
        except PlanError as error:
            return [Problem(error.message, error.remedy or "")]
        return []

    def _collecting(self) -> tuple[Collecting | None, list[Problem]]:
        """By all processes together; where a batch does not fit, why."""
        memory = Memory.of(self.stores)
        if memory is None:
            return None, []
        found = memory.plan()
        problem = memory.problem_of(found)
        return found, [] if problem is None else [problem]

    def timed(self, plan: Plan) -> Plan:
        """With the times that a few batches of the first store tell, and some products; where the
        run fits."""
        if not plan.fits:
            return plan
        pace = Pace()
        for stores in self.stores:
            if not pace.is_known and (shards := stores.missing_shards):
                stores.pending.try_out(shards, pace, lambda: pace.is_known)
        tokens = 0 if plan.collecting is None else plan.collecting.padded_tokens
        seconds = _scoring_seconds(self.scoring)
        return replace(plan, collecting_time=pace.of(tokens), scoring_seconds=seconds)

    def begin(self, say: Say) -> Forecast:
        """Say the plan in the first lines, and return what hears of the batches and says how long
        they will take. Raises `PlanError` if the run does not fit."""
        plan = self.plan()
        ranks().wait()  # before the first adds to what each of them has read here
        plan.require_fit()
        for line in first_lines(plan):
            say(line)
        collecting = plan.collecting
        tokens = 0 if collecting is None else collecting.padded_tokens
        examples = sum(plan.checkpoints * store.examples - store.done for store in plan.stores)
        # Of the scores' costs alone: a method of this planner would keep the first checkpoint's
        # model while the next is loaded.
        return Forecast(tokens, examples, partial(_scoring_seconds, self.scoring), say)


def _of_all(found: Sequence[Problem]) -> list[Problem]:
    """Those of all processes, each once."""
    return list(dict.fromkeys(chain.from_iterable(ranks().gathered(list(found)))))


def freed_bytes(prepared: Prepared) -> int:
    """What the model gives back of the CPU's memory before scores are computed, no more than the
    process has; nothing where the task keeps it, within a pipeline."""
    if isinstance(prepared.task, TextToImage):
        return 0
    model = prepared.pending[0].collector.gradients.model
    tensors = (t for t in (*model.parameters(), *model.buffers()) if t.device == CPU)
    return min(in_use(CPU), sum(t.nbytes for t in tensors))


def _scoring_seconds(scoring: Scoring | None) -> float:
    """0 where there are no scores."""
    return 0.0 if scoring is None else measured(scoring).seconds(scoring)


def _at_each(folders: Sequence[Path], out: Path) -> list[Path]:
    """A store's folder at every checkpoint, from that at the first."""
    if out == folders[0]:
        return list(folders)  # in object storage "train/." is another place than "train"
    return [folder / out.relative_to(folders[0]) for folder in folders]
