"""Examples as a page shows them: texts by part, a picture, a label, and where they stand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datainf import words
from datainf.data import Examples
from datainf.errors import DataError
from datainf.report.pictures import thumbnail
from datainf.tasks.answers import Answer, in_words
from datainf.tasks.labels import Labels
from datainf.tasks.streams import Stream

NOT_SHOWN = {"label", "image", "id", "pixel_values", "attention_mask", "token_type_ids", "labels"}
"""Parts of a row that are shown in a way of their own, or not at all."""
MOST_TOKENS = 2_000
HEAD = 160
"""Characters of a text in a list."""


class Described:
    """The rows of a data set for a page. `limit` is how many characters of a text are kept, and
    `side` how many pixels of a picture, None for no pictures; `skipped` are the rows without a
    gradient, and why."""

    def __init__(
        self, examples: Examples, losses: Any, in_words: Callable[[Any], str], limit: int,
        side: int | None, skipped: Mapping[int, str] | None = None,
    ) -> None:  # fmt: skip
        self.examples, self.losses, self.in_words = examples, losses, in_words
        self.skipped = skipped or {}
        self.limit, self.side = limit, side

    def example(
        self, row: int, answer: Answer | None = None, streams: list[Stream] | None = None
    ) -> dict[str, Any]:
        """An example as plain values; see assets/example.js for what becomes of it."""
        values = self.examples[row]
        known = {
            "row": row,
            "id": str(self.examples.ids[row]),
            "loss": words.plain(float(self.losses[row])),
            "skipped": self.skipped.get(row),
            "where": self.examples.where(row),
            "href": self._href(values),
            "file": self.file(row),
        }
        return _there(known | self.looks(values, answer, streams))

    def looks(
        self, values: Mapping[str, Any], answer: Answer | None = None,
        streams: list[Stream] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """What is to be seen of a row, wherever it is from."""
        return _there({
            "parts": [self._cut(name, text) for name, text in self._texts(values)],
            "label": label_of(values),
            "image": self._picture(values),
            "answer": None if answer is None else self._answer(answer),
            "streams": self.streams(streams) if streams else None,
        })  # fmt: skip

    def _picture(self, values: Mapping[str, Any]) -> str | None:
        if self.side is None or "image" not in values:
            return None
        return thumbnail(values["image"], self.side)

    def searched(self, row: int) -> str:
        """What a search goes through: name, place, label and the whole texts of an example."""
        values = self.examples[row]
        texts = (text for _, text in self._texts(values))
        named = (self.examples.ids[row], self.examples.where(row), label_of(values) or "")
        return "\n".join([*map(str, named), *texts])

    def file(self, row: int) -> str:
        """The source of a row by name; of a folder of images the image's own folder."""
        where = self.examples.where(row).partition(", row ")[0]
        return where.rpartition("/")[0] or where

    def head(self, row: int) -> str:
        """An example in a line: what is learned of it first, where a prompt comes before that."""
        values = self.examples[row]
        if isinstance(values.get("label"), list):
            values = {**values, "label": label_of(values) or "none"}
        text = self.in_words(values)
        if "image" in values and not isinstance(values.get("text"), str):
            name = self.examples.where(row).partition(", row ")[0].rpartition("/")[2]
            text = f"[{label_of(values)}] {name}"
        if isinstance(answer := values.get("completion"), str):
            text = f"{answer} ← {values.get('prompt') or ''}"
        text = " ".join(text[: 4 * HEAD].split())
        return text if len(text) <= HEAD else text[: HEAD - 1] + "…"

    def _texts(self, values: Mapping[str, Any]) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        if "tokens" in values and "tags" in values:
            return [("text", self.in_words(values))]
        for name, value in values.items():
            if name in NOT_SHOWN:
                continue
            if isinstance(value, str):
                found.append((name, value))
            elif name in ("messages", "prompt", "chosen", "rejected") and isinstance(value, list):
                found += [
                    (f"{name}: {turn['role']}" if name != "messages" else str(turn["role"]),
                     str(turn["content"]))
                    for turn in value
                ]  # fmt: skip
        return found or [("text", self.in_words(values))] if "image" not in values else found

    def _cut(self, name: str, text: str) -> list[str]:
        """[name, text], or of a text that is cut [name, text, how much more there is]."""
        if len(text) <= self.limit:
            return [name, text]
        return [name, text[: self.limit], f"{len(text) - self.limit:,} more characters"]

    def _answer(self, answer: Answer) -> dict[str, Any]:
        found = asdict(answer)
        found["written"] = found["written"] or None
        for name in ("text", "given"):
            if (text := found[name]) is not None and len(text) > self.limit:
                found[name] = text[: self.limit] + "…"
        return {name: value for name, value in found.items() if value is not None}

    def streams(self, streams: list[Stream]) -> list[list[Any]]:
        """Tokens as a page takes them."""
        return [self._stream(stream) for stream in streams]

    def _stream(self, stream: Stream) -> list[Any]:
        tokens = stream.tokens[:MOST_TOKENS]
        learned = stream.supervised
        marks = (
            None if learned is None or all(learned) else [int(on) for on in learned[:MOST_TOKENS]]
        )
        return [stream.name, tokens] if marks is None else [stream.name, tokens, marks]

    def _href(self, values: Mapping[str, Any]) -> str | None:
        """The file of an example's picture, else that of its data, where there is one. A picture's
        path that does not say from where it goes, as beside bytes, would lead to any file."""
        image = values.get("image")
        path = image.get("path") if isinstance(image, Mapping) else image
        places = [Path(self.examples.source)]
        if isinstance(path, str) and Path(path).is_absolute():
            places.insert(0, Path(path))
        return next((place.resolve().as_uri() for place in places if place.exists()), None)


def label_of(values: Mapping[str, Any]) -> str | None:
    """A row's label in words, None if it has none."""
    label = values.get("label")
    if label is None:
        return None
    return ", ".join(map(str, label)) if isinstance(label, list) else str(label)


def names_of_lists(task: Mapping[str, Any], labels: Iterable[Any]) -> dict[str, str]:
    """What a model calls those of some labels that are lists of classes, by `label_of` of them.
    `task`: its settings, as a store notes them."""
    if task.get("problem") == "regression" or "label2id" not in task:
        return {}
    classes, found = Labels(task.get("problem"), task["num_labels"], task["label2id"]), {}
    for row in ({"label": label} for label in labels if isinstance(label, list)):
        with suppress(DataError):
            target = classes.read(row)
            if isinstance(target, list):
                on = [place for place, value in enumerate(target) if value > 0.5]
                found[str(label_of(row))] = in_words(classes, on)
    return found


def _there(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
