"""The gradients of a data set, a shard at a time, each start and each shard checked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch import Tensor

from datainf import words
from datainf.errors import (
    ModelError,
    NonFiniteError,
    OptionError,
    PlanError,
    StoreMismatchError,
    VerificationError,
)
from datainf.gradients.batches import batches, spread
from datainf.gradients.budget import token_budget
from datainf.gradients.capture import BatchGradients
from datainf.gradients.engine import PerExample
from datainf.gradients.footprint import BACKWARD, Footprint, growing, remedy
from datainf.gradients.precision import is_half
from datainf.gradients.spot_check import departure
from datainf.gradients.survey import Survey, where
from datainf.gradients.verify import LossFailedError, one_alone, together
from datainf.memory import available_each, counting_kept, for_each, release
from datainf.ranks import ranks
from datainf.store import GradientStore, Index
from datainf.store.shards import ShardDraft
from datainf.store.writer import StoreWriter
from datainf.tasks import Task

BATCH_GRADIENT_BYTES = 512 * 2**20
"""Upper bound on the gradients that one batch holds."""
CPU_GRADIENT_BYTES, CPU_ROWS = 32 * 2**20, 8
"""No more than this on a CPU, unless so few rows have more. Batches of many short examples are no
faster there, and would decide how much memory a run takes."""
BATCH_TOKENS = "batch_tokens"
"""Where a store notes how many tokens its batches may have."""
SPOT_CHECKED_ROWS = 64
"""A shard of as many examples has one compared with autograd."""
CHECKED = 3
"""Examples that every start compares with autograd."""
OnNonfinite = Literal["stop", "skip"]
"""What becomes of an example whose loss or gradient is NaN or infinite."""
Heard = Callable[[int, float], None]
"""Is told of every batch: its tokens, padding counted, and the seconds that it took."""


def require_known(on_nonfinite: str) -> None:
    """Raises `OptionError` for none of `OnNonfinite`."""
    if on_nonfinite not in get_args(OnNonfinite):
        raise OptionError(
            f"unknown on_nonfinite (--on-nonfinite): {on_nonfinite!r}",
            remedy=" or ".join(get_args(OnNonfinite)),
        )


def max_rows(row_bytes: int, device: torch.device) -> int:
    """Most examples of a batch, of whose gradients each takes so many bytes."""
    most = BATCH_GRADIENT_BYTES // row_bytes
    if device.type == "cpu":
        most = min(most, max(CPU_ROWS, CPU_GRADIENT_BYTES // row_bytes))
    return max(1, most)


class Collector:
    """The examples' gradients, a shard at a time."""

    def __init__(
        self,
        gradients: PerExample,
        task: Task,
        dataset: Sequence[Any],
        survey: Survey,
        batch_tokens: int | None,
        row_bytes: int,
        on_nonfinite: OnNonfinite = "stop",
    ) -> None:
        """`batch_tokens`: None for what `settle_budget` finds. `row_bytes`: what an example's
        gradients take while its batch is computed."""
        self.gradients, self.task, self.dataset, self.survey = gradients, task, dataset, survey
        self.on_nonfinite = on_nonfinite
        self.batch_tokens, self.row_bytes = batch_tokens, row_bytes
        self.max_rows = max_rows(row_bytes, gradients.device)
        self._footprint: Footprint | None = None
        self._alone: dict[int, BatchGradients] = {}  # what the probe took, until the check

    @property
    def budget(self) -> int:
        """Tokens a batch, once that is settled."""
        if self.batch_tokens is None:
            raise RuntimeError("how many tokens a batch has is not settled: settle_budget")
        return self.batch_tokens

    def footprint(self) -> Footprint:
        """What examples keep for their backward pass, from a short one, one half as long as the
        longest, and the longest, each taken once those before say that it fits.

        Raises `PlanError` if the longest does not fit alone.
        """
        if self._footprint is None:
            self._footprint = self._probed()
        return self._footprint

    def _probed(self) -> Footprint:
        known: list[tuple[int, int]] = []
        rows = self.survey.rows
        for place in growing(self.survey.lengths[rows.start : rows.stop]):
            row = rows[place]
            tokens = max(1, self.survey.lengths[row])
            if known:
                self._require_fit(Footprint.of(known), row)
            known.append((tokens, self._kept(row)))
        return Footprint.of(known)

    def _kept(self, row: int) -> int:
        """By plain autograd: a batch of one is none to settle the way to go by."""
        try:
            with counting_kept(self.gradients.model) as kept:
                self._alone[row] = self._taken_alone(row)
        except Exception as error:
            if not should_reduce_batch_size(error):
                raise
            raise self._no_room(row) from error
        return kept.bytes

    def _require_fit(self, footprint: Footprint, row: int) -> None:
        """Raises `PlanError` if an example alone takes more, by what shorter ones keep, than the
        device has left."""
        tokens, device = self.survey.lengths[row], self.gradients.device
        needed = BACKWARD * (footprint.kept(tokens) + self.row_bytes)
        there = available_each(device)
        if needed > there:
            raise self._too_long(
                f"{self._name(row)} has {words.count(tokens, 'token')}, of which a backward "
                f"pass takes some {words.size(needed)}, by what shorter ones kept; "
                f"{words.size(there)} are left on {device}{for_each(device)}",
                footprint.fitting(there // BACKWARD - self.row_bytes),
            )

    def _no_room(self, row: int) -> PlanError:
        """Of an example whose memory was not to be had, though others may be to blame for it."""
        return self._too_long(
            f"{self._name(row)} alone does not fit in memory on {self.gradients.device}. Finished "
            "shards are kept"
        )

    def _too_long(self, what: str, fitting: int | None = None) -> PlanError:
        shortening = self.task.shortening(fitting)
        return PlanError(what, remedy=remedy(shortening, is_half=is_half(self.gradients.model)))

    def check(self) -> None:
        """Compare a few examples of unlike lengths, so that there is padding, with one-at-a-time
        autograd, those of the probe if they are enough; shorter ones where memory runs out, and
        none together where two are too many."""
        candidates = sorted(self.survey.rows, key=lambda row: self.survey.lengths[row])
        if self.batch_tokens == 1:
            candidates = candidates[:1]
        probed = sorted(self._alone) if len(candidates) > 1 else []
        while True:
            picked = probed if len(probed) == CHECKED else _of_all_lengths(candidates)
            try:
                known = [self._alone.get(row) or self._taken_alone(row) for row in picked]
                truth = self.gradients.check(self._examples(picked), together(known))
                break
            except Exception as error:
                if not should_reduce_batch_size(error):
                    raise
                if len(candidates) == 1:
                    raise self._no_room(candidates[0]) from error
                self._alone, probed = {}, []
                candidates = candidates[: len(candidates) // 2]
                if len(candidates) == 1:
                    self.batch_tokens = 1
        self._alone = {}
        # Zero gradients everywhere are no answer: the adapter is merged or not active.
        if len(truth.unused) == len(self.gradients.chosen):
            raise ModelError(
                f"the {len(truth.unused)} trainable parameters take no part in the loss, "
                f"{truth.unused[0]} among them: is the adapter merged, disabled, or not the "
                "active one?",
                remedy="model.unmerge_adapter(), model.set_adapter(name), or --trainable",
            )

    def settle_budget(self, notes: dict[str, Any]) -> None:
        """Tokens a batch, where nobody said: those that the store was begun with, as it notes, or
        what the longest example tells by what it keeps in memory. One for all processes, which
        settle it together: the least, so that a shard is the same whoever takes it."""
        known = self.batch_tokens or notes.get(BATCH_TOKENS)
        self.batch_tokens = ranks().least(known or self._budget())
        notes.setdefault(BATCH_TOKENS, self.batch_tokens)

    def _budget(self) -> int:
        longest = max(1, max(self.survey.lengths))
        return token_budget(self.gradients.device, self.footprint().kept(longest), longest)

    def batches(self, rows: range) -> list[list[int]]:
        """A shard's rows in batches, by their numbers in the data set, longest first."""
        lengths = self.survey.lengths[rows.start : rows.stop]
        found = batches(lengths, self.budget, self.max_rows)
        return [[rows[place] for place in places] for places in found]

    def padded(self, batch: Sequence[int]) -> int:
        """Tokens of a batch of rows, longest first, padding counted."""
        return len(batch) * max(1, self.survey.lengths[batch[0]])

    def shard(
        self, store: StoreWriter, rows: range, advance: Callable[[int], None], heard: Heard
    ) -> None:
        """Collect one shard, its rows in the order of the data set."""
        with store.filling(rows, self.survey.ids[rows.start : rows.stop]) as draft:
            suspect = self._fill(draft, rows, advance, heard)
            store.index.notes[BATCH_TOKENS] = self.batch_tokens  # for a run that goes on from here
            if suspect is not None and len(rows) >= SPOT_CHECKED_ROWS and not self.gradients.alone:
                self._spot_check(suspect, *draft.row(suspect - rows.start), store)
        release()

    def _fill(
        self, draft: ShardDraft, rows: range, advance: Callable[[int], None], heard: Heard
    ) -> int | None:
        """Collect a shard's rows in batches of like lengths; the row that had the most padding, if
        any had. Where rows of a batch are skipped, the others are taken again without them."""
        lengths, planned = self.survey.lengths, self.batches(rows)
        padded, suspect, started = 0, None, time.perf_counter()
        while planned:
            again: list[list[int]] = []
            for batch, found in self.take(planned):
                places = [row - rows.start for row in batch]
                finite = draft.put(places, found.gradients, found.losses)
                del found  # before the next batch takes as much
                sound = batch if finite.all() else self._sound(finite, batch, draft, rows.start)
                padding = lengths[batch[0]] - lengths[batch[-1]]
                if sound is batch and len(batch) > 1 and padding >= padded:
                    padded, suspect = padding, batch[-1]
                if sound is not batch and sound:
                    again.append(sound)
                advance(len(batch) if sound is batch else len(batch) - len(sound))
                heard(self.padded(batch), time.perf_counter() - started)
                started = time.perf_counter()
            planned = sorted(again, key=self.padded, reverse=True)
        return suspect

    def _sound(
        self, finite: Tensor, batch: Sequence[int], draft: ShardDraft, start: int
    ) -> list[int]:
        """The rows of a batch that `ShardDraft.put` found finite; the others are skipped, or raise
        `NonFiniteError`."""
        if self.on_nonfinite == "stop":
            self._blame(finite, batch, draft.dtype)
        sound = []
        for row, of_row in zip(batch, finite, strict=True):
            if of_row.all():
                sound.append(row)
            else:
                draft.skip(row - start, self._what(of_row[None]))
        return sound

    def take(self, planned: Sequence[list[int]]) -> Iterator[tuple[list[int], BatchGradients]]:
        """The gradients of batches, longest first, in the order of `spread`; where memory runs out
        a batch is halved, and those that are made later have no more tokens than its halves."""
        order = spread([self.padded(batch) for batch in planned])
        todo = [planned[place] for place in reversed(order)]
        while todo:
            batch = todo.pop()
            try:
                with self._naming(batch):
                    found = self.gradients(self._examples(batch))
            except Exception as error:
                if not should_reduce_batch_size(error):
                    raise
                if len(batch) == 1:
                    raise self._no_room(batch[0]) from error
                self.batch_tokens = min(self.budget, max(1, self.padded(batch) // 2))
                half = len(batch) // 2
                todo += [batch[half:], batch[:half]]
                continue
            yield batch, found
            del found  # before the next batch takes as much

    def _spot_check(
        self, row: int, loss: Tensor, gradient: dict[str, Tensor], store: StoreWriter
    ) -> None:
        """Raises `VerificationError` if a batch gave an example something else than autograd."""
        what = self._departure(row, loss, gradient, store.index.torch_dtype)
        if what is not None:
            raise VerificationError(
                f"{self._name(row)}: computed in a batch, {what}. The model mixes the examples of "
                "a batch or counts padding, in some batches and not in others",
                remedy=f"delete {store.path} and collect with batch_tokens=1 (--batch-tokens 1), "
                "which puts every example alone",
            )

    def require_none_skipped(self, path: Path, index: Index) -> None:
        """Raises `NonFiniteError` if a store that is there has skipped some of these examples, at
        which this collection would have stopped."""
        skipped = index.skipped()
        rows = [row for row in skipped if row in self.survey.rows]
        if rows and self.on_nonfinite == "stop":
            verb = "was" if len(rows) == 1 else "were"
            raise NonFiniteError(
                f"{path}: {words.count(len(rows), 'example')} {verb} skipped: "
                f"{self.names(rows)}. Of the first, {skipped[rows[0]]}",
                remedy="--on-nonfinite skip, by which this store was made; or another folder, in "
                "which the collection stops at such a row",
            )

    def recheck(self, store: StoreWriter) -> None:
        """Compare the first and the last example that a store already has with what the model
        gives for them now.

        Raises `StoreMismatchError` if that is something else. Targets that are drawn may differ by
        one that rounding decided, and with it a loss: those stores are not compared.
        """
        if not self.task.repeatable:
            return
        there = GradientStore(store.path, store.index)
        known = [
            row for rows in store.index.done() for row in rows
            if row in self.survey.rows and row not in there.skipped
        ]  # fmt: skip
        for row in sorted({*known[:1], *known[-1:]}):
            what = self._departure(row, *there.example(row), store.index.torch_dtype)
            if what is not None:
                raise StoreMismatchError(
                    f"{store.path} holds a store that was made by something else, though all "
                    f"weights and settings that can be seen are the same. For {self._name(row)}, "
                    f"{what}. Adapters that are switched off, options of an adapter, or the code "
                    "of a loss or a collator can make such a difference",
                    remedy="another output folder, or delete this one",
                )

    def _taken_alone(self, row: int) -> BatchGradients:
        gradients, example = self.gradients, self._examples([row])[0]
        with self._naming([row]):
            return one_alone(
                gradients.model, gradients.chosen, self.task, example, gradients.device
            )

    def _departure(
        self, row: int, loss: Tensor, gradient: dict[str, Tensor], dtype: torch.dtype
    ) -> str | None:
        """What differs from what a row's gradient is alone; see `departure`."""
        with self._naming([row]):
            return departure(self.gradients, self._examples([row])[0], loss, gradient, dtype)

    @contextmanager
    def _naming(self, rows: Sequence[int]) -> Iterator[None]:
        """Say of which row a loss fails, of those that are taken together."""
        try:
            yield
        except LossFailedError as error:
            raise ModelError(
                f"{self._name(rows[error.place])}: {error.message}",
                remedy=f"{error.remedy}. Finished shards are kept",
            ) from error.__cause__

    def _examples(self, rows: Sequence[int]) -> list[Any]:
        return self.survey.examples(rows, self.task, self.dataset)

    def _name(self, row: int) -> str:
        identifier = self.survey.ids[row]
        place = where(self.dataset, row)
        return place if identifier == row else f"{place} (id {identifier!r})"

    def _blame(self, finite: Tensor, rows: Sequence[int], stored: torch.dtype) -> None:
        """Raises `NonFiniteError` naming the rows that `ShardDraft.put` found not finite, and the
        first block."""
        culprits = [rows[place] for place in (~finite.all(dim=1)).nonzero().flatten()]
        first = ""
        if stored == torch.float16 and finite[:, -1].all():
            first = "--store bfloat16, since float16 ends at 65,504; or "
        raise NonFiniteError(
            f"{self.names(culprits)}: {self._what(finite)}",
            remedy=f"{first}look at the row; check the adapter's weights for NaN; --dtype float32 "
            "if the model runs in half precision; or --on-nonfinite skip, which leaves such rows "
            "out and lists them. Finished shards are kept",
        )

    def _what(self, finite: Tensor) -> str:
        """What is not finite of rows, [rows, blocks + 1]."""
        if not finite[:, -1].all():
            return "the loss is NaN or infinite"
        block = int((~finite.all(dim=0)).nonzero()[0])
        name = list(self.gradients.chosen)[block]
        return f"the gradient of {name} or its squared norm is NaN or infinite in float32"

    def names(self, rows: Sequence[int], most: int = 5) -> str:
        """Rows as the data set names them, the first of many."""
        more = f" and {len(rows) - most:,} more" if len(rows) > most else ""
        return ", ".join(self._name(row) for row in rows[:most]) + more


def _of_all_lengths(rows: Sequence[int]) -> list[int]:
    """The first, the middle and the last of rows in order of length, as they come."""
    return sorted({rows[0], rows[len(rows) // 2], rows[-1]})
