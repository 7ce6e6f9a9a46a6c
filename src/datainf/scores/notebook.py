"""Scores in a notebook: as a table of HTML, a data frame, a figure."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from datainf import words
from datainf.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from datainf.scores.ranked import Influence, Ranked

SHOWN_QUERIES, SHOWN_EXAMPLES = 5, 5
HELPS, HARMS = "37, 99, 235", "194, 83, 12"
"""Colours, as in the report."""


def scores_html(scores: Ranked) -> str:
    """The first queries, and the first training examples of either end of each."""
    m, n = scores.shape
    k = min(SHOWN_EXAMPLES, scores.kept)
    rows = [
        f"<tr><th>{escape(str(identifier))}</th>{_cells(scores, query, k)}</tr>"
        for query, identifier in enumerate(scores.query_ids[:SHOWN_QUERIES])
    ]
    more = f"<p>and {m - SHOWN_QUERIES:,} more queries</p>" if m > SHOWN_QUERIES else ""
    return (
        f"<div><p><b>{escape(scores.method)}</b>: {m:,} × {n:,} scores, positive = helpful"
        f"<br><small>{escape(words.settings(scores.settings))}</small></p><table><thead><tr><th>query</th>"
        f"<th>most helpful</th><th>most harmful</th></tr></thead><tbody>{''.join(rows)}</tbody>"
        f"</table>{more}</div>"
    )


def _cells(scores: Ranked, query: int, k: int) -> str:
    if k == 0:
        return "<td></td><td></td>"
    ends = _ends(scores, query, k)
    largest = max((abs(one.score) for end in ends for one in end), default=1.0)
    return "".join(f"<td>{''.join(_chip(one, largest) for one in end)}</td>" for end in ends)


def _ends(scores: Ranked, query: int | str | None, k: int | None) -> list[list[Influence]]:
    """What helps and what harms. Where there are few examples, an end of the order reaches beyond
    0."""
    return [
        [one for one in scores.top(query, k, largest=end) if one.score * (1 if end else -1) > 0]
        for end in (True, False)
    ]


def influences_html(found: list[Influence]) -> str:
    """Training examples and their scores, one below the other."""
    largest = max((abs(one.score) for one in found), default=0.0) or 1.0
    rows = "".join(
        f"<tr><td>{rank}</td><td>{escape(str(one.train_id))}</td><td>{one.score:+.4g}</td>"
        f"<td>{_bar(one.score, largest)}</td></tr>"
        for rank, one in enumerate(found, start=1)
    )
    return (
        "<table><thead><tr><th></th><th>training example</th><th>score</th><th></th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _bar(score: float, largest: float) -> str:
    width = 100 * abs(score) / largest
    return (
        f'<div style="width:{width:.0f}px;height:8px;border-radius:4px;'
        f'background:rgb({HELPS if score >= 0 else HARMS})"></div>'
    )


def _chip(one: Influence, largest: float) -> str:
    share = 0.6 * abs(one.score) / largest
    return (
        f'<span style="display:inline-block;margin:1px;padding:0 6px;border-radius:8px;'
        f'background:rgba({HELPS if one.score >= 0 else HARMS}, {share:.2f})" '
        f'title="{one.score:+.4g}">{escape(str(one.train_id))}</span>'
    )


def frame_of(scores: Ranked) -> pd.DataFrame:
    """What `Ranked.to_pandas` says."""
    import numpy as np
    import pandas as pd

    queries: list[Any] = []
    rows: list[Any] = []
    values: list[Any] = []
    ranks: list[Any] = []
    for found in scores._table_rows():
        order = found.ranks.argsort()
        rows.append(found.train_rows[order].int().numpy())
        values.append(found.scores[order].float().numpy())
        ranks.append(found.ranks[order].int().numpy())
        queries.append(np.full(len(order), len(queries), dtype=np.int32))
    query_row, train_row, rank = (
        np.concatenate([np.empty(0, np.int32), *parts]) for parts in (queries, rows, ranks)
    )
    score = np.concatenate([np.empty(0, np.float32), *values])
    ids = [np.array(own, dtype=object) for own in (scores.query_ids, scores.train_ids)]
    return pd.DataFrame({
        "query_id": ids[0][query_row], "train_id": ids[1][train_row], "query_row": query_row,
        "train_row": train_row, "score": score, "rank": rank,
    })  # fmt: skip


def plot_of(scores: Ranked, query: int | str | None, k: int | None) -> Any:
    """A matplotlib `Axes` with bars: the k most helpful training examples of a query and the k most
    harmful, or of the mean over all.

    Raises `InputError` where matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot
    except ImportError:
        raise InputError(
            "a figure needs matplotlib", remedy="pip install 'datainf[notebook]'"
        ) from None
    helpful, harmful = _ends(scores, query, k)
    found = [*helpful, *reversed(harmful)]
    values = [one.score for one in found]
    _, axes = pyplot.subplots(figsize=(6, 0.28 * len(found) + 1), layout="constrained")
    colours = [tuple(int(c) / 255 for c in (HELPS if v >= 0 else HARMS).split(",")) for v in values]
    axes.barh(range(len(found)), values, color=colours)
    axes.set_yticks(range(len(found)), [str(one.train_id) for one in found], parse_math=False)
    axes.invert_yaxis()
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.set_xlabel(f"score by {scores.method} (positive = helpful)")
    row = query if not isinstance(query, str) else scores.query_row(query)
    title = "mean over all queries" if row is None else f"query {scores.query_ids[row]}"
    axes.set_title(title, parse_math=False)
    return axes
