"""One fine-tuned model's gradients, both as stores and as the released loops want them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

import datainf
from experiments.cost import released
from experiments.cost.mean_query import mean_query
from experiments.cost.timing import Seconds, whole
from experiments.glue.data import split
from experiments.glue.finetune import finetune, lora
from experiments.glue.likeness import likeness
from experiments.glue.settings import GlueSettings


@dataclass(frozen=True)
class Gradients:
    """Training gradients, those of the validation rows, and their mean as a store of one query;
    the first and the last again as the loops want them. `times` is what taking them took;
    `baselines` is influence [n] that needs no gradient."""

    train: datainf.GradientStore
    query: datainf.GradientStore
    one: datainf.GradientStore
    loop_train: list[released.Gradients]
    loop_query: released.Gradients
    times: dict[str, dict[str, float]]
    baselines: dict[str, Tensor]


def collect(
    task_name: str, settings: GlueSettings, rank: int, loop_rows: int, folder: Path
) -> Gradients:
    """Fine-tune, and take the gradients of the parameters that the released code takes.

    Of `loop_rows` training rows they are taken one at a time as well, for the time alone.
    """
    rows = split(task_name, settings, settings.noise, seed=0)
    model, task = finetune(rows.train, settings, lora(settings, rank), 0, folder)
    parameters, times = released.trainable(model), {}
    for name, part in (("train", rows.train), ("validation", rows.validation)):
        times[name] = rate(
            len(part),
            partial(datainf.collect, model, part, task, out=folder / name, trainable=parameters),
        )
    alone = rows.train[:loop_rows]
    times["one at a time"] = rate(len(alone), lambda: released.gradients(model, task, alone))
    train, query = (datainf.GradientStore.open(folder / part) for part in ("train", "validation"))
    return Gradients(
        train, query, mean_query(query, folder / "mean"), released.from_store(train),
        released.mean(released.from_store(query)), times, likeness(model, task, rows, seed=0),
    )  # fmt: skip


def rate(rows: int, call: Callable[[], object]) -> Seconds:
    """What taking the gradients of so many rows needs, in all and a row."""
    seconds = whole(call)()["seconds"]
    return {"rows": rows, "seconds": seconds, "ms_a_row": 1000 * seconds / rows}
