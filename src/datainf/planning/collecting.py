"""What taking the gradients takes of memory, and how many tokens a batch may have for it to fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from datainf import words
from datainf.gradients.evaluating import evaluating
from datainf.gradients.footprint import BACKWARD, Footprint, remedy
from datainf.gradients.precision import is_half
from datainf.memory import available_each, for_each, in_use
from datainf.planning.plan import LIBRARIES, Collecting, Problem
from datainf.planning.stores import Batch, Stores


def probe(stores: Sequence[Stores]) -> None:
    """What examples of these stores keep, in this process alone. Raises `PlanError` if some example
    does not fit."""
    for each in stores:
        collector = each.pending.collector
        if each.is_missing:
            with evaluating(collector.gradients.model):
                collector.footprint()


@dataclass(frozen=True)
class Memory:
    """Of the stores that lack some rows, each with what its examples keep."""

    missing: Sequence[tuple[Stores, Footprint]]

    @classmethod
    def of(cls, stores: Sequence[Stores]) -> Memory | None:
        """None where nothing is missing. All processes settle it together, after `probe`."""
        missing = [each for each in stores if each.is_missing]
        found = [(each, each.pending.settle(each.notes)) for each in missing]
        return cls(found) if found else None

    def plan(self) -> Collecting:
        collector = self.missing[0][0].pending.collector
        device, model = collector.gradients.device, collector.gradients.model
        batches = [batch for stores, _ in self.missing for batch in stores.batches()]
        activations, gradients = self._largest()
        return Collecting(
            device=str(device),
            batches=len(batches),
            batch_tokens=collector.budget,
            padded_tokens=sum(batch.padded for batch in batches),
            in_use=in_use(device),
            weights=sum(t.nbytes for t in [*model.parameters(), *model.buffers()]),
            activations=activations,
            gradients=gradients,
            available=available_each(device),
        )

    def problem_of(self, plan: Collecting) -> Problem | None:
        """Why the largest batch does not fit; None if it does."""
        there = plan.in_use + plan.available
        if plan.peak <= there:
            return None
        collector = self.missing[0][0].pending.collector
        fewer = self._fitting(plan.batch_tokens, plan.available)
        shorter = remedy(
            collector.task.shortening(None), is_half=is_half(collector.gradients.model)
        )
        return Problem(
            f"gradients in batches of up to {words.count(plan.batch_tokens, 'token')} take "
            f"some {words.size(plan.peak)} of memory on {plan.device}, by what single examples "
            f"kept; there are {words.size(there)}{for_each(torch.device(plan.device))}",
            shorter if fewer is None else f"--batch-tokens {fewer}, {shorter}",
        )

    def _fitting(self, budget: int, there: int) -> int | None:
        """Tokens a batch, halved until the largest one fits; None if none does."""
        while budget > 1:
            budget //= 2
            if _peak(self._largest(budget)) <= there:
                return budget
        return None

    def _largest(self, budget: int | None = None) -> tuple[int, int]:
        """Bytes that the largest batch keeps for its backward pass, and its gradients; by the
        settled budgets, or by another."""
        found = [
            _bytes_of(batch, footprint)
            for stores, footprint in self.missing
            for batch in stores.batches(budget)
        ]
        checked = [
            _bytes_of(stores.checked(budget), footprint) for stores, footprint in self.missing
        ]
        device = self.missing[0][0].pending.collector.gradients.device
        if device.type != "cpu":  # which says that memory runs out, and shorter ones are checked
            there = available_each(device)
            checked = [size for size in checked if _peak(size) <= there]
        return max([*found, *checked], key=sum)


def _bytes_of(batch: Batch, footprint: Footprint) -> tuple[int, int]:
    return batch.rows * footprint.kept(batch.tokens), batch.rows * batch.row_bytes


def _peak(size: tuple[int, int]) -> int:
    """Beside what is in use."""
    return LIBRARIES + BACKWARD * sum(size)
