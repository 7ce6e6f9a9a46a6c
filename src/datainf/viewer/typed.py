"""A new query as a person types it, and as its task reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from datainf.data import Examples
from datainf.data.alike import alike
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
LOOKED_AT = 1000


@dataclass(frozen=True)
class Typed:
    """What is typed of a query: `fields`, a text for each; none where that cannot be. Of
    conversations a turn of the user and one of the assistant, of several labels one after another
    with commas between them. A label is read as what the training examples' are, an index or a
    name."""

    fields: tuple[str, ...]
    turns: tuple[str, ...] = ()  # columns that are lists of turns
    label: Any = ""  # of a training example

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
        fields = tuple(name for name in TEXTS if name in columns)
        return cls(fields, label=_some_label(train) if "label" in fields else "")

    def example(self, typed: Mapping[str, Any]) -> dict[str, Any]:
        """A row, checked. Raises `DataError` for a field that is missing or empty."""
        texts = {name: typed.get(name) for name in self.fields}
        for name, value in texts.items():
            if not isinstance(value, str):
                raise DataError(f"{name} is missing", remedy="a text")
        check_row(texts)
        if "label" in texts:
            texts["label"] = self._as_label(str(texts["label"]))
        return self._conversation(texts) if self.turns else texts

    def _as_label(self, text: str) -> Any:
        if isinstance(self.label, list):
            return [_like(self.label[0], one.strip()) for one in text.split(",")]
        return _like(self.label, text.strip())

    def _conversation(self, texts: dict[str, Any]) -> dict[str, Any]:
        asked = [{"role": "user", "content": texts["prompt"]}]
        if "messages" in self.turns:
            return {"messages": [*asked, _said(texts["completion"])]}
        if "prompt" in self.turns:
            return {"prompt": asked, **{name: [_said(texts[name])] for name in PAIR}}
        return {name: [*asked, _said(texts[name])] for name in PAIR}


def _said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _like(own: Any, text: str) -> Any:
    """A name stays one where labels are numbers: a model may know both."""
    try:
        return alike(own, text)
    except ValueError:
        return text


def _some_label(train: Examples) -> Any:
    """One that is not empty, of the first examples."""
    first = (train[row]["label"] for row in range(min(len(train), LOOKED_AT)))
    return next((label for label in first if label != []), "")
