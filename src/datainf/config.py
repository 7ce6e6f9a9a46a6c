"""The settings of a run: checked when made, written to run.yaml, read back from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import torch
import yaml

from datainf.attribution import DEFAULT_METHOD
from datainf.columns import PARTS, Columns, TaskName, known_task
from datainf.errors import InputError, OptionError
from datainf.estimators import from_name
from datainf.files import write_atomically
from datainf.gradient_flow import read_damping
from datainf.gradients.collector import OnNonfinite, require_known
from datainf.models import TASK_OPTIONS, device_of, dtype_of
from datainf.projection import Projection
from datainf.provenance import in_a_line
from datainf.redaction import beginning, redacted
from datainf.store.encoding import stored_dtype
from datainf.views import Blocks, Metric, Normalize, Options

KINDS_OF_VALUE: dict[str, tuple[str, tuple[type, ...]]] = {
    "int": ("a whole number", (int,)),
    "float": ("a number", (int, float)),
    "str": ("text", (str,)),
}


METHOD_OPTIONS = ("damping", "normalize", "metric", "blocks", "steps")
PATHS = ("train", "query", "out", "model", "adapter")
"""Settings that are paths, or names of the hub."""
POSITIVE = (
    "top", "batch_tokens", "shard_rows", "curvature_rows", "train_limit", "query_limit",
)  # fmt: skip


@dataclass(frozen=True)
class RunConfig:
    """The settings of a run, as in run.yaml. Paths and names are text; None = found by itself."""

    train: str
    query: str
    out: str
    model: str | None = None
    adapter: str | None = None
    checkpoints: str | None = None
    task: TaskName | None = None
    method: str | None = None
    curvature_rows: int | None = None
    steps: int | None = None
    damping: str | None = None
    normalize: Normalize | None = None
    metric: Metric | None = None
    blocks: Blocks | None = None
    keep: int | None = None
    top: int = 5
    trainable: str | None = None
    device: str | None = None
    dtype: str | None = None
    batch_tokens: int | None = None
    store: str | None = None
    project: int | None = None
    shard_rows: int | None = None
    on_nonfinite: OnNonfinite | None = None
    max_length: int | None = None
    max_target_length: int | None = None
    labels: str | None = None
    beta: float | None = None
    preference_loss: str | None = None
    resolution: int | None = None
    timesteps: str | None = None
    timestep_gradients: str | None = None
    timestep_weighting: str | None = None
    seed: int = 0
    train_split: str | None = None
    query_split: str | None = None
    train_limit: int | None = None
    query_limit: int | None = None
    text_column: str | None = None
    text_pair_column: str | None = None
    prompt_column: str | None = None
    completion_column: str | None = None
    messages_column: str | None = None
    label_column: str | None = None
    source_column: str | None = None
    target_column: str | None = None
    tokens_column: str | None = None
    tags_column: str | None = None
    chosen_column: str | None = None
    rejected_column: str | None = None
    image_column: str | None = None
    id_column: str | None = None

    def __post_init__(self) -> None:
        for name in PATHS:
            if getattr(self, name) == "":  # which would be the folder that one stands in
                raise OptionError(f"{_option(name)} is empty", remedy=f"{_option(name)} PATH")
        if self.model is None and self.adapter is None:
            raise OptionError("neither a model nor an adapter was named", remedy="--adapter DIR")
        if self.adapter is None and self.trainable is None:
            raise OptionError(
                "no adapter was named, and no parameters of the model",
                remedy="--adapter DIR; or for a model without one --trainable PATTERN, '*' for all",
            )
        if self.task is not None:
            known_task(self.task)
        for name in POSITIVE:
            if (value := getattr(self, name)) is not None and value < 1:
                raise OptionError(f"{_option(name)} must be at least 1, got {value}")
        if self.keep is not None and self.keep < self.top:
            raise OptionError(
                f"{self.top} examples of each end are to be shown, and {self.keep} kept",
                remedy=f"--keep {self.top} or more; or fewer by --top",
            )
        require_known(self.on_nonfinite or "stop")
        # Before hours of gradients, not after.
        stored_dtype(self.store or "float32")
        if self.project is not None:
            Projection(self.project)
            if self.metric == "fisher":
                raise OptionError(
                    "the metric fisher is known once all gradients are, and they are projected "
                    "before",
                    remedy="--metric adam or none; or no --project",
                )
        if self.method is None and self.steps is not None:
            raise OptionError(
                f"{self.steps} steps of which method?", remedy="--method ridge, cg or lissa"
            )
        estimator = from_name(self.method or DEFAULT_METHOD, steps=self.steps)
        if self.curvature_rows is not None and not estimator.has_curvature:
            raise OptionError(f"{estimator.name} has no curvature", remedy="no --curvature-rows")
        Options.of(estimator, self.normalize, self.metric, self.blocks)
        if self.damping is not None:
            read_damping(self.damping)
        _timesteps(self.timesteps)
        device_of(self.device)
        dtype_of(self.dtype, torch.device("cpu"))

    @property
    def columns(self) -> Columns:
        return Columns(**{part: getattr(self, f"{part}_column") for part in PARTS})

    @property
    def class_names(self) -> list[str] | None:
        """The names that were given to the model's classes, in their order."""
        return None if self.labels is None else [part.strip() for part in self.labels.split(",")]

    @property
    def method_options(self) -> dict[str, Any]:
        """What was said of the method, by the names that `attribute` takes."""
        said = {name: getattr(self, name) for name in METHOD_OPTIONS}
        return {name: value for name, value in said.items() if value is not None}

    def takes_curvature(self, method: str) -> bool:
        """Whether a run by the method has a store of its curvature's gradients: their number was
        said, or the method needs them."""
        return self.curvature_rows is not None or from_name(method).needs_curvature

    @property
    def is_smaller(self) -> bool:
        """Whether stores keep less of the gradients than float32 has."""
        return self.project is not None or stored_dtype(self.store or "float32").itemsize < 4

    @property
    def task_options(self) -> dict[str, Any]:
        """What was said about the task, by the names in `datainf.models.TASK_OPTIONS`."""
        said = {name: getattr(self, name, None) for name in TASK_OPTIONS}
        return said | {"timesteps": _timesteps(self.timesteps)}

    def save(self, path: Path) -> None:
        """Write run.yaml, with local paths made absolute so that it replays from anywhere, and with
        no secret of an address."""
        values = asdict(self)
        for name in PATHS:
            if values[name] is not None:
                values[name] = _as_saved(values[name])
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        write_atomically(path, f"# {in_a_line()}\n{text}".encode())

    @classmethod
    def from_values(cls, values: dict[str, Any], source: str) -> Self:
        """From plain values, as read from run.yaml or a command line.

        Raises `OptionError` for an unknown setting, a missing one, or one of the wrong kind.
        """
        known = {item.name: str(item.type) for item in fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise OptionError(
                    f"{source}: unknown setting {_shown(name)}", remedy=", ".join(known)
                )
            if value is None and "None" in known[name]:
                continue
            wanted = known[name].partition(" ")[0]
            kind, classes = KINDS_OF_VALUE.get(wanted, KINDS_OF_VALUE["str"])
            if not isinstance(value, classes) or isinstance(value, bool):
                raise OptionError(f"{source}: {name} should be {kind}, not {_shown(value)}")
        missing = [name for name in ("train", "query", "out") if name not in values]
        if missing:
            raise OptionError(
                f"{source}: not given: {', '.join(map(_option, missing))}",
                remedy=" ".join(f"{_option(name)} …" for name in missing),
            )
        return cls(**values)


def _as_saved(name: str) -> str:
    """Of a path or a hub id."""
    return str(Path(name).resolve()) if Path(name).exists() else redacted(name)


def _shown(value: Any) -> str:
    """A value that may hold itself many times over, as YAML's anchors make them."""
    return (
        f"a {type(value).__name__}"
        if isinstance(value, dict | list)
        else beginning(repr(value), 100)
    )


def _option(setting: str) -> str:
    """As a setting is said on the command line."""
    return f"--{setting.replace('_', '-')}"


def _timesteps(text: str | None) -> int | list[int] | None:
    """How many, or which: "6", "25,225,425".

    Raises `OptionError` for anything else.
    """
    if text is None:
        return None
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(
            f"the timesteps are {text!r}", remedy="how many, 6, or which, 25,225,425"
        ) from None
    return found if "," in text else found[0]


def read_config(path: Path) -> dict[str, Any]:
    """The values of a run.yaml.

    Raises `InputError` if it cannot be read.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", remedy="check the path") from None
    except Exception as error:  # a 13th month is a ValueError, others are whatever YAML's parts say
        raise InputError(
            f"{path} is not valid YAML: {error}", remedy="the run.yaml that a run left"
        ) from None
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no settings", remedy="the run.yaml that a run left")
    texts = {"damping", "timesteps", "checkpoints"}  # that YAML may take for numbers
    plain = (str, int, float)
    values.update({k: str(v) for k, v in values.items() if k in texts and isinstance(v, plain)})
    return values
