"""What only the model can add to scores: what it says to the examples, and which of their tokens
the scores come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Self

from torch import Tensor, nn

from datainf import words
from datainf.data import Examples
from datainf.errors import CoverageError, DatainfError
from datainf.explanations import Explanation, Pair, explain
from datainf.gradients.engine import PerExample
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import select
from datainf.gradients.positions import Positions
from datainf.gradients.precision import is_half
from datainf.progress import Progress
from datainf.report.subject import Subject
from datainf.run_checkpoints import at_each
from datainf.run_gradients import load_model_and_task
from datainf.tasks import Task
from datainf.tasks.answers import Answer
from datainf.tasks.base import soft_prompt_tokens
from datainf.tasks.streams import Stream

CHECKED = 3
"""Examples by which it is settled how a model's gradients are taken."""
OFF = 0.02
"""A score that its parts miss by more than this share of the query's largest is not explained."""
OFF_HALF = 0.1
"""The same of positions, in a model that computes in half precision."""
NO_MODEL = "what the model says, and its tokens' parts in the scores, are left out"


@dataclass
class Insight:
    """explanations: by (query row, training row); streams: the tokens of training examples by row;
    query_answers, train_answers: by row."""

    explanations: dict[Pair, Explanation] = field(default_factory=dict)
    streams: dict[int, list[Stream]] = field(default_factory=dict)
    query_answers: dict[int, Answer] = field(default_factory=dict)
    train_answers: dict[int, Answer] = field(default_factory=dict)


class _Model:
    """A run's model at one of its checkpoints, ready to read examples."""

    def __init__(self, model: nn.Module, task: Task, trainable: str | None) -> None:
        self.model, self.task = model, task.for_model(model)
        self.chosen = select(model, trainable)
        self.device = next(iter(self.chosen.values())).device

    @classmethod
    def load(cls, subject: Subject, place: int, say: Callable[[str], None]) -> Self:
        config = at_each(subject.config, subject.folder)[place][0]
        return cls(*load_model_and_task(config, subject.run.train, say), config.trainable)

    def answers(self, examples: Examples, rows: Sequence[int]) -> dict[int, Answer]:
        encoded = [self.task.encode(examples[row]) for row in rows]
        said = self.task.answers(self.model, encoded)
        return {row: one for row, one in zip(rows, said, strict=True) if one is not None}

    def reader(self, train: Examples, streams: dict[int, list[Stream]]) -> _Reader | None:
        """None where gradients can be taken of no batch, and so nothing is known of positions."""
        sample = [self.task.encode(train[row]) for row in range(min(CHECKED, len(train)))]
        gradients = PerExample(self.model, self.chosen, self.task, self.device)
        gradients.check(sample)
        return None if gradients.alone else _Reader(self, Positions(gradients), train, streams)


@dataclass
class _Reader:
    model: _Model
    positions: Positions
    train: Examples
    streams: dict[int, list[Stream]]

    def __call__(
        self, row: int, directions: Mapping[str, Tensor]
    ) -> tuple[list[Tensor], Tensor] | None:
        example = self.model.task.encode(self.train[row])
        if row not in self.streams:
            self.streams[row] = self.model.task.streams(example)
        if not self.streams[row]:
            return None
        try:
            parts = self.positions.parts(example, directions)
        except CoverageError:
            return None
        return parts.along(self.streams[row], soft_prompt_tokens(self.model.model))


def gain_insight(
    subject: Subject, pairs: Mapping[Pair, float], read: set[Pair], shown: Sequence[int], *,
    with_model: bool, progress: Progress, say: Callable[[str], None],
) -> Insight:  # fmt: skip
    """Take scores apart, and ask the model.

    Args:
        pairs: Rows of queries and training examples, with the scores that are taken apart.
        read: Those of which it is asked too which tokens they come from.
        shown: Training rows to which the model's answer is wanted; of queries all are.
        with_model: Whether to load the model at all.

    What cannot be had is left out, and that is said.
    """
    found = Insight()
    with ExitStack() as stack:
        models = _Models(subject, stack, say) if with_model else None
        if models is not None:
            models.last_answers(found, shown, progress)
        _explain(subject, found, pairs, read, models, progress, say)
    return found


class _Models:
    """The model at each checkpoint, one in memory at a time."""

    def __init__(self, subject: Subject, stack: ExitStack, say: Callable[[str], None]) -> None:
        self.subject, self.say, self.stack = subject, say, stack
        self.count = len(subject.stores.folders)
        self._at: int | None = None
        self._model: _Model | None = None
        self._evaluating = stack.enter_context(ExitStack())

    def at(self, place: int) -> _Model:
        if self._at != place or self._model is None:
            self._evaluating.close()
            self._model = None  # before the next is loaded
            self._model = _Model.load(self.subject, place, lambda _: None)
            self._evaluating.enter_context(evaluating(self._model.model))
            self._at = place
        return self._model

    def last_answers(self, found: Insight, shown: Sequence[int], progress: Progress) -> None:
        """What the model says as it is in the end."""
        model, run = self.at(self.count - 1), self.subject.run
        queries = range(len(run.query))
        advance = progress.stage("what the model says", len(queries) + len(shown))
        found.query_answers = model.answers(run.query, queries)
        advance(len(queries))
        if found.query_answers and not _continues(found.query_answers):
            found.train_answers = model.answers(run.train, shown)
        advance(len(shown))

    def readers(self, found: Insight) -> list[Callable[[], _Reader | None]]:
        def reader_at(place: int) -> Callable[[], _Reader | None]:
            return lambda: self.at(place).reader(self.subject.run.train, found.streams)

        return [reader_at(place) for place in range(self.count)]


def _continues(answers: Mapping[int, Answer]) -> bool:
    """Whether a model's answers are texts that it writes, which take long, and not labels."""
    return all(answer.agrees is None for answer in answers.values())


def _explain(
    subject: Subject, found: Insight, pairs: Mapping[Pair, float], read: set[Pair], models: _Models | None,
    progress: Progress, say: Callable[[str], None],
) -> None:  # fmt: skip
    try:
        asked = subject.request
    except DatainfError as error:
        say(f"the scores are not taken apart: {error.message}")
        return
    readers = None if models is None or not read else models.readers(found)
    explained = explain(
        asked, pairs, readers=readers, reads=read.__contains__, progress=progress
    )
    found.explanations, wrong = _that_sum(explained, pairs)
    if wrong:
        say(
            f"the parts of {words.count(wrong, 'score')} do not sum to it, and are not shown: "
            "the stores are not those that it was made from"
        )
    half = models is not None and readers is not None and is_half(models.at(models.count - 1).model)
    unread = _drop_unsummed(found.explanations, OFF_HALF if half else OFF)
    if unread:
        say(f"the tokens' parts of {words.count(unread, 'score')} do not sum to it, and are left "
            "out: the model does not compute what it did when its gradients were taken")  # fmt: skip


def _that_sum(
    explained: Mapping[Pair, Explanation], scores: Mapping[Pair, float]
) -> tuple[dict[Pair, Explanation], int]:
    """Those whose parts sum to their scores, and how many do not."""
    largest: dict[int, float] = {}
    for (query, _), score in scores.items():
        largest[query] = max(largest.get(query, 0.0), abs(score))
    right = {
        pair: one
        for pair, one in explained.items()
        if abs(one.score - scores[pair]) <= OFF * largest[pair[0]]
    }
    return right, len(explained) - len(right)


def _drop_unsummed(explanations: Mapping[Pair, Explanation], off: float) -> int:
    """Take away the positions' parts that do not sum to the tensors'; how many those are."""
    dropped, largest = 0, dict[int, float]()
    for (query, _), one in explanations.items():
        largest[query] = max(largest.get(query, 0.0), float(one.by_tensor.abs().sum()))
    for (query, _), one in explanations.items():
        if one.streams is not None and abs(one.from_positions - one.score) > off * largest[query]:
            one.streams, one.elsewhere = None, 0.0
            dropped += 1
    return dropped
