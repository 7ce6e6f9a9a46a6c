"""collect: model + data set → GradientStore."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from datainf.errors import DataError, ModelError, OptionError
from datainf.fingerprint import digest, tensors_digest
from datainf.gradients.append import appended, rows_there
from datainf.gradients.collector import Collector, OnNonfinite, require_known
from datainf.gradients.engine import PerExample
from datainf.gradients.layout import held_bytes, laid_out
from datainf.gradients.parameters import adapter_settings, architecture, blocks_of, select, weights
from datainf.gradients.pending import PendingStore
from datainf.gradients.reduction import reductions_of
from datainf.gradients.sample import Rows, sampled_rows
from datainf.gradients.survey import Survey, survey
from datainf.gradients.whole import unwrapped
from datainf.linalg import accumulate_dtype
from datainf.memory import keep_few_primitives
from datainf.progress import Progress, Silent
from datainf.projection import Projection
from datainf.provenance import versions
from datainf.remote import place
from datainf.second_moments import moments_digest
from datainf.store import SAMPLE, GradientStore, Index
from datainf.store.encoding import stored_dtype
from datainf.tasks import Task
from datainf.tasks.trainer import FromTrainer, is_trainer

if TYPE_CHECKING:
    from transformers import Trainer

TRAINERS_OWN: Any = object()
"""Stands for a trainer's training data, where no data set was given."""


def collect(
    model: nn.Module | Trainer,
    dataset: Sequence[Any] = TRAINERS_OWN,
    task: Task | None = None,
    *,
    out: str | Path,
    trainable: str | None = None,
    dtype: torch.dtype | str | None = None,
    project: int | Projection | None = None,
    batch_tokens: int | None = None,
    shard_rows: int | None = None,
    fallback: bool = True,
    second_moments: Mapping[str, Tensor] | None = None,
    sample: bool = True,
    on_nonfinite: OnNonfinite = "stop",
    append: bool = False,
    notes: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> GradientStore:
    """Per-example gradients of `dataset` under `model`, on disk.

    A store that an earlier, interrupted call left at `out` is continued from its last shard, to
    the same bytes; a finished one is opened as it is. Shards whose bytes are not as they were
    written are made again, as far as they are of these data; a `DamagedWarning` names the first of
    them.

    Args:
        model: In memory, with its adapter; left as it was found. Dropout is off meanwhile. DDP's
            wrapper is looked into. Or a `transformers.Trainer`, TRL's included, that holds it.
        dataset: Examples that `task` understands; anything with a length and integer indices.
            Its `ids` are used if it has them, else an `id` in each example, else row numbers. By
            default the trainer's training data.
        task: What the model loses on a batch; see `datainf.tasks`. By default the trainer's own
            loss, `datainf.tasks.FromTrainer`.
        out: The store's folder, or its URL in object storage, s3://bucket/folder.
        trainable: Shell patterns of parameter names with commas between, "!" leaving out; by
            default every parameter that requires gradients, or the active adapter's.
        dtype: Of the stored gradients: float32 by default, float64 for a float64 model; bfloat16
            takes half the space, int8 a quarter, with a scale for each row of each tensor.
        project: Keep about one of so many numbers of every tensor by a random projection that
            keeps inner products, see `datainf.projection`. Queries and training examples have to
            be projected alike.
        batch_tokens: Most tokens of a batch, padding counted; halved when memory runs out. By
            default what keeps the device busy and fits, see `datainf.gradients.budget`.
        shard_rows: Examples a shard, which is as many as a stop can lose; by default up to 1024, or
            as many as make 4 GiB. A store that has some shards goes on in its own.
        fallback: Whether to take each example alone, exactly and slower and with a
            `FallbackWarning`, where a parameter's gradients cannot be taken in batches.
        second_moments: Adam's v̂ by parameter name, of the training that led to the weights; kept
            with the store, for `attribute(metric="adam")`.
        sample: Whether a store that is made smaller keeps some of its examples' gradients in full
            beside, for `datainf score --check`.
        on_nonfinite: What becomes of an example whose loss or gradient is NaN or infinite: `stop`
            at it, or `skip` it: it is stored as zeros and noted, see `GradientStore.skipped`, and
            has no part in any score; a `SkippedWarning` names it.
        append: Add the examples to the store that is at `out`, whose shards stay as they are.
            `dataset` is the data that the store was made of, with more at its end, or data of its
            own, which come after those of the store; ids that only count rows go on counting.
            Examples that are there already are refused, by their ids, or where whole data come
            again; an `AppendWarning` says where there are no ids to go by. Interrupted, the same
            call goes on.
        notes: Plain JSON values to keep in the index.
        progress: Where to show how far it is.

    Raises:
        OptionError: a model without data set and task; a trainer that packs examples together; a
            dtype or a projection that there is not.
        DataError: an example that the task cannot use, named, before any work is done; a data set
            without a length.
        CoverageError: a trainable parameter needs the fallback, and that is not allowed.
        VerificationError: the losses of some batch are not those of its examples alone.
        ModelError: nothing is trainable, or none of it takes part in the loss; an example fails
            by itself, which is named, and the cause is its own error; second moments that do not
            fit the trainable parameters; a model that is sharded over processes, or on GPUs that
            another of them has too.
        PlanError: the longest example alone does not fit in memory.
        NonFiniteError: a loss or gradient is NaN or infinite, and is not to be skipped, or all
            are; the examples are named. Or the store at `out` has skipped some, and none is to be.
        StoreMismatchError: `out` holds a store of something else; or is to be added to, and has
            these examples already.
        StoreError: there is no store that could be added to, or it has to be finished first.
        StoreBusyError, WriteError: see `datainf.errors`.
    """
    progress = progress or Silent()
    return prepare(
        model, dataset, task, out=out, trainable=trainable, dtype=dtype, project=project,
        batch_tokens=batch_tokens, shard_rows=shard_rows, fallback=fallback,
        second_moments=second_moments, sample=sample, on_nonfinite=on_nonfinite, append=append,
        notes=notes, progress=progress,
    ).collect(progress)  # fmt: skip


def prepare(
    model: nn.Module | Trainer,
    dataset: Sequence[Any] = TRAINERS_OWN,
    task: Task | None = None,
    *,
    out: str | Path,
    trainable: str | None = None,
    dtype: torch.dtype | str | None = None,
    project: int | Projection | None = None,
    batch_tokens: int | None = None,
    shard_rows: int | None = None,
    fallback: bool = True,
    second_moments: Mapping[str, Tensor] | None = None,
    sample: bool = True,
    on_nonfinite: OnNonfinite = "stop",
    append: bool = False,
    notes: dict[str, Any] | None = None,
    progress: Progress,
) -> PendingStore:
    """`collect` up to the first gradient: everything is read and checked, and nothing written."""
    if batch_tokens is not None and batch_tokens < 1:
        raise OptionError(f"batch_tokens must be at least 1, got {batch_tokens}")
    if shard_rows is not None and shard_rows < 1:
        raise OptionError(f"shard_rows must be at least 1, got {shard_rows}")
    require_known(on_nonfinite)
    model, dataset, task = _asked(model, dataset, task)
    task = task.for_model(model)
    chosen = select(model, trainable)
    device = next(iter(chosen.values())).device
    keep_few_primitives(model, device)
    projection = project if isinstance(project, Projection | None) else Projection(project)
    found = survey(dataset, task, progress, rows_there(place(out)) if append else ())
    in_full = _index(model, chosen, task, found)
    stored = stored_dtype(dtype or in_full.torch_dtype)
    index = laid_out(in_full, stored, projection, shard_rows=shard_rows)
    index.notes = {
        **(notes or {}), "truncated": found.truncated, "tokens": sum(found.lengths),
        "made_by": versions(),
    }  # fmt: skip
    moments = _moments(second_moments, chosen, index)
    if moments is not None and projection is not None and projection.metric == "adam":
        index.fingerprints = index.fingerprints | {"moments": moments_digest(moments)}
    if append:
        index, found, dataset = appended(place(out), index, found, dataset)
    reductions = reductions_of(projection, index.blocks, moments, device)
    gradients = PerExample(model, chosen, task, device, fallback=fallback, reductions=reductions)
    sites, itemsize = gradients.capture.sites, in_full.torch_dtype.itemsize
    row_bytes = held_bytes(index.blocks, reductions, sites, itemsize)
    collector = Collector(gradients, task, dataset, found, batch_tokens, row_bytes, on_nonfinite)
    some: Any = Rows(dataset, sampled_rows(index), found.ids)
    prepare_sample = None
    if sample and not append:  # of a store that grows it is of the first rows
        prepare_sample = partial(
            prepare, model, some, task, out=place(out) / SAMPLE, trainable=trainable,
            batch_tokens=batch_tokens, fallback=fallback, second_moments=second_moments,
            on_nonfinite=on_nonfinite, progress=progress,
        )  # fmt: skip
    return PendingStore(place(out), index, found, collector, moments, prepare_sample, shard_rows)


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
    return unwrapped(model), dataset, task


def _moments(
    given: Mapping[str, Tensor] | None, chosen: dict[str, nn.Parameter], index: Index
) -> dict[str, Tensor] | None:
    """v̂ by block; where a block has several parts of a loss side by side, the same for each."""
    if given is None:
        return None
    unfit = [
        name for name, p in chosen.items() if name not in given or given[name].shape != p.shape
    ]
    if unfit:
        raise ModelError(
            f"there are no second moments, or of another shape, for {', '.join(unfit[:3])}",
            remedy="those of the optimizer that trained these weights",
        )
    flat = {name: given[name].reshape(-1) for name in chosen}
    return {
        block.name: flat[block.name].repeat(block.width // flat[block.name].numel())
        for block in index.blocks
    }


def _index(model: nn.Module, chosen: dict[str, nn.Parameter], task: Task, survey: Survey) -> Index:
    """Of gradients in full, which other layouts are made from."""
    return Index(
        n=len(survey.ids),
        dtype=str(accumulate_dtype(next(iter(chosen.values())).dtype)).removeprefix("torch."),
        blocks=blocks_of(model, chosen, task.parts if task.concatenate else 1),
        fingerprints=fingerprints_of(model, chosen, task) | {"data": survey.digest},
        shard_rows=0,
        task=task.settings(),
    )


def fingerprints_of(
    model: nn.Module, chosen: Mapping[str, nn.Parameter], task: Task
) -> dict[str, str]:
    """By which a store knows what its gradients were taken by: "base" of all weights but those that
    are `chosen`, "adapter" of these, "task" of how examples are read."""
    apart = ((n, t) for n, t in weights(model, task.uses_reference) if n not in chosen)
    return {
        "base": digest([tensors_digest(apart), architecture(model)]),
        "adapter": digest([tensors_digest(chosen.items()), adapter_settings(model)]),
        "task": digest(task.settings()),
    }
