"""Options that several commands share, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

DATA = (
    ".jsonl, .json, .csv, .tsv or .parquet file, a folder saved by datasets, or a hub id "
    "(org/name:split)"
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
        help="causal-lm or classification; by default what the adapter, the model or the data say.",
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
        help="Cut examples to this many tokens; by default the model's limit.",
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


def _column(part: str) -> Any:
    return typer.Option(help=f"Column that holds the {part}.", rich_help_panel=DATA_PANEL)


TextColumn = Annotated[str | None, _column("text")]
TextPairColumn = Annotated[str | None, _column("second text of a pair")]
PromptColumn = Annotated[str | None, _column("prompt")]
CompletionColumn = Annotated[str | None, _column("completion")]
MessagesColumn = Annotated[str | None, _column("chat messages")]
LabelColumn = Annotated[str | None, _column("label")]
IdColumn = Annotated[str | None, _column("id; by default 'id' if there is one, else row numbers")]


def given(values: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, as plain values."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in values.items()
        if value is not None
    }
