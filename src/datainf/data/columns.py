"""Which column plays which part.

    causal-lm        input_ids; messages; prompt + completion; text
    classification   text, sentence, or a pair of texts; and label

A person's own names (`Columns`) come before the conventions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from datainf.errors import DataError

TaskName = Literal["causal-lm", "classification"]

CAUSAL_LM: tuple[tuple[str, ...], ...] = (("messages",), ("prompt", "completion"), ("text",))
TEXTS = ("text", "sentence")
PAIRS = (
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("text", "text_pair"),
)
LABELS = ("label", "labels")
TOKENS = ("input_ids", "attention_mask", "token_type_ids", "labels")

UNDERSTOOD = (
    "understood are, for a causal LM: text; prompt and completion; messages; input_ids; and for "
    "classification: label with text, sentence, sentence1 and sentence2, question1 and question2, "
    "premise and hypothesis, or question and sentence"
)


@dataclass(frozen=True)
class Columns:
    """A person's names for the parts; None = find it by convention."""

    text: str | None = None
    text_pair: str | None = None
    prompt: str | None = None
    completion: str | None = None
    messages: str | None = None
    label: str | None = None
    id: str | None = None

    def given(self) -> dict[str, str]:
        """Part → column, of those that were named."""
        return {part: column for part, column in asdict(self).items() if column is not None}


def detect_task(names: Sequence[str], columns: Columns = Columns()) -> TaskName:
    """Rows with a text and a label are for classification; with a text alone, for a causal LM.

    Raises `DataError` if the columns fit neither.
    """
    if _classification(names, columns) is not None:
        return "classification"
    if _causal_lm(names, columns) is not None:
        return "causal-lm"
    raise DataError(
        f"cannot tell the task from the columns {', '.join(names)}; {UNDERSTOOD}",
        remedy="--text-column, --prompt-column, --label-column and so on name your own",
    )


def resolve(names: Sequence[str], task: TaskName, columns: Columns, source: str) -> dict[str, str]:
    """Part → column for a task, with `id` if there is one.

    Raises `DataError` naming what is missing and what there is.
    """
    for part, column in columns.given().items():
        if column not in names:
            raise DataError(
                f"{source}: there is no column {column!r} (asked for as the {part}); "
                f"the columns are {', '.join(names)}"
            )
    found = (_causal_lm if task == "causal-lm" else _classification)(names, columns)
    if found is None:
        raise DataError(
            f"{source}: the columns {', '.join(names)} do not make a {task} data set; {UNDERSTOOD}",
            remedy="--text-column, --prompt-column, --label-column and so on name your own",
        )
    identifier = columns.id or ("id" if "id" in names else None)
    return found if identifier is None else {**found, "id": identifier}


def _causal_lm(names: Sequence[str], columns: Columns) -> dict[str, str] | None:
    given = columns.given()
    if "messages" in given:
        return {"messages": given["messages"]}
    if "completion" in given or "prompt" in given:
        parts = {part: given.get(part, part) for part in ("prompt", "completion")}
        return parts if all(column in names for column in parts.values()) else None
    if "text" in given:
        return {"text": given["text"]}
    if "input_ids" in names:
        return {key: key for key in TOKENS if key in names and key != "token_type_ids"}
    for convention in CAUSAL_LM:
        if all(part in names for part in convention):
            return {part: part for part in convention}
    return None


def _classification(names: Sequence[str], columns: Columns) -> dict[str, str] | None:
    label = columns.label or next((name for name in LABELS if name in names), None)
    if label is None:
        return None
    if columns.text is not None:
        pair = {} if columns.text_pair is None else {"text_pair": columns.text_pair}
        return {"text": columns.text, **pair, "label": label}
    for first, second in PAIRS:
        if first in names and second in names:
            return {"text": first, "text_pair": second, "label": label}
    for name in TEXTS:
        if name in names:
            return {"text": name, "label": label}
    scalar_label = label != "labels"  # labels beside input_ids are a causal LM's, a list a row
    if "input_ids" in names and scalar_label:
        return {**{key: key for key in TOKENS[:3] if key in names}, "label": label}
    return None


def check_row(row: Mapping[str, Any], task: TaskName) -> None:
    """Raise `DataError` if a row lacks a part, or holds something else than it should."""
    for part, value in row.items():
        if part == "label":
            _check_label(value)
        elif part == "messages":
            _check_messages(value)
        elif part in TOKENS:
            _check_tokens(part, value)
        elif not isinstance(value, str):
            raise DataError(
                f"{part} is {_kind(value)}" + ("" if value is None else ", not text"),
                remedy="a text there, or leave the row out",
            )
        elif not value and not (part == "prompt" and task == "causal-lm"):
            raise DataError(f"{part} is empty", remedy="fill it in, or leave the row out")


def _check_label(value: Any) -> None:
    if value is None or value == "" or value != value:  # NaN is not itself
        raise DataError("label is missing", remedy="fill it in, or leave the row out")
    if not isinstance(value, str | int | float):
        raise DataError(f"label is {_kind(value)}", remedy="one class index or class name a row")


def _check_messages(value: Any) -> None:
    turns = isinstance(value, list) and value
    if not turns or not all(
        isinstance(turn, dict)
        and isinstance(turn.get("role"), str)
        and isinstance(turn.get("content"), str)
        for turn in value
    ):
        raise DataError(
            "messages is not a list of turns", remedy='[{"role": "user", "content": "…"}, …]'
        )


def _check_tokens(part: str, value: Any) -> None:
    if not isinstance(value, list) or not value or not all(isinstance(v, int) for v in value):
        raise DataError(f"{part} is not a list of whole numbers")


def _kind(value: Any) -> str:
    return "missing" if value is None else f"a {type(value).__name__} ({str(value)[:40]!r})"
