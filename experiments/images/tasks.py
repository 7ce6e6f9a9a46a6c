"""The paper's two tasks, as training rows and query rows (its section 4.3).

*style*: three styles, prompt `Generate an image in a specific {style} style. {caption}`; a query's
relevant rows are those of its style. *subject*: 31 subjects with a made-up word as their name, a
few pictures of each in several places, prompt `A picture of {name}`.

The prompt names the class, and so text alone gives it away; `-unnamed` tasks leave the name out.

A row has `id`, `image`, `text` (the prompt), `class` and `caption`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.images.looks import BACKGROUNDS, cut_out, moved, on
from experiments.images.motif import Motif

TASKS = ("style", "subject", "style-unnamed", "subject-unnamed")
SYLLABLES = ("zo", "ka", "mi", "ru", "fe", "do", "va", "qui", "ty", "sha", "lo", "pre")

Row = dict[str, Any]


@dataclass(frozen=True)
class Rows:
    """What is fine-tuned on, and what is asked about."""

    train: list[Row]
    query: list[Row]

    @property
    def classes(self) -> tuple[list[str], list[str]]:
        """Of the queries, and of the training rows: as `class_detection` takes them."""
        query, train = ([row["class"] for row in part] for part in (self.query, self.train))
        return query, train


@dataclass(frozen=True)
class Sizes:
    """How many pictures a task has. A subject has 1 to `queries` query pictures."""

    style_train: int = 200
    style_queries: int = 50
    subjects: int = 31
    subject_train: int = 3
    subject_queries: int = 3


def make_rows(task: str, motifs: Sequence[Motif], sizes: Sizes, seed: int) -> Rows:
    """Rows of one of `TASKS`, all of them of the seed alone."""
    kind, _, unnamed = task.partition("-")
    make = {"style": style_rows, "subject": subject_rows}[kind]
    return make(motifs, sizes, seed, named=not unnamed)


def style_prompt(style: str, caption: str, *, named: bool = True) -> str:
    """`named=False` leaves the style out."""
    return f"Generate an image in a specific {style} style. {caption}" if named else caption


def subject_prompt(name: str, *, named: bool = True) -> str:
    """`named=False` leaves the name out: all subjects then have the same prompt."""
    return f"A picture of {name}" if named else "A picture"


def style_rows(motifs: Sequence[Motif], sizes: Sizes, seed: int, *, named: bool) -> Rows:
    """No motif is in two parts, nor in two styles, so that only the style is shared.

    Raises `ValueError` if there are too few motifs.
    """
    styles = sorted(motifs[0].pictures)
    per_style = sizes.style_train + sizes.style_queries
    if len(motifs) < per_style * len(styles):
        raise ValueError(f"{len(motifs)} motifs; {per_style} a style were asked for")
    chosen = random.Random(f"style {seed}").sample(list(motifs), per_style * len(styles))
    train: list[Row] = []
    query: list[Row] = []
    for number, motif in enumerate(chosen):
        style, place = styles[number // per_style], number % per_style
        (train if place < sizes.style_train else query).append(
            {
                "id": f"{style}/{motif.code}",
                "image": motif.pictures[style],
                "text": style_prompt(style, motif.caption, named=named),
                "class": style,
                "caption": motif.caption,
            }
        )
    return Rows(train, query)


def subject_rows(motifs: Sequence[Motif], sizes: Sizes, seed: int, *, named: bool) -> Rows:
    """Each subject a motif in one style, in places of its own; queries are on backgrounds that
    none of their subject's training pictures has.

    Raises `ValueError` if there are too few motifs.
    """
    draw = random.Random(f"subject {seed}")
    if len(motifs) < sizes.subjects:
        raise ValueError(f"{len(motifs)} motifs; {sizes.subjects} subjects were asked for")
    chosen = draw.sample(list(motifs), sizes.subjects)
    names = made_up_words(draw)
    train: list[Row] = []
    query: list[Row] = []
    for motif, name in zip(chosen, names, strict=False):
        style = draw.choice(in_colour(motif))
        subject = cut_out(motif.picture(style))
        queries = draw.randint(1, sizes.subject_queries)
        places = draw.sample(sorted(BACKGROUNDS), sizes.subject_train + queries)
        for number, background in enumerate(places):
            (train if number < sizes.subject_train else query).append(
                {
                    "id": f"{name}/{number}",
                    "image": on(moved(subject, draw, smallest=0.65), background),
                    "text": subject_prompt(name, named=named),
                    "class": name,
                    "caption": motif.caption,
                }
            )
    return Rows(train, query)


def in_colour(motif: Motif) -> list[str]:
    """A motif's styles but for lines in black, which would be lost on a dark background."""
    return [style for style in sorted(motif.pictures) if not style.endswith("_black")]


def made_up_words(draw: random.Random) -> Iterator[str]:
    """Words of three syllables without end, none twice."""
    seen: set[str] = set()
    while True:
        word = "".join(draw.choices(SYLLABLES, k=3))
        if word not in seen:
            seen.add(word)
            yield word
