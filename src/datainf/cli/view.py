"""datainf view: a run's page, served on this machine, with new queries."""

from __future__ import annotations

import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Annotated

import typer

from datainf.cli import options as o
from datainf.cli.console import console, say


def view(
    run: o.Run,
    scores: Annotated[
        Path | None,
        typer.Option(help="Folder that `datainf score` wrote for the run's stores, to view those."),
    ] = None,
    query_store: o.QueryStore = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes one that is free.")
    ] = 8497,
    top: Annotated[
        int,
        typer.Option(min=1, help="Training examples of either end that count as a query's top."),
    ] = 25,
    model: Annotated[
        bool,
        typer.Option(
            "--model/--no-model",
            help="Whether to load the model, for new queries, for what it says and for the heat "
            "maps.",
        ),
    ] = True,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open it in the browser.")
    ] = True,
) -> None:
    """Serve a run's page to this machine's browser, and ask it new queries.

    For runs too large for one file: scores stay on the disk, all training examples are listed and
    searched, not the ends alone, and they are read as they come into view. Type a prompt and a
    completion, and its attribution comes from the training store that is there. It listens on
    127.0.0.1 alone, and asks for the token in the address that it prints; Ctrl-C stops it.
    """
    from datainf.report.subject import Subject
    from datainf.viewer import Server
    from datainf.viewer.live import LiveContents

    contents = LiveContents(Subject.open(run, scores, query_store), top, model=model)
    with Server(contents, port) as server:
        if model:
            say("the model is being loaded, and the method fitted…")
        contents.load(say)
        console().print(f"{server.url}  (Ctrl-C stops it)", markup=False, soft_wrap=True)
        with _opened(server.url) if browser else nullcontext(), suppress(KeyboardInterrupt):
            server.serve_forever()
    say("stopped")


@contextmanager
def _opened(url: str) -> Iterator[None]:
    """The browser at an address that leads there from a file of this user alone: other users of
    a machine may see what a program is started with."""
    with tempfile.TemporaryDirectory(prefix="datainf-view-") as folder:
        page = Path(folder) / "open.html"
        page.write_text(f'<meta http-equiv="refresh" content="0; url={url}">')
        webbrowser.open(page.as_uri())
        yield
