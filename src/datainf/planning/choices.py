"""By which settings a run that does not fit would: what may be changed of it, and how far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from datainf.config import RunConfig
from datainf.planning import disk
from datainf.planning.costs import PAIR_BYTES, Scoring
from datainf.planning.plan import Form
from datainf.planning.stores import StorePlan, Stores
from datainf.tasks.sampled import Sampled


@dataclass(frozen=True)
class Choices:
    """Of a run, or of the collection of some stores, for which `scoring` is None.

    `alike`: whether its stores have to be projected as others are that they will be scored with;
    `has_curvature`: whether the run's folder has a curvature, from whatever settings.
    """

    config: RunConfig
    stores: Sequence[Stores]
    scoring: Scoring | None
    alike: bool
    has_curvature: bool

    @property
    def is_begun(self) -> bool:
        return any(stores.is_begun for stores in self.stores)

    @property
    def scores_bytes(self) -> int:
        """Of the files with scores."""
        return self._scores_bytes()

    @property
    def kept_bytes(self) -> int | None:
        """Of the scores, were only the ends of each query's order kept; None where that is fewer
        than are to be shown."""
        return None if self.config.top > disk.KEEP else self._scores_bytes(keep=disk.KEEP)

    @property
    def bound(self) -> list[str]:
        """Settings that what stands in the run's folder was made by: with others it is refused."""
        found = {
            "project": self.is_begun,
            # Whose metric, in which gradients are projected, may be another.
            "method": self.is_begun and self.config.project is not None,
            "query_limit": self.scoring is not None and self.stores[1].is_begun,
            "curvature_rows": self.has_curvature,
        }
        return [name for name, is_bound in found.items() if is_bound]

    def forms(self, every: Sequence[Form]) -> list[Form]:
        """Those that go with the other settings, and with other stores."""
        if self.alike:
            asked = next(form.project for form in every if form.asked)
            return [form for form in every if form.project == asked]
        projects = self.config.metric != "fisher"  # in which no projection is
        return [form for form in every if projects or form.project is None]

    def limit(self, free: int, planned: Sequence[StorePlan]) -> str | None:
        """The option that takes so many examples of the largest store that all fits; of the next
        largest, where that cannot do; None where none can."""
        limits = [*self._limits()]
        for place in sorted(range(len(planned)), key=lambda place: -planned[place].bytes):
            (option, scores), stores = limits[place], self.stores[place]
            room = free - sum(store.bytes for store in planned) + planned[place].bytes
            if n := disk.fewer(stores.pending, len(stores.folders), scores, room):
                return f"{option} {n}"
        return None

    def _limits(self) -> Iterator[tuple[str, Callable[[int], int]]]:
        """Of each store the option that limits its examples, and what the scores take by their
        number."""
        if self.scoring is not None:
            yield "--train-limit", lambda n: self._scores_bytes(n=n)
            yield "--query-limit", lambda m: self._scores_bytes(m=m)
        for stores in self.stores[0 if self.scoring is None else 2 :]:
            drawn = isinstance(stores.pending.collector.task, Sampled)
            yield "--curvature-rows" if drawn else "--limit", lambda _: self._scores_bytes()

    def _scores_bytes(self, **changed: Any) -> int:
        return 0 if self.scoring is None else PAIR_BYTES * replace(self.scoring, **changed).pairs
