"""Does the adapter matter? Mislabelled data and approximation error, adapter by adapter.

Each of five adapters of like size is fine-tuned on the same rows, a fifth of them with a flipped
label, and all is measured as in `experiments.glue`; and how much more than a plain training pass
it costs to take each example's gradient. A block is one tensor, as in the paper, so that prefix
tuning has one for all layers (peft holds them in one tensor), and IA³ one for each vector.

The desk's learning rates are the best of a short search by accuracy on clean test rows after
training on noisy ones; the paper has LoRA's alone, and the others at its scale are what their
papers and peft recommend.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import glue
from experiments.cells import GRID, Key
from experiments.glue.settings import GlueSettings

if TYPE_CHECKING:
    from experiments.glue.finetune import Adapt

ADAPTERS = ("LoRA", "DoRA", "IA³", "prefix tuning", "bottleneck")


@dataclass(frozen=True)
class AdapterSettings:
    """`glue` says all but the learning rate, which is each adapter's own."""

    glue: GlueSettings
    learning_rates: dict[str, float]
    rank: int = 4
    """Of LoRA and DoRA."""
    virtual_tokens: int = 10
    """Of prefix tuning."""
    bottleneck: int = 4
    """Width of the bottlenecks, of which each layer has two."""
    adapters: tuple[str, ...] = field(default=ADAPTERS, metadata=GRID)
    tasks: tuple[str, ...] = field(default=("SST-2", "QQP"), metadata=GRID)
    seeds: int = field(default=3, metadata=GRID)
    data: Path | None = field(default=None, metadata=GRID)


SETTINGS = {
    "paper": AdapterSettings(
        glue.SETTINGS["paper"],
        {"LoRA": 3e-4, "DoRA": 3e-4, "IA³": 3e-3, "prefix tuning": 5e-3, "bottleneck": 3e-4},
        rank=8, virtual_tokens=20, bottleneck=16,
    ),
    "desk": AdapterSettings(
        replace(glue.SETTINGS["desk"], train_rows=300),
        {"LoRA": 3e-3, "DoRA": 3e-3, "IA³": 1e-2, "prefix tuning": 1e-2, "bottleneck": 3e-3},
    ),
    "quick": AdapterSettings(
        replace(glue.SETTINGS["quick"], train_rows=60),
        {"LoRA": 3e-3, "DoRA": 3e-3, "IA³": 1e-2, "prefix tuning": 1e-2, "bottleneck": 3e-3},
        tasks=("made-up",), seeds=1,
    ),
}  # fmt: skip


def cells(settings: AdapterSettings) -> list[Key]:
    return [
        {"adapter": adapter, "task": task, "seed": seed}
        for seed in range(settings.seeds)
        for task in settings.tasks
        for adapter in settings.adapters
    ]


def run(key: Key, settings: AdapterSettings, folder: Path) -> dict[str, Any]:
    from experiments.glue.cell import detection, gradients, measured, suspicions
    from experiments.glue.data import split
    from experiments.passes import beside_training

    sizes = replace(
        settings.glue, data=settings.data, learning_rate=settings.learning_rates[key["adapter"]]
    )
    rows = split(key["task"], sizes, sizes.noise, key["seed"])
    done = gradients(rows, sizes, adapt(key["adapter"], settings), key["seed"], folder)
    found, influence = measured(done, key["seed"])
    return found | {
        "detection": detection(suspicions(influence, done), rows),
        "passes": beside_training(done.model, done.task, rows.train),
    }


def adapt(name: str, settings: AdapterSettings) -> Adapt:
    """What puts an adapter of `ADAPTERS` into a base; the new head is trained with each."""
    from functools import partial

    import peft

    from experiments.bottleneck import add_bottlenecks
    from experiments.glue.finetune import lora

    if name == "LoRA":
        return lora(settings.glue, settings.rank)
    if name == "bottleneck":
        return partial(
            add_bottlenecks, behind="output.dense", width=settings.bottleneck, head="classifier"
        )
    configs = {
        "DoRA": peft.LoraConfig(
            task_type="SEQ_CLS", r=settings.rank, lora_alpha=settings.rank, use_dora=True,
            lora_dropout=settings.glue.lora_dropout, target_modules=list(settings.glue.targets),
            modules_to_save=["classifier"],
        ),
        "IA³": peft.IA3Config(task_type="SEQ_CLS", modules_to_save=["classifier"]),
        "prefix tuning": peft.PrefixTuningConfig(
            task_type="SEQ_CLS", num_virtual_tokens=settings.virtual_tokens
        ),
    }  # fmt: skip
    return partial(peft.get_peft_model, peft_config=configs[name])
