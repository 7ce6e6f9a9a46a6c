"""Options that several commands share, each defined once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from datainf.data.columns import PARTS, TASK_NAMES

DATA = (
    ".jsonl, .json, .csv, .tsv or .parquet file, a folder saved by datasets or of images, or a "
    "hub id (org/name:split)"
)
DATA_PANEL = "Data"
MODEL_PANEL = "Model and gradients"
METHOD_PANEL = "Method"

Model = Annotated[
    str | None,
    typer.Option(
        help="Base model, folder or hub id; by default the one that the adapter names.",
        rich_help_panel=MODEL_PANEL,
    ),
]
Adapter = Annotated[
    str | None,
    typer.Option(
        help="peft adapter, folder or hub id. Without one, give --trainable.",
        rich_help_panel=MODEL_PANEL,
    ),
]
TaskOption = Annotated[
    str | None,
    typer.Option(
        "--task",
        help=f"{', '.join(TASK_NAMES[:-1])} or {TASK_NAMES[-1]}; by default what the adapter, the "
        "model and the data say.",
        rich_help_panel=MODEL_PANEL,
    ),
]
Trainable = Annotated[
    str | None,
    typer.Option(
        metavar="PATTERN",
        help="Parameters to attribute: shell patterns over their names, with commas between; "
        "'!' leaves out. By default the adapter's.",
        rich_help_panel=MODEL_PANEL,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="cpu, cuda, cuda:1, …; by default a GPU if there is one.", rich_help_panel=MODEL_PANEL
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        help="The model's dtype: float32, bfloat16, float16, float64. By default float32 on a CPU, "
        "the checkpoint's own on a GPU.",
        rich_help_panel=MODEL_PANEL,
    ),
]
BatchTokens = Annotated[
    int | None,
    typer.Option(
        help="Most tokens of a batch, padding counted; halved if memory runs out. (default 4096)",
        rich_help_panel=MODEL_PANEL,
    ),
]
MaxLength = Annotated[
    int | None,
    typer.Option(
        help="Cut examples to this many tokens (seq2seq: sources); by default the model's limit.",
        rich_help_panel=MODEL_PANEL,
    ),
]
MaxTargetLength = Annotated[
    int | None,
    typer.Option(
        help="Cut the targets of seq2seq to this many tokens; by default the model's limit.",
        rich_help_panel=MODEL_PANEL,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(help="Of whatever is random. (default 0)", rich_help_panel=MODEL_PANEL),
]
Method = Annotated[
    str | None,
    typer.Option(
        help="datainf, exact, cg, lissa, gradient or weighted-gradient. (default datainf)",
        rich_help_panel=METHOD_PANEL,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(help="Steps of cg (5) or lissa (10).", rich_help_panel=METHOD_PANEL),
]
DampingOption = Annotated[
    str | None,
    typer.Option(
        "--damping",
        help="λ of a block: 0.1 (times mean ‖g‖² over its dimension, the paper's), trace:0.02 "
        "(times mean ‖g‖²) or abs:1e-3. (default 0.1)",
        rich_help_panel=METHOD_PANEL,
    ),
]
NormalizeOption = Annotated[
    str | None,
    typer.Option(
        "--normalize",
        help="none, or unit: every gradient to norm 1 (with gradient: cosine similarity). "
        " (default none)",
        rich_help_panel=METHOD_PANEL,
    ),
]
BlocksOption = Annotated[
    str | None,
    typer.Option(
        "--blocks",
        help="What has a curvature of its own: tensor (the paper's), module or model. "
        " (default tensor)",
        rich_help_panel=METHOD_PANEL,
    ),
]


PART_HELP = {
    "text": "text",
    "text_pair": "second text of a pair",
    "prompt": "prompt",
    "completion": "completion",
    "messages": "chat messages",
    "label": "label",
    "source": "source, of seq2seq",
    "target": "target, of seq2seq",
    "tokens": "words, a list a row, of token-classification",
    "tags": "tags of the words, a list a row",
    "chosen": "answer that was preferred",
    "rejected": "answer that was not",
    "image": "image, or its path",
    "id": "id; by default 'id' if there is one, else row numbers",
}
"""What each part of `data.Columns` is, for --help."""


def with_column_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command with an option for each part of `data.Columns`, --text-column and so on; it gets
    those that were given as its argument `columns`, setting → column."""

    @functools.wraps(command)
    def wrapped(**options: Any) -> None:
        columns = {name: options.pop(name) for name in _COLUMN_OPTIONS}
        command(**options, columns=given(columns))

    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.name != "columns"]
    made = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _COLUMN_OPTIONS.items()
    ]
    vars(wrapped)["__signature__"] = signature.replace(parameters=[*own, *made])
    wrapped.__annotations__ = {p.name: p.annotation for p in [*own, *made]}
    return wrapped


def _column_option(part: str) -> Any:
    option = typer.Option(
        help=f"Column that holds the {PART_HELP[part]}.", rich_help_panel=DATA_PANEL
    )
    return Annotated[str | None, option]


_COLUMN_OPTIONS = {f"{part}_column": _column_option(part) for part in PARTS}


def given(values: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, as plain values."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in values.items()
        if value is not None
    }
