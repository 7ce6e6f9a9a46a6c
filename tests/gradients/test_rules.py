"""Each rule, and LoRA around each kind of layer, against one-at-a-time autograd in float64."""

from __future__ import annotations

import peft
import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from datainf import tasks
from datainf.gradients.engine import PerExample
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import select
from datainf.gradients.rules import rule_of
from datainf.gradients.verify import each_alone

CPU = torch.device("cpu")
MODES = ("zeros", "reflect", "replicate", "circular")
CONVOLUTIONS = {
    "plain": {"kernel_size": 3},
    "strided with a rest": {"kernel_size": 3, "stride": 2, "padding": 1},
    "grouped": {"kernel_size": 3, "groups": 2},
    "by channel": {"kernel_size": 3, "groups": 4, "padding": 1},
    "dilated": {"kernel_size": 3, "dilation": 2, "padding": 2},
    "same": {"kernel_size": 4, "padding": "same"},
    "valid": {"kernel_size": 2, "padding": "valid", "stride": 3},
    "without bias": {"kernel_size": 1, "bias": False},
} | {f"{mode} padding": {"kernel_size": 3, "padding": 2, "padding_mode": mode} for mode in MODES}
SQUARE = {
    "oblong": {
        "kernel_size": (3, 2), "stride": (1, 2), "padding": (2, 1), "dilation": (2, 1),
        "groups": 2, "padding_mode": "circular",
    }
}  # fmt: skip


def layers():
    for name, options in CONVOLUTIONS.items():
        yield f"Conv1d, {name}", nn.Conv1d(4, 4, **options), (4, 9)
    for name, options in (CONVOLUTIONS | SQUARE).items():
        yield f"Conv2d, {name}", nn.Conv2d(4, 4, **options), (4, 7, 8)
    yield "Linear", nn.Linear(5, 3), (5,)
    yield "Linear over positions", nn.Linear(5, 3), (4, 2, 5)
    yield "Conv1D", Conv1D(3, 5), (4, 5)
    yield "LayerNorm", nn.LayerNorm(5), (4, 5)
    yield "LayerNorm over two", nn.LayerNorm((4, 5)), (3, 4, 5)
    yield "LayerNorm without bias", nn.LayerNorm(5, bias=False), (5,)
    yield "RMSNorm", nn.RMSNorm(5), (4, 5)
    yield "RMSNorm with epsilon", nn.RMSNorm(5, eps=0.1), (5,)
    yield "GroupNorm", nn.GroupNorm(2, 4), (4, 3, 3)
    yield "GroupNorm of vectors", nn.GroupNorm(2, 4), (4,)


LAYERS = {name: (layer, shape) for name, layer, shape in layers()}


def squared(model, batch):
    output = model(batch)
    weights = torch.linspace(0.5, 1.5, output[0].numel(), dtype=output.dtype).view_as(output[0])
    return (output.square() * weights).flatten(1).sum(1)


def require_exact(model, rows, size):
    chosen, task = select(model), tasks.Custom(squared)
    with evaluating(model):
        engine = PerExample(model, chosen, task, CPU, fallback=False)
        truth = each_alone(model, chosen, task, rows, CPU)
        for start in range(0, len(rows), size):
            found = engine(rows[start : start + size])
            for name, gradient in truth.gradients.items():
                right = gradient[start : start + size]
                assert right.norm() > 0
                assert torch.allclose(found.gradients[name], right, rtol=1e-9, atol=1e-11), name
    assert not engine.alone


def spread(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module.double()


@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_with_a_rule(name, size):
    torch.manual_seed(0)
    layer, shape = LAYERS[name]
    assert rule_of(layer) is not None
    rows = list(torch.randn(8, *shape, dtype=torch.float64))
    require_exact(nn.Sequential(spread(layer)), rows, size)


@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("padding_idx", [None, 0])
def test_an_embedding(padding_idx, size):
    """Also one whose row for padding is never trained."""
    torch.manual_seed(0)
    model = nn.Sequential(spread(nn.Embedding(9, 5, padding_idx=padding_idx)))
    assert rule_of(model[0]) is not None
    require_exact(model, list(torch.randint(0, 9, (8, 6))), size)


@pytest.mark.parametrize("options", [{}, {"use_dora": True}], ids=["LoRA", "DoRA"])
@pytest.mark.parametrize("name", [name for name in LAYERS if name.startswith("Conv2d")])
def test_lora_on_a_convolution(name, options):
    torch.manual_seed(0)
    layer, shape = LAYERS[name]
    if options and layer.groups > 1:
        pytest.skip("peft's DoRA knows no groups")
    if layer.dilation != (1, 1):
        pytest.skip("peft does not dilate its own convolution, and its forward fails")
    r = max(2, layer.groups)
    config = peft.LoraConfig(r=r, target_modules=["0"], init_lora_weights=False, **options)
    model = spread(peft.get_peft_model(nn.Sequential(layer), config))
    require_exact(model, list(torch.randn(8, *shape, dtype=torch.float64)), 3)


@pytest.mark.parametrize("name", LAYERS)
def test_no_rows_give_no_gradients(name):
    layer, shape = LAYERS[name]
    layer = layer.double()
    X = torch.zeros(0, *shape, dtype=torch.float64)
    dY = torch.zeros_like(layer(torch.zeros(1, *shape, dtype=torch.float64)))[:0]
    found = rule_of(layer)(layer, X, dY, frozenset(dict(layer.named_parameters())))
    for local, gradient in found.items():
        assert gradient.shape == (0, *layer.get_parameter(local).shape)


@pytest.mark.parametrize("kind", [nn.Linear, Conv1D], ids=["by class", "by name"])
def test_a_subclass_with_a_forward_of_its_own_has_no_rule(kind):
    class Doubled(kind):
        def forward(self, X):
            return 2 * super().forward(X)

    class Named(kind):
        pass

    assert rule_of(Doubled(2, 2)) is None
    assert rule_of(Named(2, 2)) is rule_of(kind(2, 2)) is not None


def test_parameters_in_containers_have_no_rule_of_the_module_that_holds_those():
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    assert rule_of(layer, ["bias"]) is not None
    assert rule_of(layer, ["parametrizations.weight.original0"]) is None
