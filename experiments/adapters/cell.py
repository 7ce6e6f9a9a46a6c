"""Does the adapter matter? One adapter fine-tuned on noisy labels, measured as in experiments.glue.

Beside that, how much more than a plain training pass it costs to take each example's gradient. A
block is one tensor, as in the paper, so that prefix tuning has one for all layers (peft holds
them in one tensor), and IA³ one for each of its vectors.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import peft

from experiments.adapters.bottleneck import add_bottlenecks
from experiments.adapters.passes import beside_training
from experiments.adapters.settings import AdapterSettings
from experiments.cells import Key
from experiments.glue.cell import detection, gradients, measured, suspicions
from experiments.glue.data import split
from experiments.glue.finetune import Adapt, lora


def run(key: Key, settings: AdapterSettings, folder: Path) -> dict[str, Any]:
    rate = settings.learning_rates[key["adapter"]]
    sizes = replace(settings.glue, data=settings.data, learning_rate=rate)
    rows = split(key["task"], sizes, sizes.noise, key["seed"])
    done = gradients(rows, sizes, adapt(key["adapter"], settings), key["seed"], folder)
    found, influence = measured(done, key["seed"])
    return found | {
        "detection": detection(suspicions(influence, done), rows),
        "passes": beside_training(done.model, done.task, rows.train),
    }


def adapt(name: str, settings: AdapterSettings) -> Adapt:
    """What puts an adapter into a base; the new head is trained with each.

    Bottlenecks stand where Houlsby et al. put them; IA³'s vectors where peft does.
    """
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
