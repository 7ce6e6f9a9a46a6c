"""The data of a page, in parts that are read when they are looked at.

overview     everything that is there from the start: the run, the queries in a line each, what
             matters to many, the histogram, shares and agreement
queries-C    some queries: whole texts, answers, and the rows and scores of either end
train-C      some training examples: texts, pictures, labels, tokens
why-C        for some queries, why the scores of their ends are so: {query row: {training row: …}}

The same parts are in a page's file, or served to it; assets/source.js reads them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from datainf import tasks, words
from datainf.explanations import Explanation, Pair
from datainf.provenance import in_a_line
from datainf.report.examples import MOST_TOKENS, Described, label_of, names_of_lists
from datainf.report.insight import Insight
from datainf.report.layers import Layers
from datainf.report.statistics import agreement, histogram, short, tensor_shares
from datainf.report.subject import Subject
from datainf.runs import told
from datainf.scores import AnyScores
from datainf.scores.ranked import first_of
from datainf.tasks.kinds import KINDS

SIZES = {"queries": 50, "train": 100, "why": 50}
"""Examples of a part of each kind."""
PART = re.compile(r"(queries|train|why)-(\d{1,9})")
MANY = 200
"""Training examples of either end that are shown as those that matter to many queries."""
TENSORS_SHOWN = 8
STEPS = 1000
"""Parts of a score are kept in so many steps of the largest."""
MOST_LABELS, MOST_FILES = 100, 100
SKIPPED_SHOWN = 20


class NoSuchPartError(LookupError):
    """A name that is none of a page's parts."""


class Contents:
    """A run's parts by name. `top` is how many examples of either end a query has, `sizes` how many
    examples a part has."""

    def __init__(self, subject: Subject, top: int, sizes: Mapping[str, int] = SIZES) -> None:
        self.subject, self.scores, self.sizes = subject, subject.scores, sizes
        self.top = min(top, self.scores.kept)
        self.insight = Insight()
        self.notes: list[str] = []
        """What is left out, and why."""
        self.told = self.read = len(self.scores.query_ids)
        """Of so many of the first queries it is told why scores are so, and by which tokens."""
        self.resize(limit=4000, side=160)

    def resize(self, *, limit: int, side: int | None) -> None:
        """Keep so many characters of a text, and pixels of a picture's side; None: no pictures."""
        run = self.subject.run
        self.train = Described(
            run.train, run.train_losses, run.describe, limit, side, run.train_skipped
        )
        self.query = Described(
            run.query, run.query_losses, run.describe, limit, side, run.query_skipped
        )

    def show_fewer(self, top: int) -> None:
        """No more than so many examples of either end of a query."""
        self.ends = [(helpful[:top], harmful[:top]) for helpful, harmful in self.ends]
        self.top = top
        for name in ("shown", "labels", "_names_of_lists", "_shares"):  # anew, of those left
            vars(self).pop(name, None)

    @property
    def has_pictures(self) -> bool:
        run = self.subject.run
        return any("image" in data.columns for data in (run.train, run.query))

    @cached_property
    def ends(self) -> list[tuple[list[tuple[int, float]], list[tuple[int, float]]]]:
        """Of every query the rows and scores of the most helpful, all above 0, and of the most
        harmful, all below."""
        return [
            (
                of_sign(self.scores.top_rows(query, self.top, largest=True), 1),
                of_sign(self.scores.top_rows(query, self.top, largest=False), -1),
            )
            for query in range(len(self.scores.query_ids))
        ]

    @cached_property
    def many(self) -> list[tuple[int, float]]:
        """Rows and mean scores over all queries, of both ends."""
        means, k = self.scores.means(), min(MANY, len(self.scores.train_ids))
        both = [*first_of(means, k, largest=True), *first_of(means, k, largest=False)]
        return sorted(dict(both).items(), key=lambda entry: -entry[1])

    @cached_property
    def shown(self) -> list[int]:
        """The training rows that the page shows."""
        rows = {row for helpful, harmful in self.ends for row, _ in (*helpful, *harmful)}
        return sorted(rows | {row for row, _ in self.many})

    @cached_property
    def labels(self) -> dict[str, Any]:
        """Those of the training rows that the page shows: in words, and as the data have them."""
        labels = self.subject.run.train.labels
        own = ((label_of({"label": labels[row]}), labels[row]) for row in self.shown)
        return {label: one for label, one in own if label is not None}

    def label_name(self, label: str | None) -> str | None:
        """What the model calls a label, which is given in words; None where it is not known."""
        if label is None:
            return None
        return self.insight.class_names.get(label, self._names_of_lists.get(label))

    @cached_property
    def _names_of_lists(self) -> dict[str, str]:
        task = self.subject.stores.train[-1].index.task
        return names_of_lists(task, self.labels.values())

    def pairs(self) -> dict[Pair, float]:
        """The scores that the page shows."""
        return {
            (query, row): score
            for query, (helpful, harmful) in enumerate(self.ends)
            for row, score in (*helpful, *harmful)
        }

    def names(self) -> Iterator[str]:
        """Of all parts."""
        yield "overview"
        for kind, size in self.sizes.items():
            if kind != "why" or self.insight.explanations:
                yield from (f"{kind}-{chunk}" for chunk in range(-(-self._total(kind) // size)))

    def part(self, name: str) -> Any:
        """Plain values. Raises `NoSuchPartError` for a name that is none of `names`."""
        if name == "overview":
            return self.overview()
        if (match := PART.fullmatch(name)) is None or match[1] not in self.sizes:
            raise NoSuchPartError(name)
        kind, size = match[1], self.sizes[match[1]]
        start = int(match[2]) * size
        rows = range(start, min(self._total(kind), start + size))
        if not rows:
            raise NoSuchPartError(name)
        if kind == "queries":
            return [self._query(row) for row in rows]
        if kind == "train":
            return [self._train(self.shown[place]) for place in rows]
        return {str(row): why for row in rows if (why := self.why(row))}

    def _total(self, kind: str) -> int:
        """How many examples all parts of a kind have."""
        return len(self.shown) if kind == "train" else len(self.scores.query_ids)

    def overview(self) -> dict[str, Any]:
        run, scores, subject = self.subject.run, self.scores, self.subject
        n, m = len(scores.train_ids), len(scores.query_ids)
        files = {self.train.file(row) for row in self.shown}
        labels = sorted(self.labels) if len(self.labels) <= MOST_LABELS else []
        answers = self.insight.query_answers
        return {
            "run": subject.name,
            "summary": f"{scores.method} · {words.count(m, 'query', 'queries')} · "
            f"{words.count(n, 'training example')}",
            "source": run.train.source,
            "digest": run.train.digest,
            "facts": self._facts(),
            "n": n,
            "top": self.top,
            "sizes": dict(self.sizes),
            "shown": self.shown,
            "why": bool(self.insight.explanations),
            "heat": any(self.insight.streams.values()),
            "files": sorted(files) if len(files) <= MOST_FILES else [],
            "labels": labels,
            "names": {label: name for label in labels if (name := self.label_name(label))},
            "queries": {
                "ids": [str(identifier) for identifier in scores.query_ids],
                "heads": [self.query.head(row) for row in range(m)],
                "losses": [words.plain(float(loss)) for loss in run.query_losses],
                "best": [helpful[0][1] if helpful else 0.0 for helpful, _ in self.ends],
                "worst": [harmful[0][1] if harmful else 0.0 for _, harmful in self.ends],
                "wrong": [_is_wrong(answers.get(row)) for row in range(m)],
                "pictures": self.query.side is not None and "image" in run.query.columns,
            },
            "many": self._many(),
            # Of all training examples, since the outermost of either end are among these.
            "largest": max((abs(short(mean)) for _, mean in self.many), default=0.0),
            "histogram": self._histogram,
            "tensors": list(zip(self._tensors, self._layers.shown(), strict=True)),
            "shares": self._shares,
            "methods": list(self._methods),
            "agreement": self._agreement,
        }

    # Once, however often the examples are cut until there is room: of many scores they take long.

    @cached_property
    def _histogram(self) -> dict[str, Any]:
        return histogram(self.scores)

    @cached_property
    def _agreement(self) -> dict[str, Any] | None:
        return agreement(list(self._methods.values()), self.top)

    @cached_property
    def _shares(self) -> dict[str, Any] | None:
        pairs = self.pairs()
        found = self.insight.explanations
        shown = {pair: one for pair, one in found.items() if pair in pairs}
        return tensor_shares(shown, self._layers)

    @property
    def _tensors(self) -> list[str]:
        return [block.name for block in self.subject.stores.train[-1].index.blocks]

    @cached_property
    def _layers(self) -> Layers:
        return Layers(self._tensors)

    def _facts(self) -> list[list[str]]:
        config, stores = self.subject.config, self.subject.stores
        index = stores.train[-1].index
        counts = [words.count(len(self.scores.train_ids), "training example")]
        if reads_text(index.task["name"]):
            counts.append(words.count(index.notes.get("tokens", 0), "token"))
        found = {
            "model": config.model or "the adapter's base",
            "adapter": config.adapter or "none",
            "checkpoints": ", ".join(folder.name for folder in stores.folders)
            if len(stores.folders) > 1 else "",
            "trained on": f"{config.train}: {', '.join(counts)}",
            "queries": f"{self.subject.run.query.source}: {len(self.scores.query_ids):,}",
            "task": str(index.task["name"]),
            "scores": told(self.scores),
            "gradients": f"{words.count(sum(block.width for block in index.blocks), 'parameter')} "
            f"in {words.count(len(index.blocks), 'tensor')}",
            "skipped": self._skipped(),
            "left out": "; ".join(self.notes),
            "seed": str(config.seed),
            "made by": self._made_by(),
        }  # fmt: skip
        return [[name, value] for name, value in found.items() if value]

    def _made_by(self) -> str:
        """The versions that the scores were computed by, and a hash that stands for the stores."""
        made = self.scores.diagnostics.get("made_by")
        if made is None:  # scores of an older version, or of a person's own
            return in_a_line()
        checksums = ", ".join(f"{name} {' '.join(own)}" for name, own in made["stores"].items())
        found = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
        return f"{found}; stores: {checksums}"

    def _skipped(self) -> str:
        """Examples and queries whose losses or gradients were not finite, the first of many."""
        run, found = self.subject.run, []
        for examples, rows in ((run.train, run.train_skipped), (run.query, run.query_skipped)):
            found += [f"{examples.where(row)}: {why}" for row, why in rows.items()]
        more = f"; and {len(found) - SKIPPED_SHOWN:,} more" if found[SKIPPED_SHOWN:] else ""
        return "; ".join(found[:SKIPPED_SHOWN]) + more

    def _query(self, row: int) -> dict[str, Any]:
        helpful, harmful = self.ends[row]
        answer = self.insight.query_answers.get(row)
        return self.query.example(row, answer) | {
            "helpful": [[train, short(score)] for train, score in helpful],
            "harmful": [[train, short(score)] for train, score in harmful],
        }

    def _train(self, row: int) -> dict[str, Any]:
        insight = self.insight
        return self.train.example(row, insight.train_answers.get(row), insight.streams.get(row))

    def _many(self) -> list[dict[str, Any]]:
        helps, harms = (
            Counter(row for ends in self.ends for row, _ in ends[end]) for end in (0, 1)
        )
        return [
            {"row": row, "mean": short(mean), "helps": helps[row], "harms": harms[row]}
            for row, mean in self.many
        ]

    @property
    def knows_tokens(self) -> bool:
        """Whether there is a score whose parts by token are known."""
        return any(one.streams is not None for one in self.insight.explanations.values())

    def why(self, query: int) -> dict[str, Any]:
        """Of the ends of a query, why their scores are so, by training row."""
        helpful, harmful = self.ends[query] if query < self.told else ([], [])
        found = {}
        for row, _ in (*helpful, *harmful):
            if (one := self.insight.explanations.get((query, row))) is not None:
                found[str(row)] = in_steps(one if query < self.read else replace(one, streams=None))
        return found

    @cached_property
    def _methods(self) -> dict[str, AnyScores]:
        """These scores and the others of the same examples, by method."""
        methods = {self.scores.method: self.scores}
        for folder, other in self.subject.others.items():
            name = other.method if other.method not in methods else f"{other.method} ({folder})"
            methods[name] = other
        return methods


def reads_text(task: str) -> bool:
    """Whether what a store counts as tokens are some of a text, by its task's name; pictures and
    what a person's own loss reads have positions of another kind."""
    kind = KINDS.get(task)
    return kind is not None and getattr(tasks, kind.task).streams is not tasks.Task.streams


def of_sign(entries: Sequence[tuple[int, float]], sign: int) -> list[tuple[int, float]]:
    """Where there are few examples, an end of the order reaches beyond 0."""
    return [(row, score) for row, score in entries if score * sign > 0]


def in_steps(one: Explanation) -> dict[str, Any]:
    """A score's parts as whole numbers of a unit: by tensor, and where they are known by token."""
    return _tensors_in_steps(one) | ({} if one.streams is None else _tokens_in_steps(one))


def _tensors_in_steps(one: Explanation) -> dict[str, Any]:
    """The `tensor_unit`; `tensors` [place, part], the largest first; and of those that are not
    among them `other_tensors` [how many, part], so that all sum to the score, to half a unit."""
    parts = one.by_tensor.double().numpy()  # faster than torch for so few, of so many pairs
    sizes = np.abs(parts)
    unit = _unit_of(float(sizes.max()))
    order = np.argsort(-sizes, kind="stable")
    shown, rest = order[:TENSORS_SHOWN], parts[order[TENSORS_SHOWN:]]
    *steps, others = _in_units(np.append(parts[shown], rest.sum()), unit).tolist()
    entries = [list(entry) for entry in zip(shown.tolist(), steps, strict=True)]
    found: dict[str, Any] = {"tensor_unit": unit, "tensors": entries}
    if len(rest):
        found["other_tensors"] = [len(rest), others]
    return found


def _tokens_in_steps(one: Explanation) -> dict[str, Any]:
    """The `unit`; `streams`, a part a token that is shown; where some are not, of each stream how
    many, and their part, `beyond`; and `elsewhere`, what lies at no token. All sum to the score, to
    half a unit, however many they are."""
    streams = one.streams or []
    shown, rests = [own[:MOST_TOKENS] for own in streams], [own[MOST_TOKENS:] for own in streams]
    others = [*(float(rest.sum()) for rest in rests), one.elsewhere]
    unit = _unit_of(max((float(own.abs().max()) for own in streams if len(own)), default=0.0))
    steps = _in_units(np.concatenate([*shown, others]), unit)
    ends = np.cumsum([*map(len, shown), len(rests)])
    *own_steps, beyond, elsewhere = np.split(steps, ends)
    found: dict[str, Any] = {
        "unit": unit,
        "streams": [own.tolist() for own in own_steps],
        "elsewhere": int(elsewhere[0]),
    }
    if any(map(len, rests)):
        found["beyond"] = [
            list(both) for both in zip(map(len, rests), beyond.tolist(), strict=True)
        ]
    return found


def _unit_of(largest: float) -> float:
    return short(max(largest, 1e-30) / STEPS)


def _in_units(parts: np.ndarray, unit: float) -> np.ndarray:
    """Parts, float64, as whole numbers of a unit. What rounding loses of one is carried to the
    next, so that the sum of any first ones is right to half a unit: each by itself rounded, of
    thousands of tokens that are far smaller than one nothing would be left. None changes its
    sign."""
    sums = np.rint(np.cumsum(parts / unit)).astype(np.int64)
    return np.diff(sums, prepend=0)


def _is_wrong(answer: Any) -> int:
    return int(answer is not None and answer.agrees is False)
