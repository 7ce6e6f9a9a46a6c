"""Which columns make a data set for which task, by the names that people use.

The tasks themselves stand in `datainf.tasks.kinds`, under the same names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Layout:
    """One way to lay out the rows of a task: part → column.

    Of `together`, one of several sets of parts that have their names in common; with each of
    `alone`, by the first of its names that is there; and the `optional` parts that are there, by
    their own names.
    """

    together: tuple[Mapping[str, str], ...] = ({},)
    alone: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    optional: tuple[str, ...] = ()

    @property
    def parts(self) -> set[str]:
        return {*self.alone, *self.optional, *(part for names in self.together for part in names)}

    def match(self, names: Sequence[str], given: Mapping[str, str]) -> dict[str, str] | None:
        """Part → column, None where the columns do not make this layout with all that is given.

        Beside a part that a person named, the others of its set go by their own names.
        """
        if not given.keys() <= self.parts:
            return None
        alone = {part: _alone(part, found, names, given) for part, found in self.alone.items()}
        extra = {part: part for part in self.optional if part in names}
        for convention in self.together:
            columns = self._set(convention, given) | alone
            fits = all(column in names for column in columns.values())
            if fits and given.keys() <= columns.keys() | extra.keys():
                return {part: str(column) for part, column in columns.items()} | extra
        return None

    def _set(
        self, convention: Mapping[str, str], given: Mapping[str, str]
    ) -> dict[str, str | None]:
        if given.keys() & {part for names in self.together for part in names}:
            return {part: given.get(part, part) for part in convention}
        return dict(convention)


def _alone(
    part: str, conventional: Sequence[str], names: Sequence[str], given: Mapping[str, str]
) -> str | None:
    return given.get(part) or next((name for name in conventional if name in names), None)


def _pairs(first: str, second: str, *columns: tuple[str, str]) -> tuple[dict[str, str], ...]:
    return tuple({first: one, second: two} for one, two in columns)


LABEL = ("label", "labels")
IMAGE = ("image", "img", "image_path", "file_name")
CAPTION = ("text", "caption", "prompt")
TAGS = ("ner_tags", "tags", "labels", "pos_tags")
TOKENS = ({"input_ids": "input_ids"},)
TOKENS_AND_LABELS = ({"input_ids": "input_ids", "labels": "labels"},)

CONVENTIONS: dict[str, tuple[Layout, ...]] = {
    "causal-lm": (
        Layout(
            TOKENS,
            optional=(
                "attention_mask", "labels", "completion_mask", "assistant_masks", "position_ids",
                "seq_lengths",
            ),
        ),
        Layout(
            (
                {"messages": "messages"},
                {"prompt": "prompt", "completion": "completion"},
                {"text": "text"},
            )
        ),
    ),
    "classification": (
        Layout(
            (
                *_pairs(
                    "text",
                    "text_pair",
                    ("sentence1", "sentence2"),
                    ("question1", "question2"),
                    ("premise", "hypothesis"),
                    ("question", "sentence"),
                    ("text", "text_pair"),
                ),
                {"text": "text"},
                {"text": "sentence"},
            ),
            {"label": LABEL},
        ),
        Layout(TOKENS, {"label": LABEL}, ("attention_mask", "token_type_ids")),
    ),
    "token-classification": (
        Layout(alone={"tokens": ("tokens", "words"), "tags": TAGS}),
        Layout(TOKENS_AND_LABELS, optional=("attention_mask", "token_type_ids")),
    ),
    "seq2seq": (
        Layout(TOKENS_AND_LABELS, optional=("attention_mask",)),
        Layout(
            _pairs(
                "source",
                "target",
                ("source", "target"),
                ("prompt", "completion"),
                ("question", "answer"),
                ("document", "summary"),
                ("article", "highlights"),
                ("input", "output"),
                ("text", "summary"),
            )
        ),
    ),
    "preference": (
        Layout(
            (
                {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
                {"chosen": "chosen", "rejected": "rejected"},
            ),
            optional=("ref_chosen_logps", "ref_rejected_logps"),
        ),
        Layout(
            (
                {
                    "prompt_ids": "prompt_ids",
                    "chosen_ids": "chosen_ids",
                    "rejected_ids": "rejected_ids",
                },
            ),
            optional=("ref_chosen_logps", "ref_rejected_logps"),
        ),
    ),
    "image-classification": (
        Layout(alone={"image": IMAGE, "label": LABEL}),
        Layout(alone={"pixel_values": ("pixel_values",), "label": LABEL}),
    ),
    "text-to-image": (
        Layout(alone={"image": IMAGE, "text": CAPTION}),
        Layout(alone={"pixel_values": ("pixel_values",), "text": CAPTION}),
    ),
}  # fmt: skip
"""Where columns fit several tasks equally, the one that stands first has them; see `columns`."""


def in_words(task: str) -> str:
    """The columns that a task understands, for messages."""
    sets = []
    for layout in CONVENTIONS[task]:
        for convention in layout.together:
            columns = [*convention.values(), *("/".join(names) for names in layout.alone.values())]
            sets.append(" + ".join(columns))
    return f"{task}: {', '.join(dict.fromkeys(sets))}"
