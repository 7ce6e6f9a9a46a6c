"""The study of adapters: bottlenecks by hand, and a cell of each adapter."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from tiny_glue import tiny_base, tiny_settings, without_seconds

from conftest import make_base
from experiments.adapters.bottleneck import Bottleneck, add_bottlenecks
from experiments.adapters.cell import run
from experiments.adapters.settings import ADAPTERS, SETTINGS
from support import NO_PREFIX, takes_prefix

WIDTH, INNER, LAYERS = 16, 24, 2
"""Of the tiny BERT."""
RANK, TOKENS, NARROW = 2, 3, 4
HEAD = WIDTH * 2 + 2
PARAMETERS = {
    "LoRA": LAYERS * 2 * WIDTH * RANK,
    "DoRA": LAYERS * (2 * WIDTH * RANK + WIDTH),
    "IA³": LAYERS * (WIDTH + WIDTH + WIDTH + INNER),  # keys, values, both outputs' inputs
    "prefix tuning": TOKENS * LAYERS * 2 * WIDTH,
    "bottleneck": LAYERS * 2 * (2 * WIDTH * NARROW + WIDTH + NARROW),
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory, tokenizer):
    base = tiny_base(tmp_path_factory.mktemp("base"), tokenizer)
    return replace(
        SETTINGS["quick"], glue=tiny_settings(base), rank=RANK, virtual_tokens=TOKENS,
        bottleneck=NARROW,
    )  # fmt: skip


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_cell_of_each_adapter(settings, name, tmp_path):
    if name == "prefix tuning" and not takes_prefix():
        pytest.skip(NO_PREFIX)
    key = {"adapter": name, "task": "made-up", "seed": 0}
    found = run(key, settings, tmp_path)
    json.dumps(found, allow_nan=False)
    assert found["parameters"] == PARAMETERS[name] + HEAD
    assert found["flipped"] > 0
    assert 0 < found["detection"]["own loss"]["auc"] < 1
    passes = found["passes"]
    assert 0.1 < passes["gradients"] / passes["training"] < 10
    assert 0.1 < passes["ratio"] < 10
    if name == "bottleneck":  # the one that is not peft's, and of which peft does not take care
        again = run(key, settings, tmp_path / "again")
        assert without_seconds(again) == without_seconds(found)


def test_every_adapter_has_a_learning_rate():
    for settings in SETTINGS.values():
        assert set(settings.learning_rates) == set(ADAPTERS)


def test_a_bottleneck_is_its_formula():
    torch.manual_seed(0)
    made = Bottleneck(torch.nn.Linear(5, 6), width=2)
    x = torch.randn(3, 5)
    assert torch.equal(made(x), made.layer(x))  # before training
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    h = made.layer.weight @ x[0] + made.layer.bias
    z = made.down.weight @ h + made.down.bias
    z = z * 0.5 * (1 + torch.erf(z / 2**0.5))
    torch.testing.assert_close(made(x)[0], h + made.up.weight @ z + made.up.bias)


def test_bottlenecks_stand_behind_both_outputs_of_every_layer():
    model = add_bottlenecks(make_base("bert"), behind="output.dense", width=2, head="classifier")
    places = [name for name, m in model.named_modules() if isinstance(m, Bottleneck)]
    assert places == [
        f"bert.encoder.layer.{layer}.{output}.dense"
        for layer in range(LAYERS)
        for output in ("attention.output", "output")
    ]
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all(name.startswith("classifier.") or ".dense." in name for name in trained)
    assert not any(".layer.weight" in name for name in trained)
    assert len(trained) == 4 * len(places) + 2
    with pytest.raises(ValueError, match="no_such"):
        add_bottlenecks(make_base("bert"), behind="no_such", width=2, head="classifier")
