"""On another device everything is what it is on the CPU, for every method and every kind of store:
on a device that is pretended, and on a GPU where there is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import pretend_device
from close import alone
from conftest import make_model, make_rows
from datainf import (
    attribute,
    attribute_top,
    collect,
    collect_curvature,
    projection,
    self_influence,
    sweep,
    tasks,
)
from datainf.estimators import BY_NAME
from datainf.gradients.engine import FallbackWarning
from datainf.linalg import ChunkedMatrix
from datainf.projection import Projection
from pretend_device import CAN_RUN_MODELS, PretendDevice

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
DAMPING = "trace:0.1"
"""Far from the rounding of float32, which a GPU does in another order."""
ROWS = make_rows("llama")


@dataclass(frozen=True)
class Elsewhere:
    """device: to be named to the library; moved: a model with all that it has there."""

    device: torch.device
    moved: Callable[[nn.Module], nn.Module]


@pytest.fixture(params=["pretended", pytest.param("cuda", marks=NO_GPU)])
def elsewhere(request):
    if request.param == "cuda":
        yield Elsewhere(torch.device("cuda"), lambda model: model.cuda())
        return
    with PretendDevice():
        yield Elsewhere(pretend_device.DEVICE, pretend_device.moved)


@pytest.fixture
def task(tokenizer):
    return tasks.CausalLM(tokenizer)


def moments_of(model):
    draw = torch.Generator().manual_seed(4)
    return {
        name: torch.rand(p.shape, generator=draw) for name, p in model.named_parameters()
        if p.requires_grad
    }  # fmt: skip


def apart(found, right):
    """How far one tensor is from another, by its norm."""
    return float((found.double() - right.double()).norm() / right.double().norm().clamp_min(1e-30))


@pytest.fixture(scope="module")
def stores(tmp_path_factory, tokenizer):
    """Training gradients as they are, rounded and projected, each with its curvature."""
    folder, model = tmp_path_factory.mktemp("stores"), make_model("llama")
    task, kinds = tasks.CausalLM(tokenizer), {"whole": {}, "int8": {"dtype": "int8"},
                                              "projected": {"project": 4}}  # fmt: skip
    return {
        kind: (
            collect(model, ROWS, task, out=folder / kind, shard_rows=4, sample=False,
                    second_moments=moments_of(model), **options),
            collect_curvature(model, ROWS, task, out=folder / f"{kind} curvature", rows=7,
                              **options),
        )
        for kind, options in kinds.items()
    }  # fmt: skip


CASES = {
    "whole": {"blocks": "model", "normalize": "root", "metric": "fisher"},
    "int8": {"blocks": "module", "normalize": "unit", "metric": "adam"},
    "projected": {"blocks": "tensor", "normalize": "none", "metric": "none"},
}


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("method", BY_NAME)
def test_scores(stores, elsewhere, method, kind):
    (train, drawn), options = stores[kind], CASES[kind] | {"damping": DAMPING}
    curvatures = [drawn] if BY_NAME[method].has_curvature else [None]
    if not BY_NAME[method].needs_curvature:
        curvatures.append(None)
    for curvature in curvatures:
        told = options | {"curvature": curvature}
        right = attribute(train, train, method, **told).values
        found = attribute(train, train, method, device=elsewhere.device, **told).values
        assert found.device.type == "cpu"
        assert apart(found, right) < 1e-4
        top = attribute_top(train, train, method, k=3, device=elsewhere.device, **told)
        assert apart(top.helpful.scores, right.topk(3).values) < 1e-4
        own = self_influence(train, method, device=elsewhere.device, **told)
        assert apart(own, self_influence(train, method, **told)) < 1e-4


@pytest.mark.parametrize("method", ["exact", "gauss-newton", "datainf"])
def test_several_dampings(stores, elsewhere, method):
    """The eigendecomposition that serves them, and the precise way for one that is small."""
    train, drawn = stores["whole"]
    options = {"dampings": ["trace:0.1", "trace:1e-6"], "curvature": drawn}
    right = sweep(train, train, method, **options)
    found = sweep(train, train, method, device=elsewhere.device, **options)
    for one, other in zip(found, right, strict=True):
        assert apart(one.values, other.values) < 1e-3


STORES = {
    "float32": {},
    "bfloat16": {"dtype": "bfloat16"},
    "int8": {"dtype": "int8"},
    "projected": {"project": 4},
    "projected in Adam's metric": {"project": Projection(4, metric="adam")},
    "projected, int8": {"project": 4, "dtype": "int8"},
}
STEP = {"bfloat16": 0.005, "int8": 0.02}
"""What rounding may make of a last place of float32, of a row's norm."""


@CAN_RUN_MODELS
@pytest.mark.parametrize("formed", [100, 2**20], ids=["by sides", "whole"])
@pytest.mark.parametrize("kind", STORES)
def test_collections(elsewhere, task, tmp_path, monkeypatch, kind, formed):
    monkeypatch.setattr(projection, "FORMED", formed)
    made = [
        collect(
            model, ROWS, task, out=tmp_path / name, batch_tokens=200, shard_rows=4, sample=False,
            second_moments=moments_of(make_model("llama")), **STORES[kind],
        )
        for name, model in (
            ("here", make_model("llama")), ("there", elsewhere.moved(make_model("llama")))
        )
    ]  # fmt: skip
    here, there = made
    assert here.index.fingerprints == there.index.fingerprints
    assert apart(there.losses, here.losses) < 1e-4
    for name, block in here.blocks.items():
        found, right = there.blocks[name].to_dense(), block.to_dense()
        assert apart(found, right) < STEP.get(here.index.dtype, 1e-4)
        assert apart(found.square().sum(1), there.blocks[name].sq_norms) < 1e-5


class Beside(nn.Module):
    """A parameter that its task uses outside every forward, and one that nothing uses."""

    def __init__(self):
        super().__init__()
        draw = torch.Generator().manual_seed(2)
        self.weight = nn.Parameter(torch.randn(8, 12, generator=draw))
        self.unused = nn.Parameter(torch.randn(40, generator=draw))
        self.inner = nn.Linear(12, 12)

    def forward(self, x):
        return self.inner(x)


@pytest.mark.filterwarnings("ignore::datainf.gradients.engine.UnusedWarning")
def test_examples_that_are_taken_alone(elsewhere, tmp_path):
    torch.manual_seed(0)
    model = Beside()
    examples = list(torch.randn(6, 12))
    task = tasks.Custom(
        lambda model, x: (model(x) @ model.weight.T).square().sum(-1), collate=torch.stack
    )
    truth = alone(model, task, examples)
    with pytest.warns(FallbackWarning):
        store = collect(elsewhere.moved(model), examples, task, out=tmp_path / "s", batch_tokens=4)
    for name, gradients in truth.items():
        assert apart(store.blocks[name].to_dense(), gradients) < 1e-4


class InTwoPlaces(nn.Module):
    """Half of it on the CPU, half elsewhere."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(12, 16), nn.Linear(16, 4)

    def forward(self, x):
        x = torch.tanh(self.first(x))
        return self.second(x.to(self.second.weight.device)).square().sum(-1)


@pytest.mark.parametrize("project", [None, 2])
def test_a_model_in_two_places(elsewhere, tmp_path, project):
    torch.manual_seed(0)
    model, examples = InTwoPlaces(), list(torch.randn(6, 12))
    task = tasks.Custom(lambda model, x: model(x), collate=torch.stack)
    options = {"project": project, "sample": False, "batch_tokens": 4}
    right = collect(model, examples, task, out=tmp_path / "a", **options)
    elsewhere.moved(model.second)
    found = collect(model, examples, task, out=tmp_path / "b", **options)
    for name, block in right.blocks.items():
        assert apart(found.blocks[name].to_dense(), block.to_dense()) < 1e-4


@pytest.mark.parametrize("metric", ["adam", "fisher"])
def test_norms_and_metrics_are_taken_there(stores, elsewhere, monkeypatch, metric):
    """No pass over the rows is the CPU's."""
    train, read, rows = stores["whole"][0], [], ChunkedMatrix.rows
    monkeypatch.setattr(
        ChunkedMatrix, "rows", lambda G, *told: read.append(G.device.type) or rows(G, *told)
    )
    options = {"metric": metric, "normalize": "unit", "device": elsewhere.device}
    attribute(train, train, "ridge", **options)
    self_influence(train, "ridge", **options)
    assert set(read) == {elsewhere.device.type}
