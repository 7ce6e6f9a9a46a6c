"""The command line, thin over the library.

Commands import the library when they run, so that no help has to wait for torch and transformers.
"""

from __future__ import annotations

import inspect as inspection
from collections.abc import Callable
from typing import Annotated, Any

import typer
import typer.core

from datainf import __version__
from datainf.cli import (
    attribute,
    collect,
    demo,
    evaluate,
    inspect,
    mislabeled,
    plan,
    report,
    score,
    select,
    top,
    verify,
    view,
)
from datainf.cli.empty import require_no_empty
from datainf.cli.libraries import quiet_libraries, say_our_warnings, told_plainly
from datainf.cli.several import print_error, print_stop, require_alone, speaks
from datainf.errors import DatainfError

UsageError: Any = typer.BadParameter.__base__
"""What typer itself says of an option; its home has another name from version to version."""


class Command(typer.core.TyperCommand):
    """A command; the libraries are made ready when it runs, not when its help is asked for."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        require_no_empty(args, self.params)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        require_alone(ctx.info_name)
        quiet_libraries()
        say_our_warnings()
        return super().invoke(ctx)


class Program(typer.core.TyperGroup):
    """The commands; errors of ours become one message on stderr and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except DatainfError as error:
            print_error(error)
            raise typer.Exit(1) from None
        except UsageError as error:
            if not speaks(str(error)):
                raise typer.Exit(error.exit_code) from None
            raise
        except KeyboardInterrupt as stop:
            print_stop(_stopped(stop))
            raise typer.Exit(130) from None


app = typer.Typer(
    name="datainf",
    cls=Program,
    help="Which training examples made my fine-tuned model say this?\n\n"
    "Scores every (query, training example) pair: positive = helpful, training more on the "
    "example lowers the loss of the query; negative = harmful.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _help_of(command: Callable[..., None]) -> str:
    """A command's docstring with a line a paragraph: the terminal breaks lines, and would keep the
    docstring's own beside."""
    paragraphs = inspection.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


COMMANDS: dict[str, Callable[..., None]] = {
    "attribute": attribute.attribute,
    "plan": plan.plan,
    "collect": collect.collect,
    "score": score.score,
    "top": top.top,
    "report": report.report,
    "view": view.view,
    "mislabeled": mislabeled.mislabeled,
    "select": select.select,
    "inspect": inspect.inspect,
    "verify": verify.verify,
    "evaluate": evaluate.evaluate,
    "demo": demo.demo,
}
for _name, _command in COMMANDS.items():
    app.command(_name, cls=Command, help=_help_of(_command))(_command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"datainf {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of the program as a whole; the help text stands with `app`."""


def _stopped(stop: KeyboardInterrupt) -> str:
    """What a stop leaves: of gradients in numbers, which a store that was being written notes."""
    notes = getattr(stop, "__notes__", [])
    kept = ". ".join(notes) or "What was finished on the disk is kept, and nothing else"
    return f"Stopped. {kept}. The same command goes on from there."


def main() -> None:
    """The entry point."""
    told_plainly(app)


if __name__ == "__main__":
    main()
