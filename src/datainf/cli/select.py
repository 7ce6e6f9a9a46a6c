"""datainf select: a cleaned data set from a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from datainf.cli import options as o
from datainf.cli.console import progress, say
from datainf.errors import OptionError

if TYPE_CHECKING:
    from torch import Tensor

    from datainf.data import Examples
    from datainf.report.subject import Subject
    from datainf.scores import AnyScores

By = Literal["suspicion", "influence", "helpful", "self-influence", "loss", "neighbours"]
OF_QUERIES = ("suspicion", "influence", "helpful")
SIMILARITY = 0.95


def select(
    run: o.Run,
    out: Annotated[
        Path,
        typer.Option(help="Folder for the data set, its manifest and a sampler's weights."),
    ],
    drop: Annotated[
        str | None,
        typer.Option(metavar="N", help="Drop the worst: so many, 200, or a share, 10%."),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(metavar="N", help="Keep the best, in its place: 1000, or 50%."),
    ] = None,
    above: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Drop what has more than this of the measure; with --drop or "
            "--keep as well, so many are dropped at least.",
        ),
    ] = None,
    by: Annotated[
        By,
        typer.Option(
            help="What ranks the examples: suspicion, as `datainf mislabeled` has it; influence, "
            "the mean score over the queries, the harmful worst; helpful, the same the other way, "
            "for queries that are wrong answers: what taught them is worst; or another signal of "
            "`mislabeled`. A measure is higher for what is worse: influence is the negative mean "
            "score."
        ),
    ] = "suspicion",
    query: Annotated[
        str | None,
        typer.Option(
            help="Id of a query, to go by its scores in the place of the mean over all.",
            show_default=False,
        ),
    ] = None,
    balance: Annotated[
        bool, typer.Option("--balance", help="Drop or keep the same share of each label.")
    ] = False,
    diverse: Annotated[
        bool,
        typer.Option("--diverse", help="Of near-duplicates in gradient space keep the best alone."),
    ] = False,
    similarity: Annotated[
        float | None,
        typer.Option(
            min=-1,
            max=1,
            show_default=False,
            help="The cosine above which two are near-duplicates, for --diverse. "
            f"(default {SIMILARITY})",
        ),
    ] = None,
    decisions: Annotated[
        Path | None,
        typer.Option(
            help="What a person decided on review.html; it comes before all else.",
            show_default=False,
        ),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(help="Folder that `datainf score` wrote, to select by those scores."),
    ] = None,
    query_store: o.QueryStore = None,
) -> None:
    """Write the training data without their worst, or with their best alone.

    In the form that they came in, with all their columns, beside a manifest of what was dropped and
    why; weights.npy is for a sampler over the original rows, kept.json for `dataset.select`.
    """
    from datainf.applications.neighbours import directions
    from datainf.applications.select import Amount, require_choice
    from datainf.applications.select import select as choose
    from datainf.applications.selected_files import (
        OWN,
        SETTINGS,
        files_of,
        require_place,
        write_selection,
    )
    from datainf.cli.selected import tell, tell_idle
    from datainf.provenance import recorder
    from datainf.report.review import read_decisions
    from datainf.report.subject import Subject

    less, most = (None if text is None else Amount.parse(text) for text in (drop, keep))
    # All that can be wrong is looked at before what takes long.
    _require_fitting(by, query, diverse, similarity, balance and drop is None and keep is None)
    require_choice(less, most, above, diverse=diverse, decided=decisions is not None)
    subject = Subject.open(run, scores, query_store)
    train, inputs = subject.run.train, [Path(subject.run.query.source)]
    require_place(out, train, inputs)
    tell_idle(less, most, len(train))
    decided = {} if decisions is None else read_decisions(decisions, train)
    if balance:
        _require_classes(train)
    asked = subject.scores if query is None else subject.scores.of_query(query)
    measure, likeness = (
        _measure(subject, asked, by),
        SIMILARITY if similarity is None else similarity,
    )
    chosen = choose(
        measure, drop=less, keep=most, above=above,
        classes=train.labels if balance else None,
        directions=directions(subject.stores.train[-1]) if diverse else None, similarity=likeness,
        decided=decided, name=by,
    )  # fmt: skip
    settings = {
        "run": str(run), "scores": str(scores or run), "by": by, "query": query, "drop": drop,
        "keep": keep, "above": above, "balance": balance, "diverse": likeness if diverse else None,
        "decisions": None if decisions is None else str(decisions),
    }  # fmt: skip
    earlier, note = (out / SETTINGS).is_file(), recorder(out)
    data = write_selection(out, chosen, train, settings, inputs)
    note([*files_of(data), *(out / name for name in OWN)])
    if earlier:
        say(f"the earlier selection in {out} has made way")
    amount = less is not None or most is not None
    tell(chosen, train, likeness, data, out, balances=amount and not balance)


def _require_fitting(
    by: By, query: str | None, diverse: bool, similarity: float | None, balances_nothing: bool
) -> None:
    if similarity is not None and not diverse:
        raise OptionError("--similarity is of --diverse", remedy="--diverse")
    if query is not None and by not in OF_QUERIES:
        raise OptionError(f"{by} is not of queries", remedy="no --query")
    if balances_nothing:
        raise OptionError("--balance is of how many to drop or keep", remedy="--drop or --keep")


def _require_classes(train: Examples) -> None:
    if "label" not in train.columns:
        raise OptionError(f"{train.source} has no labels to balance", remedy="no --balance")
    several = any(isinstance(label, list) for label in train.labels)
    if several or train.largest_label is not None:
        what = "lists of classes" if several else "numbers"
        raise OptionError(
            f"the labels of {train.source} are {what}: there are as many of them as examples, of "
            "each of which one would stay",
            remedy="no --balance",
        )


def _measure(subject: Subject, scores: AnyScores, by: By) -> Tensor:
    """[n], higher = sooner dropped, and first of all what was skipped; of suspicion no more is
    found out than it is made of."""
    from datainf.applications.mislabeled import COMBINED, combined, signal, skipped_last

    stores = subject.stores
    if by == "helpful":
        return skipped_last(scores.means(), stores.train)
    with progress() as bars:
        found = {
            name: signal(name, scores, stores.train, stores.weights, progress=bars)
            for name in (COMBINED if by == "suspicion" else (by,))
        }
    return combined(found) if by == "suspicion" else skipped_last(found[by], stores.train)
