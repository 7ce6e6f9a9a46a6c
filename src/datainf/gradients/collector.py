"""The gradients of a data set, a shard at a time, each start and each shard checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from accelerate.utils.memory import should_reduce_batch_size
from torch import Tensor

from datainf.errors import ModelError, NonFiniteError, StoreMismatchError, VerificationError
from datainf.gradients.batches import batches
from datainf.gradients.budget import token_budget
from datainf.gradients.engine import PerExample
from datainf.gradients.spot_check import departure
from datainf.gradients.survey import Survey, encode, where
from datainf.memory import counting_kept, release
from datainf.store import GradientStore
from datainf.store.shards import ShardDraft
from datainf.store.writer import StoreWriter
from datainf.tasks import Task

BATCH_GRADIENT_BYTES = 512 * 2**20
"""Upper bound on the gradients that one batch holds."""
BATCH_TOKENS = "batch_tokens"
"""Where a store notes how many tokens its batches may have."""
SPOT_CHECKED_ROWS = 64
"""A shard of as many examples has one compared with autograd."""


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
    ) -> None:
        """`batch_tokens`: None for what `settle_budget` finds. `row_bytes`: what an example's
        gradients take while its batch is computed."""
        self.gradients, self.task, self.dataset, self.survey = gradients, task, dataset, survey
        self.batch_tokens = batch_tokens
        self.max_rows = max(1, BATCH_GRADIENT_BYTES // row_bytes)

    def check(self) -> None:
        """Compare a few examples of unlike lengths, so that there is padding, with one-at-a-time
        autograd; shorter ones where memory runs out, and none together where two are too many."""
        candidates = sorted(range(len(self.dataset)), key=lambda row: self.survey.lengths[row])
        if self.batch_tokens == 1:
            candidates = candidates[:1]
        while True:
            picked = {candidates[0], candidates[len(candidates) // 2], candidates[-1]}
            try:
                truth = self.gradients.check(self._examples(sorted(picked)))
                break
            except Exception as error:
                if len(candidates) == 1 or not should_reduce_batch_size(error):
                    raise
                candidates = candidates[: len(candidates) // 2]
                if len(candidates) == 1:
                    self.batch_tokens = 1
        # Zero gradients everywhere are no answer: the adapter is merged or not active.
        if len(truth.unused) == len(self.gradients.chosen):
            raise ModelError(
                f"the {len(truth.unused)} trainable parameters take no part in the loss, "
                f"{truth.unused[0]} among them: is the adapter merged, disabled, or not the "
                "active one?",
                remedy="model.unmerge_adapter(), model.set_adapter(name), or --trainable",
            )

    def settle_budget(self, store: StoreWriter) -> None:
        """Tokens a batch, where nobody said: those that the store was begun with, or what the
        longest example tells by what it keeps in memory."""
        if self.batch_tokens is None:
            self.batch_tokens = store.index.notes.get(BATCH_TOKENS) or self._probed()
        store.index.notes.setdefault(BATCH_TOKENS, self.batch_tokens)

    def _probed(self) -> int:
        longest = max(range(len(self.dataset)), key=lambda row: self.survey.lengths[row])
        with counting_kept(self.gradients.model) as kept:
            self.gradients(self._examples([longest]))
        return token_budget(self.gradients.device, kept.bytes, max(1, self.survey.lengths[longest]))

    def shard(self, store: StoreWriter, rows: range, advance: Callable[[int], None]) -> None:
        """Collect one shard, its rows in the order of the data set."""
        with store.filling(self.survey.ids[rows.start : rows.stop]) as draft:
            suspect = self._fill(draft, rows, advance)
            if suspect is not None and len(rows) >= SPOT_CHECKED_ROWS and not self.gradients.alone:
                self._spot_check(rows[suspect], *draft.row(suspect), store)
        release()

    def _fill(self, draft: ShardDraft, rows: range, advance: Callable[[int], None]) -> int | None:
        """Collect a shard's rows in batches of like lengths; the place of the example that had the
        most padding, if any had."""
        lengths = self.survey.lengths[rows.start : rows.stop]
        # Longest first, so that a budget that does not fit is found out at once.
        budget = self.batch_tokens or 1
        todo = batches(lengths, budget, self.max_rows)[::-1]
        padded, suspect = 0, None
        while todo:
            places = todo.pop()
            try:
                found = self.gradients(self._examples([rows[p] for p in places]))
            except Exception as error:
                if len(places) == 1 or not should_reduce_batch_size(error):
                    raise
                self.batch_tokens = budget = max(1, budget // 2)
                half = len(places) // 2
                todo += [places[half:], places[:half]]
                continue
            finite = draft.put(places, found.gradients, found.losses)
            del found  # before the next batch takes as much
            if not finite.all():
                self._blame(finite, [rows[p] for p in places])
            padding = lengths[places[0]] - lengths[places[-1]]
            if len(places) > 1 and padding >= padded:
                padded, suspect = padding, places[-1]
            advance(len(places))
        return suspect

    def _spot_check(
        self, row: int, loss: Tensor, gradient: dict[str, Tensor], store: StoreWriter
    ) -> None:
        """Raises `VerificationError` if a batch gave an example something else than autograd."""
        example, dtype = self._examples([row])[0], store.index.torch_dtype
        what = departure(self.gradients, example, loss, gradient, dtype)
        if what is not None:
            raise VerificationError(
                f"{self._name(row)}: computed in a batch, {what}. The model mixes the examples of "
                "a batch or counts padding, in some batches and not in others",
                remedy=f"delete {store.path} and collect with --batch-tokens 1, which puts every "
                "example alone",
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
        for row in sorted({0, store.index.rows_done - 1}):
            loss, gradient = there.example(row)
            example, dtype = self._examples([row])[0], store.index.torch_dtype
            what = departure(self.gradients, example, loss, gradient, dtype)
            if what is not None:
                raise StoreMismatchError(
                    f"{store.path} holds a store that was made by something else, though all "
                    f"weights and settings that can be seen are the same. For {self._name(row)}, "
                    f"{what}. Adapters that are switched off, options of an adapter, or the code "
                    "of a loss or a collator can make such a difference",
                    remedy="another output folder, or delete this one",
                )

    def _examples(self, rows: Sequence[int]) -> list[Any]:
        return [encode(self.task, self.dataset[row], self.dataset, row) for row in rows]

    def _name(self, row: int) -> str:
        identifier = self.survey.ids[row]
        place = where(self.dataset, row)
        return place if identifier == row else f"{place} (id {identifier!r})"

    def _blame(self, finite: Tensor, rows: Sequence[int]) -> None:
        """Raises `NonFiniteError` naming the rows that are not finite, [rows, blocks] with the
        loss's last, and the first block."""
        culprits = [self._name(rows[place]) for place in (~finite.all(dim=1)).nonzero().flatten()]
        shown = ", ".join(culprits[:5]) + (f" and {len(culprits) - 5} more" if culprits[5:] else "")
        what = "the loss"
        if finite[:, -1].all():
            block = int((~finite.all(dim=0)).nonzero()[0])
            what = f"the gradient of {list(self.gradients.chosen)[block]}"
        raise NonFiniteError(
            f"{shown}: {what} is NaN or infinite",
            remedy="look at the row; check the adapter's weights for NaN; --dtype float32 if the "
            "model runs in half precision. Finished shards are kept",
        )
