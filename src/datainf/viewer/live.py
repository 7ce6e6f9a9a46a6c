"""The parts of a run's page, made as they are looked at; and answers to new queries.

What a method fits to the training gradients is kept between queries, and so is the model, of
several checkpoints as many as fit; the training store stays mapped. A new query costs one backward
pass, and the passes over the training gradients that its method takes.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datainf import words
from datainf.data import Examples
from datainf.errors import DataError, DatainfError, OptionError
from datainf.explanations import Explanation, Pair, explain_solved
from datainf.memory import available
from datainf.report.contents import Contents, in_steps, of_sign
from datainf.report.insight import OFF, OFF_HALF, drop_unsummed, that_sum
from datainf.report.readers import Models, answers_of, class_names, continues
from datainf.report.subject import Subject
from datainf.scores.ranked import first_of
from datainf.tasks.answers import Answer
from datainf.top_scoring import Fits, Solver
from datainf.viewer.lists import Lists, Wanted, Whose, rows_of
from datainf.viewer.queries import Queries
from datainf.viewer.typed import Typed

SIZES = {"queries": 10, "train": 10}
"""Examples of a part: what a person looks at, and little more."""
LIMIT, SIDE = 1_000_000, 160
"""Characters of a text that are shown, and beyond them how many more there are; pixels of a
picture's side."""
SHARE = 0.25
"""Of the memory that is free, what models of further checkpoints may take, and what is fitted."""
ASKED = 32
"""New queries whose answers are kept, if there is room; one always."""
SOLVED = 4
"""Queries of the run whose solved vectors are kept."""
TOLD = 2000
"""Scores whose parts are kept."""


@dataclass
class Asked:
    """A new query: its solvers at each checkpoint, and its scores of all training examples, [n]."""

    solvers: list[Solver]
    scores: npt.NDArray[np.float32]


class LiveContents(Contents):
    """Parts by name, as `Contents`, of all training examples; lists of these by page, and why their
    scores are so, on demand. One thing at a time is asked of the model."""

    def __init__(self, subject: Subject, top: int, *, model: bool = True) -> None:
        super().__init__(subject, top, SIZES)
        self.resize(limit=LIMIT, side=SIDE)
        self.models = Models(subject) if model else None
        self.lists = Lists(self, lambda number: self._answered(number).scores)
        self.queries = Queries(self)
        self.lock = Lock()
        self._says: Literal["text", "label", "nothing"] = "nothing"
        self._has_tokens = False
        """Whether positions of an example are tokens, by the first one."""
        self._asked: OrderedDict[int, Asked] = OrderedDict()
        self._keeps = 0
        self._count = 0
        self._solved: OrderedDict[int, list[Solver]] = OrderedDict()
        self._told: OrderedDict[tuple[Whose, int], dict[str, Any]] = OrderedDict()

    @cached_property
    def shown(self) -> list[int]:
        return list(range(len(self.scores.train_ids)))

    def load(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Load the model, ask it about the queries, and fit the method: what a first query would
        else wait for. `say`: where to say what cannot be had. Raises `DatainfError`s."""
        if self._unsolved:
            say(f"scores are not taken apart, and no new queries taken: {self._unsolved}")
        if self.models is not None:
            self._ask_model(self.models)
        if self.models is not None and not self._unsolved:
            self._fit(self.models)

    def _ask_model(self, models: Models) -> None:
        """What it says to the queries, where that is a label; whether it reads tokens; and how many
        models are kept."""
        model = models.at(models.count - 1)
        size = sum(p.numel() * p.element_size() for p in model.model.parameters())
        fitting = int(SHARE * available(model.device)) // max(1, size)
        models.keeps = max(1, min(models.count, 1 + fitting))
        train, queries = self.subject.run.train, self.subject.run.query
        firsts = self.subject.one_of_each_label(range(len(train)))
        self._has_tokens = bool(model.task.streams(model.task.encode(train[0])))
        self.insight.class_names = class_names(model.task, train, firsts)
        answers = self.insight.query_answers
        answers.update(answers_of(model, queries, range(min(1, len(queries)))))
        if answers:
            self._says = "text" if continues(answers) else "label"
        if self._says == "label":
            answers.update(answers_of(model, queries, range(1, len(queries))))

    def _fit(self, models: Models) -> None:
        for place, fits in enumerate(self.fits):
            models.at(place).gradients  # noqa: B018 - settled once
            for name in self.subject.request.views[place].train:
                if (fitted := fits.of(name)) is not None:
                    fits.keep(name, fitted)

    @cached_property
    def fits(self) -> list[Fits]:
        """One at each checkpoint, whose training gradients stay mapped from then on."""
        asked = self.subject.request
        for view in asked.views:
            for store in (view.store, view.rows):
                store.keep_open()
        room = int(SHARE * available(asked.views[0].device)) // len(asked.views)
        return [
            Fits(view, asked.estimator, asked.dampings[0], view.device, room)
            for view in asked.views
        ]

    @cached_property
    def typed(self) -> Typed:
        """What a new query is made of; nothing where that cannot be scored."""
        if self.models is None or self._unsolved:
            return Typed(())
        return Typed.of(self.subject.run.train)

    @cached_property
    def _unsolved(self) -> str:
        """Why the scores cannot be taken apart or made anew; nothing where they can."""
        try:
            self.subject.request  # noqa: B018 - opens the stores
        except DatainfError as error:
            return error.message
        return ""

    def overview(self) -> dict[str, Any]:
        return self._overview

    @cached_property
    def _overview(self) -> dict[str, Any]:
        found, solved = super().overview(), not self._unsolved
        return found | {
            "shown": None,
            "many": None,
            "why": solved,
            "heat": solved and self._has_tokens,
            "ask": self.typed.fields or None,
            "writes": self._says == "text",
        }

    def listed(self, sent: Mapping[str, Any]) -> dict[str, Any]:
        """A page of training examples as `Lists.page` has it, and each as `train-C` has one. Raises
        `DatainfError`s for what cannot be listed."""
        found = self.lists.page(Wanted.of(sent))
        self._ask_of([entry["row"] for entry in found["entries"]])
        for entry in found["entries"]:
            entry["example"] = self._train(entry["row"])
        return found

    def _ask_of(self, rows: Sequence[int]) -> None:
        """What the model says to training examples, where that is a label."""
        known = self.insight.train_answers
        if self._says == "label" and not all(row in known for row in rows):
            self._have_answered(known, self.subject.run.train, rows)

    def _have_answered(
        self, known: dict[int, Answer], examples: Examples, rows: Sequence[int]
    ) -> None:
        """Ask the model what it says to those of some rows whose answers are not known by the time
        that it is free: another request may have asked it meanwhile."""
        with self.lock:
            new = [row for row in rows if row not in known]
            if self.models is not None and new:
                model = self.models.at(self.models.count - 1)
                known.update(answers_of(model, examples, new))

    def why_of(self, sent: Mapping[str, Any]) -> dict[str, Any]:
        """Why some training examples' scores are so, by row: of a query of the run, or of a new
        one. Raises `DatainfError`s for what cannot be told."""
        whose, rows = Whose.of(sent), rows_of(sent, len(self.scores.train_ids))
        with self.lock:
            new = [row for row in rows if (whose, row) not in self._told]
            scores, largest = self.lists.scores_of(whose, new)
            if scores:
                self._told |= {
                    (whose, row): parts
                    for row, parts in self._taken_apart(whose, scores, largest).items()
                }
            found = {str(row): self._told[whose, row] for row in rows if (whose, row) in self._told}
            while len(self._told) > TOLD:
                self._told.popitem(last=False)
            return found

    def _taken_apart(
        self, whose: Whose, scores: Mapping[int, float], largest: float
    ) -> dict[int, dict[str, Any]]:
        pairs: dict[Pair, float] = {(0, row): score for row, score in scores.items()}
        readers = None if self.models is None else self.models.readers(self.insight.streams)
        explained: dict[Pair, Explanation] = explain_solved(
            self._solvers(whose), self.subject.request.shares, pairs, readers=readers
        )
        right, _ = that_sum(explained, pairs, {0: largest})
        half = self.models is not None and self.models.is_half
        drop_unsummed(right, {0: largest}, OFF_HALF if half else OFF)
        found = {}
        for (_, row), one in right.items():
            found[row] = in_steps(one)
            if one.streams is not None:  # the page may have the example without its tokens
                found[row]["read"] = self.train.streams(self.insight.streams[row])
        return found

    def _solvers(self, whose: Whose) -> list[Solver]:
        """One at each checkpoint."""
        if whose.asked is not None:
            return self._answered(whose.asked).solvers
        if (query := whose.query) is None:
            raise OptionError("a mean over queries is not taken apart")
        if query not in self._solved:
            request = self.subject.request
            self._solved[query] = [
                Solver(view.of(store.pick([store.ids[query]])), fits, keeps=True)
                for view, store, fits in zip(request.views, request.queries, self.fits, strict=True)
            ]
            while len(self._solved) > SOLVED:
                self._solved.popitem(last=False)
        return self._solved[query]

    def _answered(self, number: int) -> Asked:
        if (asked := self._asked.get(number)) is None:
            raise OptionError("the answer to this query is kept no more: ask it again")
        return asked

    def answer(self, sent: Mapping[str, Any]) -> dict[str, Any]:
        """What the model says to a query of the run, `answer` as `queries-C` has it, None where it
        says nothing: of models that write, which takes them long, only when it is looked at. Raises
        `OptionError` for what is no query."""
        row, queries = Whose.of(sent).query, self.subject.run.query
        if row is None or row >= len(queries):
            raise OptionError(f"there is no query in row {row}")
        known = self.insight.query_answers
        if self._says == "text" and row not in known:
            self._have_answered(known, queries, [row])
        return {"answer": self._query(row).get("answer")}

    def ask(self, typed: Mapping[str, Any]) -> dict[str, Any]:
        """Score a new query, and return it as `queries-C` has one. `typed`: a text for each of
        `fields`. Raises `DatainfError`s for what cannot be used."""
        with self.lock:
            return self._ask(typed)

    def _ask(self, typed: Mapping[str, Any]) -> dict[str, Any]:
        started = time.perf_counter()
        if self.models is None or not self.typed.fields:
            raise OptionError("this run takes no new queries here")
        example = self.typed.example(typed)
        request, n = self.subject.request, len(self.scores.train_ids)
        total, solvers, loss = torch.zeros(n, dtype=torch.float64), [], 0.0
        room, size = int(SHARE * available(request.views[0].device)), 0
        for place, (view, share) in enumerate(zip(request.views, request.shares, strict=True)):
            taken = self.models.at(place).gradient(example)
            loss = float(taken.losses[0])
            size += sum(g.numel() * g.element_size() for g in taken.gradients.values()) + 4 * n
            solvers.append(Solver(view.of_rows(taken.gradients), self.fits[place], keeps=True))
            total += share * _scored(solvers[-1], n)
        _require_finite(total)
        ends = [
            of_sign(first_of(total, self.top, largest=end), 1 if end else -1)
            for end in (True, False)
        ]
        self._count += 1
        self._asked[self._count] = Asked(solvers, total.float().numpy())
        self._keeps = self._keeps or max(1, min(ASKED, room // max(1, size)))
        while len(self._asked) > self._keeps:
            self._asked.popitem(last=False)
        (answer,) = self.models.at(self.models.count - 1).answers([example])
        return self.query.looks(example, answer) | {
            "asked": self._count,
            "loss": words.plain(loss),
            "helpful": [list(entry) for entry in ends[0]],
            "harmful": [list(entry) for entry in ends[1]],
            "cut": self.models.at(self.models.count - 1).cut(example),
            "seconds": time.perf_counter() - started,
        }


def _scored(solver: Solver, n: int) -> Tensor:
    """One query's scores of all training examples, [n], float64 on the CPU."""
    return solver.solve(slice(0, 1)).scores(slice(0, n))[0].double().cpu()


def _require_finite(scores: Tensor) -> None:
    if not torch.isfinite(scores).all():
        raise DataError("its scores are not finite", remedy="another query")
