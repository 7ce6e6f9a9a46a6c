"""The data of the paper's own scale, from the Hugging Face hub, as rows of the two tasks.

The paper names its styles (cartoons, pixel art, line sketches) but not its files; the data sets
here are public ones of the kind. Nothing here has been run: there was no network to run it on.
"""

from __future__ import annotations

import random
from typing import Any

from experiments.images.tasks import Row, Rows, Sizes, made_up_words, style_prompt, subject_prompt

STYLES = {
    "cartoon": "Norod78/cartoon-blip-captions",
    "anime": "YaYaB/onepiece-blip-captions",
    "fantasy card": "YaYaB/magic-blip-captions",
}
SUBJECTS = "google/dreambooth"


def hub_rows(task: str, sizes: Sizes, seed: int) -> Rows:
    """Rows of one of `tasks.TASKS`."""
    kind, _, unnamed = task.partition("-")
    make = {"style": hub_styles, "subject": hub_subjects}[kind]
    return make(sizes, seed, named=not unnamed)


def hub_styles(sizes: Sizes, seed: int, *, named: bool) -> Rows:
    from datasets import load_dataset

    train: list[Row] = []
    query: list[Row] = []
    for style, name in STYLES.items():
        found = load_dataset(name, split="train").shuffle(seed=seed)
        for number in range(sizes.style_train + sizes.style_queries):
            row: dict[str, Any] = found[number]
            (train if number < sizes.style_train else query).append(
                {
                    "id": f"{style}/{number}",
                    "image": row["image"],
                    "text": style_prompt(style, row["text"], named=named),
                    "class": style,
                    "caption": row["text"],
                }
            )
    return Rows(train, query)


def hub_subjects(sizes: Sizes, seed: int, *, named: bool) -> Rows:
    """All of the data set's subjects that have a picture left over for a query."""
    from datasets import get_dataset_config_names, load_dataset

    draw = random.Random(f"subject {seed}")
    names = made_up_words(draw)
    train: list[Row] = []
    query: list[Row] = []
    for subject in sorted(get_dataset_config_names(SUBJECTS))[: sizes.subjects]:
        pictures = load_dataset(SUBJECTS, subject, split="train").shuffle(seed=seed)
        name, most = next(names), sizes.subject_train + sizes.subject_queries
        if len(pictures) <= sizes.subject_train:
            continue
        for number in range(min(len(pictures), most)):
            (train if number < sizes.subject_train else query).append(
                {
                    "id": f"{name}/{number}",
                    "image": pictures[number]["image"],
                    "text": subject_prompt(name, named=named),
                    "class": name,
                    "caption": subject,
                }
            )
    return Rows(train, query)
