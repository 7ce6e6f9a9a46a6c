"""Where the pictures come from: emoji from a folder, shapes that we draw, data sets of the hub."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Literal

from experiments.images.drawn import drawn_motifs
from experiments.images.emoji import read_emoji
from experiments.images.hub import hub_rows
from experiments.images.motif import Motif
from experiments.images.tasks import Rows, Sizes, make_rows

Source = Literal["emoji", "drawn", "hub"]
EMOJI = "emoji_styles"
"""The emoji's folder within the folder of all data."""
FOR_BASE: dict[str, int] = {"emoji": 540, "drawn": 21}
"""How many motifs a base is pretrained on; the others, 803 and 51, are for the tasks."""
NOT_SHOWN = frozenset({"1f595"})
"""An obscene gesture: the contact sheets are published."""
SPLIT_SEED = 0
"""Of that division: one for all, since one base serves all seeds of the tasks."""


def task_rows(task: str, source: Source, data: Path | None, sizes: Sizes, seed: int) -> Rows:
    """Training and query rows of one of `tasks.TASKS`."""
    if source == "hub":
        return hub_rows(task, sizes, seed)
    return make_rows(task, for_tasks(source, data), sizes, seed)


def for_base(source: Source, data: Path | None) -> list[Motif]:
    """What a base may be pretrained on: no motif of it is in any task."""
    return _divided(source, data)[0]


def for_tasks(source: Source, data: Path | None) -> list[Motif]:
    """The motifs that no base has seen."""
    return [motif for motif in _divided(source, data)[1] if motif.name not in NOT_SHOWN]


def _divided(source: Source, data: Path | None) -> tuple[list[Motif], list[Motif]]:
    if source == "drawn":
        motifs = drawn_motifs()
    elif data is None:
        raise ValueError("the emoji need a folder of data")
    else:
        motifs = read_emoji(data / EMOJI)
    random.Random(SPLIT_SEED).shuffle(motifs)
    return motifs[: FOR_BASE[source]], motifs[FOR_BASE[source] :]
