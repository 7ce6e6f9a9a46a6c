"""Options that several commands share, each defined once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from datainf.columns import PARTS, TASK_NAMES

DATA = (
    ".jsonl, .json, .csv, .tsv or .parquet file, a folder saved by datasets or of images, or a "
    "hub id (org/name:split)"
)
DATA_PANEL = "Data"
MODEL_PANEL = "Model and gradients"
METHOD_PANEL = "Method"
TASK_PANEL = "Task"
SMALLER = "the stores are smaller than the gradients"
"""Said of scores from such stores, with the command that tells what they lose."""


def finished(context: typer.Context, run: Path) -> Path:
    """Refuse what is no run at once: the libraries that a command needs take seconds. But first
    several processes for a command of one, since all of them would say it."""
    from datainf.cli.several import require_alone
    from datainf.run_folder import require_finished

    require_alone(str(context.info_name))
    return require_finished(run)


Run = Annotated[
    Path, typer.Argument(help="Folder of a run.", show_default=False, callback=finished)
]
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
Checkpoints = Annotated[
    str | None,
    typer.Option(
        help="Checkpoints of the Trainer's output folder that --adapter is: all, how many (3), "
        "which steps (100,200), or none, for the adapter that lies beside them alone. Scores are "
        "summed over them. By default three, where there are as many.",
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
        min=1,
        help="Most tokens of a batch, padding counted; halved if memory runs out. (default: what "
        "keeps the device busy and fits, by a short probe)",
        rich_help_panel=MODEL_PANEL,
    ),
]
Stored = Literal["float32", "bfloat16", "int8", "float16", "float64"]
"""`datainf.store.encoding.DTYPES`, which brings torch."""
Store = Annotated[
    Stored | None,
    typer.Option(
        metavar="DTYPE",
        help="What gradients are stored as: float32, bfloat16 (half the disk) or int8 (a quarter); "
        "float16, float64. (default float32)",
        rich_help_panel=MODEL_PANEL,
    ),
]
Project = Annotated[
    int | None,
    typer.Option(
        min=2,
        metavar="RATIO",
        help="Store about one of so many numbers of every tensor, by a random projection that "
        "keeps inner products: 16, say. With --store int8 a quarter of that again. Where there is "
        "no optimizer, the metric auto is then none in place of fisher.",
        rich_help_panel=MODEL_PANEL,
    ),
]
ShardRows = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Gradients that are finished together, and lost together where the command is stopped "
        "before; a store that has some keeps on by as many as it had. (default: up to 1024, or as "
        "many as make 4 GiB)",
        rich_help_panel=MODEL_PANEL,
    ),
]
OnNonfinite = Annotated[
    str | None,
    typer.Option(
        metavar="WHAT",
        help="What becomes of an example whose loss or gradient is NaN or infinite: stop at it, or "
        "skip it, which lists it in the store and the report and gives it no part in any score. "
        "(default stop)",
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
        help="gauss-newton, which foretells best what retraining does; ridge, the same without "
        "gradients of drawn targets; datainf, the paper's; exact, cg, lissa, gradient or "
        "weighted-gradient. (default: gauss-newton; ridge for one label an example, and "
        "where no targets can be drawn)",
        rich_help_panel=METHOD_PANEL,
    ),
]
CurvatureRows = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Gradients of targets that the model draws, taken from the training data for the "
        "curvature, of any method that has one. (default for gauss-newton: 1.25 for each "
        "example, from 300 to 1000; else none: the training gradients stand for it)",
        rich_help_panel=METHOD_PANEL,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(help="Steps of ridge (2), cg (5) or lissa (10).", rich_help_panel=METHOD_PANEL),
]
DampingOption = Annotated[
    str | None,
    typer.Option(
        "--damping",
        help="λ of a block: 0.1 (times mean ‖g‖² over its dimension, the paper's), trace:0.02 "
        "(times mean ‖g‖²), rows:20 (times mean ‖g‖² over the number of rows), abs:1e-3, or flow, "
        "what the learning rates say. (default: flow for gauss-newton and ridge, else 0.1)",
        rich_help_panel=METHOD_PANEL,
    ),
]
NormalizeOption = Annotated[
    str | None,
    typer.Option(
        "--normalize",
        help="none; unit: every gradient to norm 1 (with gradient: cosine similarity); queries: "
        "the queries' alone; root: these, and the examples' divided by the square root of their "
        "norm. (default: root for gauss-newton, unit for ridge, else none)",
        rich_help_panel=METHOD_PANEL,
    ),
]
MetricOption = Annotated[
    str | None,
    typer.Option(
        "--metric",
        help="What parameters are multiplied by first: none; adam, by the optimizer's second "
        "moments to the power -1/4; fisher, by the mean squared gradient's; auto, adam where they "
        "are kept, else fisher, or with --project none. (default: auto for gauss-newton and ridge, "
        "else none)",
        rich_help_panel=METHOD_PANEL,
    ),
]
BlocksOption = Annotated[
    str | None,
    typer.Option(
        "--blocks",
        help="What has a curvature of its own: tensor (the paper's), module or model. "
        "(default: model for gauss-newton and ridge, else tensor)",
        rich_help_panel=METHOD_PANEL,
    ),
]
QueryStore = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Where the queries of --scores are, if that is object storage: the file's own word is "
        "not taken for it.",
    ),
]
Keep = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="K",
        help="Keep the K most helpful and the K most harmful training examples of each query, and "
        "the mean over all queries, in place of all pairs: for where these are too many to hold. "
        "(default: all pairs; of a run that is scored again, what it kept)",
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
"""What each part of `Columns` is, for --help."""


TASK_HELP: dict[str, tuple[type, str]] = {
    "max_length": (
        int, "Cut examples to this many tokens (seq2seq: sources); by default the model's limit."),
    "max_target_length": (
        int, "Cut the targets of seq2seq to this many tokens; by default the model's limit."),
    "labels": (
        str, "Names of the classes, in their order, with commas between; by default the model's, "
        "or of an image folder its folders, sorted."),
    "beta": (float, "β of a preference's loss. (default 0.1)"),
    "preference_loss": (str, "sigmoid (DPO), ipo or hinge. (default sigmoid)"),
    "resolution": (int, "Side of text-to-image's pictures in pixels; by default the model's own."),
    "timesteps": (
        str, "Of text-to-image: how many, evenly spaced, or which, 25,225,425. (default 6)"),
    "timestep_gradients": (
        str, "mean, or concatenate: one timestep's gradient beside another's. (default mean)"),
    "timestep_weighting": (
        str, "none, snr (min-SNR) or, for flow matching, sigma_sqrt or cosmap. (default none)"),
}  # fmt: skip
"""Of the settings of tasks: what they are, for --help."""


Command = Callable[..., None]


def with_shared_options(command: Command) -> Command:
    """A command with the options of tasks, and one for each part of `Columns`, --text-column and so
    on; it gets those that were given as its argument `shared`, setting → value."""
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _SHARED.items()
    ]
    return _with(shared, command, "shared")


def with_options_of(other: Command, *, without: str) -> Callable[[Command], Command]:
    """A command with the options of another one, but for one of them and those that it defines
    itself; it gets those that were given as its argument `settings`, option → value."""

    def decorated(command: Command) -> Command:
        own = inspect.signature(command).parameters
        theirs = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for name, parameter in inspect.signature(other).parameters.items()
            if name not in own and name != without
        ]
        return _with(theirs, command, "settings")

    return decorated


def _with(added: list[inspect.Parameter], command: Command, argument: str) -> Command:
    """A command with more options than its own, of which it gets those that were given as one
    argument."""

    @functools.wraps(command)
    def wrapped(**options: Any) -> None:
        more = {parameter.name: options.pop(parameter.name) for parameter in added}
        command(**options, **{argument: given(more)})

    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.name != argument]
    vars(wrapped)["__signature__"] = signature.replace(parameters=[*own, *added])
    wrapped.__annotations__ = {p.name: p.annotation for p in [*own, *added]}
    return wrapped


def _option(kind: type, text: str, panel: str) -> Any:
    return Annotated[kind | None, typer.Option(help=text, rich_help_panel=panel)]


_SHARED = {name: _option(kind, text, TASK_PANEL) for name, (kind, text) in TASK_HELP.items()} | {
    f"{part}_column": _option(str, f"Column that holds the {PART_HELP[part]}.", DATA_PANEL)
    for part in PARTS
}


def given(values: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, as plain values."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in values.items()
        if value is not None
    }
