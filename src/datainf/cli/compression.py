"""What `datainf score --check` prints: figures, and in a sentence whether to trust them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from datainf import words

if TYPE_CHECKING:
    from datainf.evaluation import CompressionCheck

FINER = "a smaller --project or a finer --store when collecting"
WEAK = "with a weak one, scores hang on directions that a projection does not keep"
PAPERS = "trace:0.02"
"""Stronger than any damping of the paper's kind, by dimension, that is worth a try."""
TIMES = 5
"""By how much a damping that is tried next is stronger."""
MOST_TRACE = 0.5
"""Of the gradients' mean squared norm: a stronger damping leaves nothing of the curvature."""


def print_checks(out: Console, checks: list[CompressionCheck]) -> None:
    """A row and a sentence for each damping; where the smaller rows fail, with a remedy."""
    out.print(_table(checks))
    for check in checks:
        damping = f" with damping {check.damping}" if len(checks) > 1 else ""
        out.print(f"{_verdict(check)} {escape(check.method + damping)}: {escape(_figures(check))}")
    failed = [check for check in checks if check.ranked and not check.trusted]
    if failed:
        out.print(f"asked for: {_bounds(checks[0].top)}")
        out.print(f"[bold]try:[/] {escape(_remedy(checks, failed))}")


def _remedy(checks: list[CompressionCheck], failed: list[CompressionCheck]) -> str:
    """A damping is named only if it is stronger than one that fails, and none that is checked
    already."""
    from datainf.estimators import BY_NAME

    known = {check.damping for check in checks}
    stronger = [found for check in failed if (found := stronger_than(check.damping)) is not None]
    untried = [damping for damping in dict.fromkeys(stronger) if damping not in known]
    if not untried or not BY_NAME[checks[0].method].has_curvature:
        return FINER
    return f"{FINER}; or a stronger --damping, such as {' or '.join(untried)}: {WEAK}"


def stronger_than(damping: str) -> str | None:
    """The damping to try after one; None where that is strong already."""
    from datainf.linalg import Damping

    used = Damping.parse(damping)
    if used.kind == "dimension" and used.value <= 1:
        return PAPERS
    value = float(f"{TIMES * used.value:.2g}")
    return None if used.kind == "trace" and value > MOST_TRACE else str(Damping(value, used.kind))


def _table(checks: list[CompressionCheck]) -> Table:
    table = Table(
        title=f"{checks[0].method}: scores from the smaller rows against those from full gradients",
        title_justify="left",
    )
    table.add_column("damping", no_wrap=True)
    top = checks[0].top
    for column in ("rank correlation", "5 % of queries below", "worst", f"same of the {top} most "
                   "helpful", f"of the {top} most harmful"):  # fmt: skip
        table.add_column(column, justify="right")
    for check in checks:
        correlations = (check.correlation, check.low_correlation, check.worst_correlation)
        table.add_row(
            escape(check.damping),
            *(_decimal(value) for value in correlations),
            *(f"{top * share:.1f}" for share in check.overlaps),
        )
    return table


def _verdict(check: CompressionCheck) -> str:
    if not check.ranked:
        return "nothing to compare for"
    if check.trusted:
        return "the smaller rows can be trusted for"
    return "[yellow]warning:[/] the smaller rows cannot be trusted for"


def _bounds(top: int) -> str:
    """Below which the smaller rows are not to be trusted."""
    from datainf.evaluation import compression

    same = f"{top * compression.GOOD_OVERLAP:g} of the {top} most helpful and of the {top} most"
    return f"a rank correlation of {compression.GOOD_CORRELATION:g}, and {same} harmful"


def _figures(check: CompressionCheck) -> str:
    equal = f"full gradients score all examples alike for {_queries(check.unranked)}"
    if not check.ranked:
        return equal
    same, times = check.top * sum(check.overlaps) / 2, check.full_bytes / check.stored_bytes
    text = (
        f"rank correlation {_decimal(check.correlation)}, {same:.1f} of the top {check.top} the "
        f"same, over {words.count(check.examples, 'example')} and {_queries(check.ranked)}; a "
        f"row takes 1/{times:.{0 if times >= 10 else 1}f} of the space"
    )
    return f"{text}; {equal}" if check.unranked else text


def _decimal(value: float) -> str:
    """A correlation, with more digits the nearer it is to 1."""
    return f"{value:.{4 if value > 0.99 else 3}f}"


def _queries(number: int) -> str:
    return words.count(number, "query", "queries")
