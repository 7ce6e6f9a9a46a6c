"""Which column plays which part, and which task the rows are for.

A person's own names (`Columns`) come before the conventions. The task is what a person says; else
what both model and data can be for; else what the data alone are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from datainf.conventions import CONVENTIONS, in_words
from datainf.errors import DataError, OptionError

TaskName = str
"""A key of `CONVENTIONS`."""
TASK_NAMES: tuple[TaskName, ...] = tuple(CONVENTIONS)


@dataclass(frozen=True)
class Columns:
    """A person's names for the parts; None = find it by convention."""

    text: str | None = None
    text_pair: str | None = None
    prompt: str | None = None
    completion: str | None = None
    messages: str | None = None
    label: str | None = None
    source: str | None = None
    target: str | None = None
    tokens: str | None = None
    tags: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    image: str | None = None
    id: str | None = None

    def given(self) -> dict[str, str]:
        """Part → column, of those that were named."""
        return {part: column for part, column in asdict(self).items() if column is not None}


PARTS = tuple(part.name for part in fields(Columns))


@dataclass(frozen=True)
class Candidates:
    """The tasks that a model can be for, and the sign by which that is known, in words."""

    tasks: tuple[TaskName, ...]
    sign: str


@dataclass(frozen=True)
class Decision:
    """A task, the columns that play its parts (with `id` if there is one), and why that task."""

    task: TaskName
    columns: dict[str, str]
    why: str


def known_task(name: str) -> TaskName:
    """Raises `OptionError` for a name that is no task's."""
    if name not in CONVENTIONS:
        raise OptionError(f"unknown task {name!r}", remedy=" or ".join(TASK_NAMES))
    return name


def decide(
    names: Sequence[str],
    columns: Columns = Columns(),
    *,
    task: TaskName | None = None,
    model: Candidates | None = None,
    source: str = "the data",
) -> Decision:
    """The task and the parts of the columns `names`.

    Args:
        names: The columns that are there.
        columns: A person's own.
        task: The task if a person named it; it comes before all else.
        model: What the model says, None if it says nothing.
        source: The data's name, for messages.

    Raises:
        DataError: a column that is not there; columns that do not make a data set for the task or
            for what the model is for, or for several tasks.
        OptionError: an unknown task.
    """
    _require_there(names, columns, source)
    if task is not None:
        found = {known_task(task): match(names, task, columns)}
        why = "--task"
    elif model is not None:
        found = {name: match(names, name, columns) for name in model.tasks}
        why = model.sign
    else:
        found = {name: match(names, name, columns) for name in CONVENTIONS}
        why = f"the columns of {source}"
    fitting = {name: parts for name, parts in found.items() if parts is not None}
    if not fitting:
        raise _unfit(names, columns, task, model, source)
    chosen = _richest(fitting, source)
    if model is not None and task is None and chosen != model.tasks[0]:
        why += f" and the columns {', '.join(fitting[chosen].values())}"
    identifier = columns.id or ("id" if "id" in names else None)
    parts = fitting[chosen] | ({} if identifier is None else {"id": identifier})
    return Decision(chosen, parts, why)


def match(names: Sequence[str], task: TaskName, columns: Columns) -> dict[str, str] | None:
    """Part → column for a task, None where the columns do not make a data set for it."""
    given = {part: column for part, column in columns.given().items() if part != "id"}
    for layout in CONVENTIONS[task]:
        if (found := layout.match(names, given)) is not None:
            return found
    return None


def _richest(fitting: dict[TaskName, dict[str, str]], source: str) -> TaskName:
    """The task that uses all the columns that any other would: a text with a label is not there to
    be read as a text alone. Of tasks with the same columns the first: prompt and completion alone
    are a causal LM's."""
    for name, parts in fitting.items():
        if all(set(others.values()) <= set(parts.values()) for others in fitting.values()):
            return name
    shown = "; ".join(f"{name} ({', '.join(parts.values())})" for name, parts in fitting.items())
    raise DataError(
        f"{source}: the columns are those of several tasks: {shown}",
        remedy=f"--task {' or --task '.join(fitting)}",
    )


def _require_there(names: Sequence[str], columns: Columns, source: str) -> None:
    for part, column in columns.given().items():
        if column not in names:
            raise DataError(
                f"{source}: there is no column {column!r} (asked for as the {part}); "
                f"the columns are {', '.join(names)}"
            )


def _unfit(
    names: Sequence[str],
    columns: Columns,
    task: TaskName | None,
    model: Candidates | None,
    source: str,
) -> DataError:
    wanted = (task,) if task is not None else model.tasks if model is not None else TASK_NAMES
    shown = ", ".join(names)
    others = [name for name in CONVENTIONS if match(names, name, columns) is not None]
    understood = "; ".join(in_words(name) for name in wanted)
    if task is not None:
        what = f"{source}: the columns {shown} are not those of {task}"
    elif model is None:
        what = f"{source}: cannot tell the task from the columns {shown}"
    else:
        what = (
            f"{source}: the model is for {' or '.join(wanted)} ({model.sign}), and the columns "
            f"{shown} are {'those of ' + ' or '.join(others) if others else 'for no such task'}"
        )
    odd = [part for part in columns.given() if part != "id" and not _takes(wanted, part)]
    if odd:
        what += f"; a {' or '.join(odd)} has no part in {' or '.join(wanted)}"
    flags = [f"--{part.replace('_', '-')}-column" for part in PARTS if _takes(wanted, part)]
    remedy = f"{', '.join(flags)} name your own columns"
    if task is None:
        remedy += "; or --task"
    return DataError(f"{what}; understood are, for {understood}", remedy=remedy)


def _takes(tasks: Sequence[TaskName], part: str) -> bool:
    return any(part in layout.parts for task in tasks for layout in CONVENTIONS[task])
