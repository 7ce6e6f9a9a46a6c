"""The model of a run at each of its checkpoints: what it says, and how it reads examples."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

from torch import Tensor, nn

from datainf.data import Examples
from datainf.errors import CoverageError, StoreMismatchError
from datainf.explanations import reductions_in
from datainf.gradients.capture import BatchGradients
from datainf.gradients.collect import fingerprints_of
from datainf.gradients.engine import FallbackWarning, PerExample
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import select
from datainf.gradients.positions import Positions
from datainf.gradients.precision import is_half
from datainf.report.subject import Subject
from datainf.run_checkpoints import at_each
from datainf.run_gradients import load_model_and_task
from datainf.tasks import Task
from datainf.tasks.answers import Answer
from datainf.tasks.base import TRUNCATED, prompt_widths, soft_prompt_tokens
from datainf.tasks.streams import Stream

TOGETHER = 64
"""No more examples are encoded at one time for the model to answer."""
CHECKED = 3
"""Examples by which it is settled how a model's gradients are taken."""


PARTS = {"base": "the base model", "adapter": "the adapter", "task": "how examples are read"}
"""Of a store's fingerprints those that the model has a part in."""


class Model:
    """A run's model at one of its checkpoints."""

    def __init__(self, model: nn.Module, task: Task, subject: Subject, place: int) -> None:
        self.model, self.task = model, task.for_model(model)
        self.train, self.store = subject.run.train, subject.stores.train[place]
        self.chosen = select(model, subject.config.trainable)
        self.device = next(iter(self.chosen.values())).device

    @classmethod
    def load(cls, subject: Subject, place: int) -> Self:
        config = at_each(subject.config, subject.folder)[place][0]
        model, task = load_model_and_task(config, subject.run.train, lambda _: None)
        found = cls(model, task, subject, place)
        found._require_same()
        return found

    def _require_same(self) -> None:
        """Raises `StoreMismatchError` where it is no longer what the gradients were taken of: what
        it says, and gradients of new queries, would be another model's."""
        known, own = (
            self.store.index.fingerprints,
            fingerprints_of(self.model, self.chosen, self.task),
        )
        for part, what in PARTS.items():
            if known[part] != own[part]:
                raise StoreMismatchError(
                    f"{what} is not what it was when the gradients in {self.store.path} were taken",
                    remedy="--no-model, which shows the scores alone; or a run of what it is now",
                )

    def answers(self, examples: Sequence[Any]) -> list[Answer | None]:
        found: list[Answer | None] = []
        for start in range(0, len(examples), TOGETHER):  # encoded, pictures are large
            some = [self.task.encode(one) for one in examples[start : start + TOGETHER]]
            found += self.task.answers(self.model, some)
        return found

    @cached_property
    def gradients(self) -> PerExample:
        """Reduced as the stores are; compared with autograd on the first training examples."""
        found = PerExample(
            self.model, self.chosen, self.task, self.device, reductions=reductions_in(self.store)
        )
        some = [self.task.encode(self.train[row]) for row in range(min(CHECKED, len(self.train)))]
        with warnings.catch_warnings():  # what the collection said of the same model
            warnings.simplefilter("ignore", FallbackWarning)
            found.check(some)
        return found

    def gradient(self, example: Any) -> BatchGradients:
        """Loss and gradient of one example, as a store would hold them."""
        return self.gradients([self.task.encode(example)])

    def cut(self, example: Any) -> int:
        """How many tokens of an example are beyond what the model reads."""
        encoded = self.task.encode(example)
        return int(encoded.get(TRUNCATED, 0)) if isinstance(encoded, Mapping) else 0

    def reader(self, streams: dict[int, list[Stream]]) -> Reader | None:
        """Notes the tokens of what it reads in `streams`. None where gradients can be taken of no
        batch, and so nothing is known of positions."""
        return None if self.gradients.alone else Reader(self, Positions(self.gradients), streams)


@dataclass
class Reader:
    """Tells by which tokens an example's products come about; see `datainf.explanations`."""

    model: Model
    positions: Positions
    streams: dict[int, list[Stream]]

    def can_read(self, row: int) -> bool:
        if row not in self.streams:
            example = self.model.task.encode(self.model.train[row])
            self.streams[row] = self.model.task.streams(example)
        return bool(self.streams[row])

    def __call__(
        self, row: int, directions: Mapping[str, Tensor]
    ) -> tuple[list[Tensor], Tensor] | None:
        if not self.can_read(row):
            return None
        example = self.model.task.encode(self.model.train[row])
        try:
            parts = self.positions.parts(example, directions)
        except CoverageError:
            return None
        model = self.model.model
        return parts.along(self.streams[row], soft_prompt_tokens(model), prompt_widths(model))


class Models:
    """The model at each checkpoint, as it computes without chance; no more than `keeps` of them are
    in memory at one time."""

    def __init__(self, subject: Subject, keeps: int = 1) -> None:
        self.subject, self.keeps = subject, keeps
        self.count = len(subject.stores.folders)
        self._there: OrderedDict[int, tuple[Model, ExitStack]] = OrderedDict()

    def at(self, place: int) -> Model:
        if place not in self._there:
            while len(self._there) >= self.keeps:  # before the next is loaded
                self._there.popitem(last=False)[1][1].close()
            model, stack = Model.load(self.subject, place), ExitStack()
            stack.enter_context(evaluating(model.model))
            self._there[place] = model, stack
        self._there.move_to_end(place)
        return self._there[place][0]

    @property
    def is_half(self) -> bool:
        """Whether they compute in half precision."""
        return is_half(self.at(self.count - 1).model)

    def readers(self, streams: dict[int, list[Stream]]) -> list[Callable[[], Reader | None]]:
        def reader_at(place: int) -> Callable[[], Reader | None]:
            return lambda: self.at(place).reader(streams)

        return [reader_at(place) for place in range(self.count)]

    def close(self) -> None:
        while self._there:
            self._there.popitem()[1][1].close()


def continues(answers: Mapping[int, Answer]) -> bool:
    """Whether a model's answers are texts that it writes, which take long, and not labels."""
    return all(answer.written for answer in answers.values())


def answers_of(model: Model, examples: Examples, rows: Sequence[int]) -> dict[int, Answer]:
    """What the model says to these rows, of those to which it says something."""
    said = model.answers([examples[row] for row in rows])
    return {row: one for row, one in zip(rows, said, strict=True) if one is not None}


@dataclass
class Said:
    """What a classifier says to some examples, by row; and what it calls the labels of the data,
    which have them as texts, numbers or indices: label as text → its class's name."""

    answers: dict[int, Answer] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)


def class_names(task: Task, examples: Examples, rows: Sequence[int]) -> dict[str, str]:
    """As `Said.names`, of the labels of these rows; nothing of rows without one label each."""
    found: dict[str, str] = {}
    for row in rows if "label" in examples.columns else ():
        example = examples[row]
        if (label := str(example["label"])) in found:
            continue
        if (name := task.class_name(example)) is None:
            return {}
        found[label] = name
    return found


def labels_said(subject: Subject, rows: Sequence[int]) -> Said:
    """What a classifier says, as it is in the end, to these training rows; nothing of models that
    write texts."""
    train = subject.run.train
    if "label" not in train.columns:
        return Said()
    firsts = subject.one_of_each_label(range(len(train)))
    models = Models(subject)
    try:
        model = models.at(models.count - 1)
        names = class_names(model.task, train, firsts)
        return Said(answers_of(model, train, rows), names)
    finally:
        models.close()
