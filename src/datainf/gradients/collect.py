"""collect: model + data set → GradientStore."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import xxhash
from accelerate.utils.memory import should_reduce_batch_size
from torch import Tensor, nn

from datainf.errors import (
    DataError,
    ModelError,
    NonFiniteError,
    OptionError,
    StoreMismatchError,
    VerificationError,
)
from datainf.fingerprint import digest, tensors_digest
from datainf.gradients.batches import batches
from datainf.gradients.engine import PerExample
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import adapter_settings, architecture, blocks_of, select, weights
from datainf.gradients.spot_check import departure
from datainf.linalg import accumulate_dtype
from datainf.progress import Progress, Silent
from datainf.store import GradientStore, Index
from datainf.store_writer import StoreWriter, writer
from datainf.tasks import Task
from datainf.tasks.base import TRUNCATED
from datainf.tasks.trainer import FromTrainer, is_trainer

if TYPE_CHECKING:
    from transformers import Trainer

SHARD_BYTES = 256 * 2**20
SHARD_ROWS = 1024
"""Upper bounds on a shard: its gradients' bytes, and the work that a kill can cost."""
BATCH_GRADIENT_BYTES = 512 * 2**20
"""Upper bound on the gradients that one batch holds."""
BATCH_TOKENS = 4096
SPOT_CHECKED_ROWS = 64
"""A shard of as many examples has one compared with autograd."""


TRAINERS_OWN: Any = object()
"""Stands for a trainer's training data, where no data set was given."""


def collect(
    model: nn.Module | Trainer,
    dataset: Sequence[Any] = TRAINERS_OWN,
    task: Task | None = None,
    *,
    out: str | Path,
    trainable: str | None = None,
    dtype: torch.dtype | None = None,
    batch_tokens: int = BATCH_TOKENS,
    shard_rows: int | None = None,
    fallback: bool = True,
    notes: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> GradientStore:
    """Per-example gradients of `dataset` under `model`, on disk.

    A store that an earlier, interrupted call left at `out` is continued from its last shard, to
    the same bytes; a finished one is opened as it is.

    Args:
        model: In memory, with its adapter; left as it was found. Dropout is off meanwhile. Or a
            `transformers.Trainer`, TRL's included, that holds it.
        dataset: Examples that `task` understands; anything with a length and integer indices.
            Its `ids` are used if it has them, else an `id` in each example, else row numbers. By
            default the trainer's training data.
        task: What the model loses on a batch; see `datainf.tasks`. By default the trainer's own
            loss, `datainf.tasks.FromTrainer`.
        out: The store's folder.
        trainable: Shell patterns of parameter names with commas between, "!" leaving out; by
            default every parameter that requires gradients, or the active adapter's.
        dtype: Of the stored gradients; float32 by default, float64 for a float64 model.
        batch_tokens: Most tokens of a batch, padding counted; halved when memory runs out.
        shard_rows: Examples a shard; by default 1024, or as many as make 256 MiB.
        fallback: Whether to take each example alone, exactly and slower and with a
            `FallbackWarning`, where a parameter's gradients cannot be taken in batches.
        notes: Plain JSON values to keep in the index.
        progress: Where to show how far it is.

    Raises:
        OptionError: a model without data set and task; a trainer that packs examples together.
        DataError: an example that the task cannot use, named, before any work is done; a data set
            without a length.
        CoverageError: a trainable parameter needs the fallback, and that is not allowed.
        VerificationError: the losses of some batch are not those of its examples alone.
        ModelError: nothing is trainable, or none of it takes part in the loss.
        NonFiniteError: a loss or gradient is NaN or infinite; the examples are named.
        StoreMismatchError: `out` holds a store of something else.
        StoreBusyError, WriteError: see `datainf.errors`.
    """
    if batch_tokens < 1:
        raise OptionError(f"batch_tokens must be at least 1, got {batch_tokens}")
    if shard_rows is not None and shard_rows < 1:
        raise OptionError(f"shard_rows must be at least 1, got {shard_rows}")
    progress = progress or Silent()
    model, dataset, task = _asked(model, dataset, task)
    task = task.for_model(model)
    chosen = select(model, trainable)
    device = next(iter(chosen.values())).device
    gradients = PerExample(model, chosen, task, device, fallback=fallback)
    survey = _survey(dataset, task, progress)
    index = _index(model, chosen, task, survey, dtype, shard_rows)
    index.notes = {**(notes or {}), "truncated": survey.truncated, "tokens": sum(survey.lengths)}
    run = _Run(gradients, task, dataset, survey, batch_tokens)
    out = Path(out)
    with evaluating(model), writer(out, index) as store:
        if store.index.rows_done:
            run.recheck(store)
        if store.index.rows_done < store.index.n:
            run.check()
            advance = progress.stage("gradients", store.index.n, store.index.rows_done)
            for rows in store.missing():
                run.shard(store, rows, advance)
            gradients.say_unused()
    return GradientStore.open(out)


def _asked(
    model: nn.Module | Trainer, dataset: Any, task: Task | None
) -> tuple[nn.Module, Sequence[Any], Task]:
    """Model, data set and task, what was not given taken from the trainer."""
    if is_trainer(model):
        trainer: Any = model
        task = task or FromTrainer(trainer)
        model = trainer.accelerator.unwrap_model(trainer.model)
        dataset = trainer.train_dataset if dataset is TRAINERS_OWN else dataset
    if dataset is TRAINERS_OWN or task is None:
        missing = "data set" if dataset is TRAINERS_OWN else "task"
        raise OptionError(
            f"no {missing} was given, and no trainer that has one",
            remedy="collect(model, dataset, task, out=…), or collect(trainer, out=…)",
        )
    if dataset is None:
        raise DataError(
            "the data set is None: the trainer has none of that kind",
            remedy="the rows to collect from; a trainer's eval_dataset has to be given to it",
        )
    if isinstance(dataset, str | Path):
        raise DataError(
            f"the data set is a path, {dataset}, not rows",
            remedy="datainf.data.load(path), or a list of mappings",
        )
    if isinstance(dataset, Mapping):
        raise DataError(
            f"several data sets were given: {', '.join(map(str, dataset))}", remedy="one of them"
        )
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise DataError(
            f"a {type(dataset).__qualname__} has no length or no rows to ask for by number",
            remedy="a list of its rows, list(dataset), or a datasets.Dataset",
        )
    return model, dataset, task


@dataclass(frozen=True)
class _Survey:
    """One pass over the examples before any gradient: ids, lengths in tokens, a digest of what
    the model will see, and how many examples were cut to its limit."""

    ids: list[int | str]
    lengths: list[int]
    digest: str
    truncated: int


def _survey(dataset: Sequence[Any], task: Task, progress: Progress) -> _Survey:
    n = len(dataset)
    if n == 0:
        raise DataError("the data set is empty", remedy="at least one example")
    advance = progress.stage("reading", n)
    ids = getattr(dataset, "ids", None)
    found: list[int | str] = []
    lengths, truncated, state = [], 0, xxhash.xxh3_128()
    for row in range(n):
        example = dataset[row]
        encoded = _encode(task, example, dataset, row)
        found.append(_identifier(example, row) if ids is None else ids[row])
        lengths.append(task.length(encoded))
        truncated += isinstance(encoded, dict) and encoded.get(TRUNCATED, 0) > 0
        state.update(_example_digest(task, encoded).encode())
        advance(1)
    _require_unique(found, dataset)
    state.update(digest(found).encode())
    return _Survey(found, lengths, state.hexdigest(), truncated)


def _identifier(example: Any, row: int) -> int | str:
    identifier = example.get("id", row) if hasattr(example, "get") else row
    return identifier if isinstance(identifier, int | str) else row


def _require_unique(ids: list[int | str], dataset: Sequence[Any]) -> None:
    if len(set(ids)) == len(ids):
        return
    seen: dict[int | str, int] = {}
    for row, identifier in enumerate(ids):
        if identifier in seen:
            raise DataError(
                f"{where(dataset, row)}: the id {identifier!r} stands at "
                f"{where(dataset, seen[identifier])} too",
                remedy="ids that are unique, or no id column: rows are then counted",
            )
        seen[identifier] = row


def where(dataset: Sequence[Any], row: int) -> str:
    """A row in words: its file and line where the data set knows them."""
    tell = getattr(dataset, "where", None)
    return str(tell(row)) if callable(tell) else f"example {row}"


def _encode(task: Task, example: Any, dataset: Sequence[Any], row: int) -> Any:
    try:
        return task.encode(example)
    except DataError as error:
        raise DataError(f"{where(dataset, row)}: {error.message}", remedy=error.remedy) from None


def _example_digest(task: Task, encoded: Any) -> str:
    try:
        return digest(encoded)
    except TypeError:  # an object of the user's own: what the model sees of it
        return digest(task.collate([encoded]))


def _index(
    model: nn.Module,
    chosen: dict[str, nn.Parameter],
    task: Task,
    survey: _Survey,
    dtype: torch.dtype | None,
    shard_rows: int | None,
) -> Index:
    dtype = dtype or accumulate_dtype(next(iter(chosen.values())).dtype)
    blocks = blocks_of(model, chosen, task.parts if task.concatenate else 1)
    row_bytes = sum(block.width for block in blocks) * dtype.itemsize
    settings = task.settings()
    return Index(
        n=len(survey.ids),
        dtype=str(dtype).removeprefix("torch."),
        blocks=blocks,
        fingerprints={
            "base": digest(
                [
                    tensors_digest((n, t) for n, t in weights(model) if n not in chosen),
                    architecture(model),
                ]
            ),
            "adapter": digest([tensors_digest(chosen.items()), adapter_settings(model)]),
            "data": survey.digest,
            "task": digest(settings),
        },
        shard_rows=shard_rows or max(1, min(SHARD_ROWS, SHARD_BYTES // max(1, row_bytes))),
        task=settings,
    )


class _Run:
    """The examples' gradients, a shard at a time."""

    def __init__(
        self,
        gradients: PerExample,
        task: Task,
        dataset: Sequence[Any],
        survey: _Survey,
        batch_tokens: int,
    ) -> None:
        self.gradients, self.task, self.dataset, self.survey = gradients, task, dataset, survey
        self.batch_tokens = batch_tokens
        parameters = sum(parameter.numel() for parameter in gradients.chosen.values())
        row_bytes = 4 * parameters * task.parts
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

    def shard(self, store: StoreWriter, rows: range, advance: Callable[[int], None]) -> None:
        """Collect one shard, its rows in the order of the data set, and append it."""
        buffers = {
            block.name: torch.empty((len(rows), block.width), dtype=store.index.torch_dtype)
            for block in store.index.blocks
        }
        losses = torch.empty(len(rows))
        lengths = self.survey.lengths[rows.start : rows.stop]
        # Longest first, so that a budget that does not fit is found out at once.
        todo = batches(lengths, self.batch_tokens, self.max_rows)[::-1]
        padded, suspect = 0, None  # the example with the most padding
        while todo:
            positions = todo.pop()
            try:
                found, gradients = self._batch([rows[p] for p in positions])
            except Exception as error:
                if len(positions) == 1 or not should_reduce_batch_size(error):
                    raise
                self.batch_tokens = max(1, self.batch_tokens // 2)
                half = len(positions) // 2
                todo += [positions[half:], positions[:half]]
                continue
            _require_finite(found, gradients, [self._name(rows[p]) for p in positions])
            losses[positions] = found.float()
            for name, gradient in gradients.items():
                buffers[name][positions] = gradient.to(buffers[name].dtype)
            padding = lengths[positions[0]] - lengths[positions[-1]]
            if len(positions) > 1 and padding >= padded:
                padded, suspect = padding, positions[-1]
            advance(len(positions))
        if suspect is not None and len(rows) >= SPOT_CHECKED_ROWS and not self.gradients.alone:
            stored = {name: buffer[suspect] for name, buffer in buffers.items()}
            self._spot_check(rows[suspect], losses[suspect], stored, store.path)
        store.append(buffers, self.survey.ids[rows.start : rows.stop], losses)

    def _spot_check(self, row: int, loss: Tensor, gradient: dict[str, Tensor], path: Path) -> None:
        """Raises `VerificationError` if a batch gave an example something else than autograd."""
        what = departure(self.gradients, self._examples([row])[0], loss, gradient)
        if what is not None:
            raise VerificationError(
                f"{self._name(row)}: computed in a batch, {what}. The model mixes the examples of "
                "a batch or counts padding, in some batches and not in others",
                remedy=f"delete {path} and collect with --batch-tokens 1, which puts every example "
                "alone",
            )

    def recheck(self, store: StoreWriter) -> None:
        """Compare the first and the last example that a store already has with what the model
        gives for them now.

        Raises `StoreMismatchError` if that is something else.
        """
        there = GradientStore(store.path, store.index)
        for row in sorted({0, store.index.rows_done - 1}):
            loss, gradient = there.example(row)
            what = departure(self.gradients, self._examples([row])[0], loss, gradient)
            if what is not None:
                raise StoreMismatchError(
                    f"{store.path} holds a store that was made by something else, though all "
                    f"weights and settings that can be seen are the same. For {self._name(row)}, "
                    f"{what}. Adapters that are switched off, options of an adapter, or the code "
                    "of a loss or a collator can make such a difference",
                    remedy="another output folder, or delete this one",
                )

    def _batch(self, rows: Sequence[int]) -> tuple[Tensor, dict[str, Tensor]]:
        result = self.gradients(self._examples(rows))
        return result.losses.cpu(), {name: g.cpu() for name, g in result.gradients.items()}

    def _examples(self, rows: Sequence[int]) -> list[Any]:
        return [_encode(self.task, self.dataset[row], self.dataset, row) for row in rows]

    def _name(self, row: int) -> str:
        identifier = self.survey.ids[row]
        place = where(self.dataset, row)
        return place if identifier == row else f"{place} (id {identifier!r})"


def _require_finite(losses: Tensor, gradients: dict[str, Tensor], names: list[str]) -> None:
    finite = torch.isfinite(losses)
    blamed = ""
    for name, gradient in gradients.items():
        fine = torch.isfinite(gradient).all(dim=1)
        if not blamed and not fine.all():
            blamed = name
        finite &= fine
    if finite.all():
        return
    culprits = [name for name, fine in zip(names, finite.tolist(), strict=True) if not fine]
    shown = ", ".join(culprits[:5]) + (f" and {len(culprits) - 5} more" if culprits[5:] else "")
    what = f"the gradient of {blamed}" if torch.isfinite(losses).all() else "the loss"
    raise NonFiniteError(
        f"{shown}: {what} is NaN or infinite",
        remedy="look at the row; check the adapter's weights for NaN; --dtype float32 if the model "
        "runs in half precision. Finished shards are kept",
    )
