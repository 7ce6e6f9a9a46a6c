"""A new query as a person types it, and as its task reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from datainf.data import Examples
from datainf.data.rows import check_row
from datainf.errors import DataError

TEXTS = (
    "prompt",
    "completion",
    "text",
    "text_pair",
    "label",
    "source",
    "target",
    "chosen",
    "rejected",
)
"""Parts of an example that are texts."""
PAIR = ("chosen", "rejected")


@dataclass(frozen=True)
class Typed:
    """What is typed of a query: `fields`, a text for each; none where that cannot be. Of
    conversations a turn of the user and one of the assistant, of several labels one after another
    with commas between them."""

    fields: tuple[str, ...]
    turns: tuple[str, ...] = ()  # columns that are lists of turns
    labels: bool = False  # whether an example's label is a list

    @classmethod
    def of(cls, train: Examples) -> Self:
        """As the training examples are, by their columns and the first of them."""
        if not len(train):
            return cls(())
        columns = set(train.columns) - {"id"}
        lists = {name for name, value in train[0].items() if isinstance(value, list)}
        turns = lists - {"label"}
        if "messages" in columns:
            return cls(("prompt", "completion"), ("messages",))
        if turns and turns <= {"prompt", *PAIR} and columns <= {"prompt", *PAIR}:
            return cls(("prompt", *PAIR), tuple(sorted(turns)))
        if turns or not columns <= set(TEXTS):
            return cls(())
        return cls(tuple(name for name in TEXTS if name in columns), labels="label" in lists)

    def example(self, typed: Mapping[str, Any]) -> dict[str, Any]:
        """A row, checked. Raises `DataError` for a field that is missing or empty."""
        texts = {name: typed.get(name) for name in self.fields}
        for name, value in texts.items():
            if not isinstance(value, str):
                raise DataError(f"{name} is missing", remedy="a text")
        check_row(texts)
        if self.labels:
            texts["label"] = [_value(part.strip()) for part in str(texts["label"]).split(",")]
        return self._conversation(texts) if self.turns else texts

    def _conversation(self, texts: dict[str, Any]) -> dict[str, Any]:
        asked = [{"role": "user", "content": texts["prompt"]}]
        if "messages" in self.turns:
            return {"messages": [*asked, _said(texts["completion"])]}
        if "prompt" in self.turns:
            return {"prompt": asked, **{name: [_said(texts[name])] for name in PAIR}}
        return {name: [*asked, _said(texts[name])] for name in PAIR}


def _said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _value(text: str) -> int | float | str:
    """A number where it is one: a list of these is not read as a list of names."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
