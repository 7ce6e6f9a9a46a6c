"""A model in memory and its training data, which answer query after query."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from datainf.attribution import attribute, self_influence
from datainf.errors import InputError
from datainf.gradients import collect
from datainf.remote import place
from datainf.store import GradientStore
from datainf.tasks import Custom, Task

Options = Mapping[str, Any]
"""Of `datainf.attribute`, but for the stores, the method and the curvature."""


KNOWN = {"damping", "normalize", "metric", "blocks", "steps", "device"}


def labelled(model: nn.Module, batch: Sequence[Any]) -> Tensor:
    """Cross-entropy of a batch (inputs, class indices), [B]; the model gives outputs [B, C], or
    something that has them as `logits`."""
    if not isinstance(batch, list | tuple) or len(batch) != 2:
        raise InputError(
            "an example is no pair of an input and a class index",
            remedy="a task of its own, task=…",
        )
    inputs, labels = batch
    found = model(inputs)
    return F.cross_entropy(getattr(found, "logits", found).float(), labels, reduction="none")


class Attributor:
    """Collects the training gradients once, and scores queries against them.

    Args:
        model: In memory; every parameter that requires gradients is attributed.
        train: Its training data, with a length and integer indices; of a data loader its data set.
        task: What the model loses on an example; by default the cross-entropy of pairs (input,
            class index).
        out: Folder for the training store, which another process then uses again; a temporary one
            by default.
        method, options: As `datainf.attribute` takes them.
        checkpoints: Each gives the model its weights from a time of the training, and returns what
            that time counts, a learning rate, say; scores are summed over them, and the model is
            left with the last one's weights. By default its weights are those that it has.

    Raises `InputError` for options that `datainf.attribute` does not have, and what
    `datainf.collect` raises.
    """

    def __init__(
        self, model: nn.Module, train: Any, task: Task | None, out: str | Path | None,
        method: str | None, options: Options, checkpoints: Sequence[Callable[[], float]] = (),
    ) -> None:  # fmt: skip
        if unknown := sorted(options.keys() - KNOWN):
            raise InputError(
                f"there is no option {', '.join(unknown)}", remedy=f"of {', '.join(sorted(KNOWN))}"
            )
        train = train.dataset if isinstance(train, DataLoader) else train
        self.model, self.task = model, task or Custom(labelled)
        self.method, self.options = method, options
        self._loads = list(checkpoints) or [lambda: 1.0]
        if out is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="datainf-")  # gone with this
            out = self._temporary.name
        self.weights: list[float] = []
        self._of_tensors = len(train) > 0 and isinstance(train[0], Tensor)
        self.train = self._collect(train, place(out), "train")

    def scores(self, batch: Any) -> Tensor:
        """[m, n] of these examples, float32 on the CPU, positive = helpful. `batch`: as `rows_of`
        takes it; a list of tensors is a batch too where a training example is no tensor, as one
        that is taken from a data loader.
        """
        is_batch = isinstance(batch, list) and all(isinstance(part, Tensor) for part in batch)
        queries = rows_of(tuple(batch) if is_batch and not self._of_tensors else batch)
        with tempfile.TemporaryDirectory(prefix="datainf-") as folder:
            asked = self._collect(queries, Path(folder), "query")
            found = attribute(self.train, asked, self.method, weights=self.weights, **self.options)
        return found.values

    def self_influence(self) -> Tensor:
        """[n], float32 on the CPU, summed over the checkpoints as scores are."""
        shares = torch.tensor(self.weights) / sum(self.weights)
        each = [self_influence(store, self.method, **self.options) for store in self.train]
        return torch.einsum("c,cn->n", shares, torch.stack(each))

    def _collect(self, examples: Any, folder: Path, name: str) -> list[GradientStore]:
        """Stores at all checkpoints."""
        stores, self.weights = [], []
        for at, load in enumerate(self._loads):
            weight = load()
            self.weights.append(1.0 if weight is None else float(weight))
            out = folder / f"checkpoint-{at}" / name if len(self._loads) > 1 else folder / name
            stores.append(collect(self.model, examples, self.task, out=out))
        return stores


def rows_of(batch: Any) -> list[Any]:
    """A batch, a tuple of tensors or a tensor, as one example a row; a list as it is; of a data
    loader the rows of all its batches, which may be lists too, as its `default_collate` makes them.

    Raises `InputError` for parts of unlike lengths, and for anything else.
    """
    if isinstance(batch, list):
        return batch
    if isinstance(batch, Tensor):
        return list(batch)
    if isinstance(batch, tuple):
        if any(isinstance(part, Tensor) and part.dim() == 0 for part in batch):
            raise InputError("it is one example, and no batch", remedy="a batch of one, x[None]")
        lengths = {len(part) for part in batch}
        if len(lengths) > 1:
            raise InputError(f"the batch's parts have {sorted(lengths)} rows")
        return list(zip(*map(_plain, batch), strict=True))
    if isinstance(batch, Iterable) and not isinstance(batch, str | bytes | Mapping):
        batches = (tuple(one) if isinstance(one, list) else one for one in batch)
        return [row for one in batches for row in rows_of(one)]
    raise InputError(
        f"a {type(batch).__qualname__} is no batch of examples",
        remedy="a tuple (inputs, labels), a data loader of such, or a list of examples",
    )


def _plain(part: Any) -> list[Any]:
    """Labels as tensors of their own, so that they are stacked again."""
    return list(part) if isinstance(part, Tensor) else [torch.as_tensor(one) for one in part]
