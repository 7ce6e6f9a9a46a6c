"""Whether each part of a row holds what it should, whatever the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from datainf.errors import DataError
from datainf.redaction import beginning
from datainf.tasks.packing import refuse_packed


def check_row(row: Mapping[str, Any]) -> None:
    """Raise `DataError` if a row lacks a part, or holds something else than it should."""
    for part, value in row.items():
        if part == "prompt" and "chosen" in row:  # pairs may be conversations
            _check_text_or_messages(part, value)
        else:
            _CHECKS.get(part, _check_text)(part, value)


def _check_text(part: str, value: Any) -> None:
    if not isinstance(value, str):
        raise DataError(
            f"{part} is {_kind(value)}" + ("" if value is None else ", not text"),
            remedy="a text there, or leave the row out",
        )
    if not value and part != "prompt":
        raise DataError(f"{part} is empty", remedy="fill it in, or leave the row out")
    require_letters(part, value)


def require_letters(part: str, text: str) -> None:
    """Raises `DataError` for half of a letter: JSON can say it, and neither a tokenizer nor a table
    takes it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])
        raise DataError(
            f"{part} holds half of a letter, {half}, which has no bytes in UTF-8",
            remedy="the whole letter there, or leave the row out",
        ) from None


def _check_label(part: str, value: Any) -> None:
    if value is None or value == "" or value != value:  # NaN is not itself
        raise DataError(f"{part} is missing", remedy="fill it in, or leave the row out")
    if not isinstance(value, str | int | float | list):
        raise DataError(
            f"{part} is {_kind(value)}",
            remedy="a class index, a class name or a number a row, or a list of them",
        )


def _check_messages(part: str, value: Any) -> None:
    turns = isinstance(value, list) and value
    if not turns or not all(
        isinstance(turn, dict)
        and isinstance(turn.get("role"), str)
        and isinstance(turn.get("content"), str)
        for turn in value
    ):
        raise DataError(
            f"{part} is not a list of turns", remedy='[{"role": "user", "content": "…"}, …]'
        )
    for turn in value:
        require_letters(part, turn["role"] + turn["content"])


def _check_text_or_messages(part: str, value: Any) -> None:
    (_check_messages if isinstance(value, list) else _check_text)(part, value)


def _check_tokens(part: str, value: Any) -> None:
    if part == "input_ids":
        refuse_packed({part: value})
    if not isinstance(value, list) or not value or not all(isinstance(v, int) for v in value):
        raise DataError(f"{part} is not a list of whole numbers")


def _check_words(part: str, value: Any) -> None:
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        raise DataError(f"{part} is not a list of words", remedy='["a", "word", "each"]')
    require_letters(part, "".join(value))


def _check_tags(part: str, value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(v, int | str) for v in value):
        raise DataError(
            f"{part} is not a list of tags", remedy="a class index or class name for each word"
        )


def _check_numbers(part: str, value: Any) -> None:
    if value is None:
        raise DataError(f"{part} is missing", remedy="numbers there, or leave the row out")


_CHECKS: dict[str, Callable[[str, Any], None]] = {
    "label": _check_label,
    "messages": _check_messages,
    "chosen": _check_text_or_messages,
    "rejected": _check_text_or_messages,
    "tokens": _check_words,
    "tags": _check_tags,
    "pixel_values": _check_numbers,
    "image": _check_numbers,
    "ref_chosen_logps": _check_numbers,
    "ref_rejected_logps": _check_numbers,
    **dict.fromkeys(
        (
            "input_ids", "attention_mask", "token_type_ids", "labels", "position_ids",
            "completion_mask", "assistant_masks", "seq_lengths", "prompt_ids", "chosen_ids",
            "rejected_ids",
        ),
        _check_tokens,
    ),
}  # fmt: skip
"""What is not named here is text. What an image holds, `datainf.data.pictures` looks at."""


def _kind(value: Any) -> str:
    return "missing" if value is None else f"a {type(value).__name__} ({beginning(value)!r})"
