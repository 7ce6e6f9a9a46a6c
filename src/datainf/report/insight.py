"""What only the model can add to scores: what it says to the examples, and which of their tokens
the scores come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from datainf import words
from datainf.errors import DatainfError
from datainf.explanations import Explanation, Pair, explain
from datainf.progress import Progress
from datainf.report.readers import TOGETHER, Models, answers_of, class_names, continues
from datainf.report.subject import Subject
from datainf.tasks.answers import Answer
from datainf.tasks.streams import Stream

OFF = 0.02
"""A score that its parts miss by more than this share of the query's largest is not explained."""
OFF_HALF = 0.1
"""The same of positions, in a model that computes in half precision."""
WRITTEN = 200
"""Of so many queries it is told how a model that writes goes on."""
NO_MODEL = "what the model says, and its tokens' parts in the scores, are left out"


@dataclass
class Insight:
    """explanations: by (query row, training row); streams: the tokens of training examples by row;
    query_answers, train_answers: by row; class_names: what the model calls labels, by the label."""

    explanations: dict[Pair, Explanation] = field(default_factory=dict)
    streams: dict[int, list[Stream]] = field(default_factory=dict)
    query_answers: dict[int, Answer] = field(default_factory=dict)
    train_answers: dict[int, Answer] = field(default_factory=dict)
    class_names: dict[str, str] = field(default_factory=dict)


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
    found, models = Insight(), Models(subject) if with_model else None
    try:
        if models is not None:
            _ask(subject, models, found, shown, progress, say)
        _explain(subject, found, pairs, read, models, progress, say)
    finally:
        if models is not None:
            models.close()
    return found


def _ask(
    subject: Subject, models: Models, found: Insight, shown: Sequence[int], progress: Progress,
    say: Callable[[str], None],
) -> None:  # fmt: skip
    """What the model says as it is in the end: of training examples where that is a label, and not
    a text that takes long to write."""
    model, run, m = models.at(models.count - 1), subject.run, len(subject.run.query)
    found.class_names = class_names(model.task, run.train, subject.one_of_each_label(shown))
    found.query_answers = answers_of(model, run.query, range(min(1, m)))
    writes = continues(found.query_answers)
    queries = range(1, min(m, WRITTEN) if writes else m)
    rows = [] if writes or not found.query_answers else shown
    advance = progress.stage("what the model says", len(queries) + len(rows))
    for examples, wanted, answers in (
        (run.query, queries, found.query_answers), (run.train, rows, found.train_answers),
    ):  # fmt: skip
        for start in range(0, len(wanted), TOGETHER):
            some = wanted[start : start + TOGETHER]
            answers.update(answers_of(model, examples, some))
            advance(len(some))
    if writes and found.query_answers and m > WRITTEN:
        say(f"what the model says is told of the first {WRITTEN} queries; datainf view tells the "
            "rest as they are looked at")  # fmt: skip


def _explain(
    subject: Subject, found: Insight, pairs: Mapping[Pair, float], read: set[Pair],
    models: Models | None, progress: Progress, say: Callable[[str], None],
) -> None:  # fmt: skip
    try:
        asked = subject.request
    except DatainfError as error:
        say(f"the scores are not taken apart: {error.message}")
        return
    readers = None if models is None or not read else models.readers(found.streams)
    explained = explain(asked, pairs, readers=readers, reads=read.__contains__, progress=progress)
    largest = largest_of(pairs)
    found.explanations, wrong = that_sum(explained, pairs, largest)
    if wrong:
        say(
            f"the parts of {words.count(wrong, 'score')} do not sum to it, and are not shown: "
            "the stores are not those that it was made from"
        )
    half = models is not None and readers is not None and models.is_half
    unread = drop_unsummed(found.explanations, largest, OFF_HALF if half else OFF)
    if unread:
        say(
            f"the tokens' parts of {words.count(unread, 'score')} do not sum to it, and are left "
            "out: the model does not compute what it did when its gradients were taken"
        )


def largest_of(scores: Mapping[Pair, float]) -> dict[int, float]:
    """The size of each query's largest score."""
    largest: dict[int, float] = {}
    for (query, _), score in scores.items():
        largest[query] = max(largest.get(query, 0.0), abs(score))
    return largest


def that_sum(
    explained: Mapping[Pair, Explanation], scores: Mapping[Pair, float],
    largest: Mapping[int, float],
) -> tuple[dict[Pair, Explanation], int]:  # fmt: skip
    """Those whose parts sum to their scores, and how many do not. `largest`: by query."""
    right = {
        pair: one
        for pair, one in explained.items()
        if abs(one.score - scores[pair]) <= OFF * largest[pair[0]]
    }
    return right, len(explained) - len(right)


def drop_unsummed(
    explanations: Mapping[Pair, Explanation], largest: Mapping[int, float], off: float
) -> int:
    """Take away the positions' parts that do not sum to the tensors'; how many those are."""
    dropped = 0
    for (query, _), one in explanations.items():
        if one.streams is None:
            continue
        if not abs(one.from_positions - one.score) <= off * largest[query]:  # NaN too
            one.streams, one.elsewhere = None, 0.0
            dropped += 1
    return dropped
