"""datainf attribute: the whole job in one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datainf import words
from datainf.cli import options as o
from datainf.cli.console import console, is_leader, progress, say

if TYPE_CHECKING:
    from datainf.config import RunConfig
    from datainf.runs import Run

SHOWN_QUERIES = 10


def settings_of(given: dict[str, Any], command: str, **defaults: Any) -> RunConfig:
    """The settings that a command's options say, or else the file that --config names, or else
    these."""
    from datainf.config import RunConfig, read_config

    file = given.pop("config", None)
    known = {} if file is None else read_config(Path(file))
    return RunConfig.from_values({**defaults, **known, **given}, file or command)


@o.with_shared_options
def attribute(
    model: o.Model = None,
    adapter: o.Adapter = None,
    checkpoints: o.Checkpoints = None,
    train: Annotated[
        str | None, typer.Option(help=f"Training data: {o.DATA}.", rich_help_panel=o.DATA_PANEL)
    ] = None,
    query: Annotated[
        str | None,
        typer.Option(
            help="The outputs to explain, or a validation set; same forms as --train.",
            rich_help_panel=o.DATA_PANEL,
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="Folder of the run; made if it is not there.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A run.yaml to replay; options given beside it come first."),
    ] = None,
    task: o.TaskOption = None,
    method: o.Method = None,
    curvature_rows: o.CurvatureRows = None,
    steps: o.Steps = None,
    damping: o.DampingOption = None,
    normalize: o.NormalizeOption = None,
    metric: o.MetricOption = None,
    blocks: o.BlocksOption = None,
    keep: o.Keep = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="Examples to show of each end, a query. (default 5)")
    ] = None,
    trainable: o.Trainable = None,
    device: o.Device = None,
    dtype: o.Dtype = None,
    batch_tokens: o.BatchTokens = None,
    store: o.Store = None,
    project: o.Project = None,
    shard_rows: o.ShardRows = None,
    on_nonfinite: o.OnNonfinite = None,
    seed: o.Seed = None,
    train_split: Annotated[
        str | None, typer.Option(help="Split of --train.", rich_help_panel=o.DATA_PANEL)
    ] = None,
    query_split: Annotated[
        str | None, typer.Option(help="Split of --query.", rich_help_panel=o.DATA_PANEL)
    ] = None,
    train_limit: Annotated[
        int | None,
        typer.Option(
            min=1, help="Take the first training rows only.", rich_help_panel=o.DATA_PANEL
        ),
    ] = None,
    query_limit: Annotated[
        int | None,
        typer.Option(min=1, help="Take the first queries only.", rich_help_panel=o.DATA_PANEL),
    ] = None,
    report: Annotated[
        bool,
        typer.Option(
            "--report/--no-report",
            help="Write the page too. The model is loaded once more for what it says and for the "
            "tokens' parts in the scores.",
        ),
    ] = True,
    *,
    shared: dict[str, Any],
) -> None:
    """Which training examples made the model say this? Data and adapter in, ranked examples out.

    Leaves in --out: the gradient stores train/, query/ and curvature/, scores.safetensors,
    scores.parquet (long: query_id, train_id, query_row, train_row, score, rank), top.jsonl,
    run.yaml, and report.html to look at. Positive scores are helpful, negative ones harmful.
    Killed, the same command goes on from its last finished shard. `datainf plan` in its place says
    what it will take.
    """
    own = {name: v for name, v in locals().items() if name not in ("shared", "report")}
    from datainf.ranks import alone
    from datainf.runs import run

    settings = settings_of({**o.given(own), **shared}, "attribute")
    with progress() as bars:
        finished = run(settings, progress=bars, say=say)
    if is_leader():  # what is left to do is not shared
        with alone():
            _tell(finished, settings, report=report)


def _tell(finished: Run, settings: RunConfig, *, report: bool) -> None:
    """The first queries, and the page."""
    from datainf.cli.tables import print_query

    shown = console()
    m = finished.scores.shape[0]
    for row in range(min(m, SHOWN_QUERIES)):
        print_query(shown, finished, row, settings.top)
    folder = settings.out
    if m > SHOWN_QUERIES:
        more = words.count(m - SHOWN_QUERIES, "more query", "more queries")
        shown.print(
            f"\n{more}: datainf top {folder} --query ID; all together: datainf top {folder} --mean",
            markup=False,
        )
    say(f"scores, top examples and settings are in {folder}")
    if report:
        _write_report(folder, settings.top)
    if settings.is_smaller:
        say(f"{o.SMALLER}: datainf score {folder} --check says whether the scores survive it")


def _write_report(folder: str, top: int) -> None:
    """The page of a run that has just finished."""
    from datainf.report import TOP, write_report

    with progress() as bars:
        path = write_report(folder, top=max(TOP, top), progress=bars, say=say)
    say(f"to look at: {path}")
