"""What a page is about: a finished run's scores, data and stores, and other scores of the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from datainf.attribution import Request, requested
from datainf.config import RunConfig
from datainf.errors import DatainfError, OptionError, StoreError
from datainf.estimators import BY_NAME
from datainf.provenance import RECORD
from datainf.run_folder import SCORES
from datainf.run_stores import ASKED, QUERY, RunStores, opened, queries_of
from datainf.runs import Run, open_run
from datainf.scores import AnyScores, Scores, load_scores
from datainf.scores.matrix import TOGETHER
from datainf.store import GradientStore

OWN_SETTINGS = ("steps", "tolerance")
"""Settings of scores that are the estimator's own."""
SETTINGS = {"damping", "normalize", "metric", "blocks", "curvature_rows", *OWN_SETTINGS}
"""What the settings of scores that our commands made may have."""
OWN = {"run.yaml", SCORES, "scores.parquet", "top.jsonl", "train", "query", "curvature", RECORD}
"""What a run keeps in its folder, but for its pages."""


@dataclass(frozen=True)
class Subject:
    """`scored` is the folder of the scores, the run's own or another; `others` are scores of the
    same examples and queries that stand in folders of the run, by their folder's name, which of the
    run itself is "the run's own"; `queries` is the store of the queries, where they are not the
    run's."""

    folder: Path
    scored: Path
    run: Run
    stores: RunStores
    others: dict[str, AnyScores]
    queries: Path | None

    @classmethod
    def open(cls, folder: Path, scored: Path | None = None, query_store: str | None = None) -> Self:
        """Raises what `open_run` does, and `StoreError` for scores that are not finite."""
        run = open_run(folder, scored, query_store)
        found = scored or folder
        _require_finite(found / SCORES, run)
        others = _others(folder, found, run)
        queries = queries_of(run.scores, query_store)
        return cls(folder, found, run, RunStores.open(folder), others, queries)

    @property
    def scores(self) -> AnyScores:
        return self.run.scores

    @property
    def config(self) -> RunConfig:
        return self.stores.config

    @property
    def name(self) -> str:
        """The run's, and the scores' where they are others than the run's own."""
        own = self.scored.resolve() == self.folder.resolve()
        return self.folder.resolve().name + ("" if own else f" · {self.scored.resolve().name}")

    @cached_property
    def request(self) -> Request:
        """The stores and options that the scores were made by.

        Raises `DatainfError` for scores of an estimator that is not one of ours, or whose settings
        do not say how they were made, and for stores that are gone.
        """
        settings = dict(self.scores.settings)
        if "damping" not in settings or not settings.keys() <= SETTINGS:
            raise StoreError(
                "their settings do not say how they were made",
                remedy="scores of datainf attribute or datainf score",
            )
        own = {name: settings.pop(name) for name in OWN_SETTINGS if name in settings}
        rows = settings.pop("curvature_rows", None)
        if self.scores.method not in BY_NAME:
            raise StoreError(f"{self.scores.method} is not one of datainf's methods")
        kind: Any = BY_NAME[self.scores.method]
        curvature = None if rows is None else self.stores.curvature
        if rows is not None and (curvature is None or len(curvature[0]) != rows):
            raise StoreError(f"the {rows} gradients that stood for the curvature are gone")
        return requested(
            self.stores.train, self._query_stores, kind(**own), curvature=curvature,
            weights=self.stores.weights, dampings=[settings.pop("damping")], **settings,
        )  # fmt: skip

    def one_of_each_label(self, rows: Iterable[int]) -> list[int]:
        """Of training rows the first with each label."""
        labels, firsts = self.run.train.labels, dict[str, int]()
        for row in rows:
            firsts.setdefault(str(labels[row]), row)
        return list(firsts.values())

    def require_free(self, path: Path, is_ours: Callable[[Path], bool]) -> None:
        """Raises `OptionError` for a file to write that is one of the run's own, or of its data, or
        a file that is there and `is_ours` does not know."""
        path = path.resolve()
        for data in (self.run.train, self.run.query):
            source = Path(data.source).resolve()
            if source.exists() and source in (path, *path.parents):
                raise OptionError(f"{path} holds the run's data", remedy="another --out")
        for folder in (self.folder.resolve(), self.scored.resolve()):
            inside = path.relative_to(folder).parts if folder in path.parents else ()
            if path in folder.parents or path == folder or (inside[:1] and inside[0] in OWN):
                raise OptionError(f"{path} is the run's own", remedy="another --out")
        if path.is_file() and not is_ours(path):
            raise OptionError(
                f"{path} is there, and nothing that this command has written",
                remedy="another --out, or remove it",
            )

    @property
    def _query_stores(self) -> list[GradientStore]:
        """Of each checkpoint, where the queries are not the run's own too."""
        if self.queries is None:
            return self.stores.query
        several = len(self.stores.train) > 1
        return opened(self.queries.parent if several else self.queries)


def _require_finite(path: Path, run: Run) -> None:
    """Raises `StoreError` for scores that a person has made and that have no place in an order."""
    if (found := _not_finite(run.scores)) is None:
        return
    query, row = found
    ids = run.scores.query_ids
    of = "the mean over all queries" if query is None else f"the query {ids[query]!r}"
    raise StoreError(
        f"{path}: the score of the training example {run.scores.train_ids[row]!r} for {of} is NaN "
        "or infinite",
        remedy="0 where there is no score, which is what datainf gives to examples that it skips",
    )


def _not_finite(scores: AnyScores) -> tuple[int | None, int] | None:
    """Rows of a query and a training example whose score is not finite, without a query where a
    mean is not; None if all are. A matrix, which stays mapped, is read some queries at a time."""
    if isinstance(scores, Scores):
        some = max(1, TOGETHER // max(1, len(scores.train_ids)))
        for start in range(0, len(scores.query_ids), some):
            if (place := _first_not_finite(scores.values[start : start + some])) is not None:
                return start + place[0], place[1]
        return None
    for end in (scores.helpful, scores.harmful):
        if (place := _first_not_finite(end.scores)) is not None:
            return place[0], int(end.rows[place])
    place = _first_not_finite(scores.mean[None])
    return None if place is None else (None, place[1])


def _first_not_finite(values: Tensor) -> tuple[int, int] | None:
    """Where in a table."""
    wrong = ~values.isfinite()
    if not wrong.any():
        return None
    row, column = wrong.nonzero()[0].tolist()
    return row, column


def _others(folder: Path, scored: Path, run: Run) -> dict[str, AnyScores]:
    """Scores in the run's own folder and in those below it, of the same examples; none that is
    broken, which the command that reads it says."""
    places = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    found = {}
    for place in places:
        if place.resolve() == scored.resolve() or not (place / SCORES).is_file():
            continue
        try:
            other = load_scores(place / SCORES)
        except DatainfError:
            continue
        if other.train_ids == run.scores.train_ids and _of_same_queries(other, run.scores):
            found["the run's own" if place == folder else place.name] = other
    return found


def _of_same_queries(a: AnyScores, b: AnyScores) -> bool:
    """Ids may be rows, which every set of queries has: the stores that they were scored from tell,
    or for scores of older versions where these are."""
    if a.query_ids != b.query_ids:
        return False
    made = [one.diagnostics.get("made_by", {}).get("stores", {}).get(QUERY) for one in (a, b)]
    if None in made:
        made = [one.diagnostics.get(ASKED) for one in (a, b)]
    return bool(made[0] == made[1])
