"""A store that is about to be collected: all that is known of it before any gradient is taken."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datainf import words
from datainf.errors import StoreCorruptError, StoreMismatchError
from datainf.gradients.collector import Collector, Heard
from datainf.gradients.evaluating import evaluating
from datainf.gradients.footprint import Footprint
from datainf.gradients.survey import Survey
from datainf.linalg import accumulate_dtype
from datainf.progress import Progress
from datainf.ranks import ranks
from datainf.second_moments import load_moments, moments_digest, save_moments
from datainf.store import GradientStore, Index
from datainf.store.shards import as_stored
from datainf.store.writer import StoreWriter, begun, writer


class SkippedWarning(UserWarning):
    """Examples were skipped, since their losses or gradients are not finite."""


@dataclass(frozen=True)
class PendingStore:
    """What `prepare` made. `index` is as the store's will be, with no shard yet; `moments` is what
    is kept with it; `sample` prepares the store of some examples in full, which one that is made
    smaller has beside it, unless there is to be none; `shard_rows` is what was asked for."""

    out: Path
    index: Index
    survey: Survey
    collector: Collector
    moments: Mapping[str, Tensor] | None
    sample: Callable[[], PendingStore] | None
    shard_rows: int | None = None

    @property
    def full_dtype(self) -> torch.dtype:
        """What gradients are stored as that nobody wants smaller."""
        return accumulate_dtype(next(iter(self.collector.gradients.chosen.values())).dtype)

    def collect(self, progress: Progress, heard: Heard = lambda *_: None) -> GradientStore:
        """Take the gradients, or those that a store at `out` lacks; `heard` is told of every
        batch. Raises what `datainf.collect` does; a `KeyboardInterrupt` goes on with a note of what
        is kept."""
        gradients = self.collector.gradients
        with evaluating(gradients.model):
            if self._is_missing():
                self.collector.footprint()  # before a store stands there that no other may replace
            try:
                with writer(self.out, self.index, self.survey.own) as store:
                    self._fill(store, progress, heard)
            except KeyboardInterrupt as stop:
                stop.add_note(self._kept())
                raise
        if self.index.is_smaller and self.sample is not None:
            self.sample().collect(progress, heard)
        return self._said(GradientStore.open(self.out))

    def _said(self, store: GradientStore) -> GradientStore:
        """A `SkippedWarning` names what was skipped of the store."""
        if store.skipped:
            rows = list(store.skipped)
            count, names = words.count(len(rows), "example"), self.collector.names(rows)
            verbs = ("was", "takes") if len(rows) == 1 else ("were", "take")
            warnings.warn(
                f"{store.path}: {count} {verbs[0]} skipped, and {verbs[1]} no part in any score: "
                f"{names}. "
                f"Of the first, {store.skipped[rows[0]]}",
                SkippedWarning,
                stacklevel=3,
            )
            store.sound  # noqa: B018 - there has to be some
        return store

    def _kept(self) -> str:
        """What is on the disk of a store that was stopped, and what is lost with its last shard."""
        index = begun(self.out, self.index) or self.index
        text = f"{self.out}: {index.rows_done:,} of {words.count(index.n, 'gradient')} are kept"
        lost = next(index.missing(), None)
        if lost is None:
            return text
        if ranks().count > 1:
            return f"{text}, those of finished shards; those that were begun start again"
        rows = words.rows(lost)
        return f"{text}, those of finished shards; the shard of {rows} starts again"

    def _is_missing(self) -> bool:
        """Whether a store at `out` lacks some rows. Raises `StoreMismatchError` for another,
        `NonFiniteError` for one that has skipped what is not to be skipped."""
        there = begun(self.out, self.index)
        if there is None:
            return True
        self.collector.require_none_skipped(self.out, there)
        return there.rows_done < there.n

    def _fill(self, store: StoreWriter, progress: Progress, heard: Heard) -> None:
        collector = self.collector
        if store.index.rows_done:
            collector.recheck(store)
        if (moments := self.moments) is not None:
            done = store.index.rows_done
            store.ranks.of_first(lambda: self._keep(moments, done))
        if store.lacking:
            collector.footprint()  # of a store whose last shards turned out to be broken
            collector.check()
            collector.settle_budget(store.index.notes)
            store.note()
            mine = store.missing
            done = 0 if store.ranks.count > 1 else store.index.rows_done
            advance = progress.stage("gradients", done + sum(map(len, mine)), done)
            for rows in mine:
                collector.shard(store, rows, advance, heard)
            if mine:
                collector.gradients.say_unused()

    def _keep(self, moments: Mapping[str, Tensor], rows_done: int) -> None:
        """Second moments beside the rows; those that rows have already are to be the same, but if
        they are damaged."""
        try:
            kept = load_moments(self.out) if rows_done else None
        except StoreCorruptError:
            kept = None
        if kept is None:
            save_moments(self.out, moments)
        elif moments_digest(kept) != moments_digest(moments):
            raise StoreMismatchError(
                f"{self.out} has the second moments of another training beside its gradients",
                remedy="another output folder, or delete this one",
            )

    def settle(self, notes: dict[str, Any]) -> Footprint:
        """Find what examples keep in memory, and by that how many tokens a batch has; of a store
        that was begun, as it notes. Raises `PlanError` if the longest example does not fit."""
        with evaluating(self.collector.gradients.model):
            self.collector.settle_budget(notes)
            return self.collector.footprint()

    def try_out(self, shards: Iterable[range], heard: Heard, enough: Callable[[], bool]) -> None:
        """Check, and take batches of these shards as `collect` does, of all lengths, until there
        are enough; none is kept."""
        collector, index = self.collector, self.index
        planned = [batch for rows in shards for batch in collector.batches(rows)]
        planned.sort(key=lambda batch: -self.survey.lengths[batch[0]])
        with evaluating(collector.gradients.model):
            collector.check()
            started = time.perf_counter()
            for batch, found in collector.take(planned):
                as_stored(found.gradients, index.blocks, index.torch_dtype)
                del found  # before the next batch takes as much
                heard(collector.padded(batch), time.perf_counter() - started)
                started = time.perf_counter()
                if enough():
                    return
