"""Smaller stores: int8, bfloat16 and projected rows against the full ones, however made."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from conftest import make_rows
from datainf import GradientStore, attribute, collect, self_influence, tasks
from datainf import projection as projection_module
from datainf.errors import OptionError, StoreMismatchError
from datainf.gradients import prepare, sample
from datainf.gradients.collector import max_rows
from datainf.gradients.engine import FallbackWarning
from datainf.gradients.parameters import select
from datainf.gradients.verify import each_alone
from datainf.progress import Silent
from datainf.projection import Projection, TwoSided
from datainf.second_moments import metric_scale


@pytest.fixture
def rows():
    return make_rows("llama") * 2


@pytest.fixture
def task(tokenizer):
    return tasks.CausalLM(tokenizer)


def truth(model, rows, task):
    """Every example's whole gradient by plain autograd."""
    fitted, device = task.for_model(model), torch.device("cpu")
    return each_alone(model.eval(), select(model), fitted, rows, device).gradients


def relative(found, right):
    size = right.double().norm()
    return float((found.double() - right.double()).norm() / (size if size > 0 else 1))


def projected_truth(gradients, index, ratio, scales=None):
    found = {}
    for block in index.blocks:
        rows = gradients[block.name].double()
        rows = rows if scales is None else rows * scales[block.name]
        sketch = Projection(ratio).of(block.name, block.shape)
        found[block.name] = rows if sketch is None else sketch(rows)
    return found


def assert_projected(store, gradients, ratio, scales=None):
    right = projected_truth(gradients, store.index, ratio, scales)
    for name, block in store.blocks.items():
        assert relative(block.to_dense(), right[name]) < 1e-4
        assert block.parameters == gradients[name].shape[1]
    assert any(b.columns < b.width for b in store.index.blocks)


@pytest.mark.parametrize("dtype", ["bfloat16", "int8", torch.float16])
def test_rounded_rows_differ_by_their_step_alone(llama, rows, task, tmp_path, dtype):
    store = collect(llama, rows, task, out=tmp_path / "s", dtype=dtype, shard_rows=5)
    right = truth(llama, rows, task)
    for place, (name, block) in enumerate(store.blocks.items()):
        found, full = block.to_dense(), right[name]
        if dtype == "int8":
            step = full.abs().amax(dim=1, keepdim=True) / 127
        else:
            bits = {"bfloat16": 8, torch.float16: 11}[dtype]
            step = 2.0 ** (1 - bits) * full.abs() + 1e-7
        assert bool(((found - full).abs() <= 0.51 * step + 1e-5 * full.abs().max()).all())
        assert found.dtype == torch.float32
        assert torch.allclose(store.sq_norms[:, place], found.square().sum(1), rtol=1e-5)
        assert torch.allclose(block.sq_norms, store.sq_norms[:, place])
    full_bytes = 4 * sum(b.width for b in store.index.blocks)
    assert store.index.row_bytes == full_bytes // (4 if dtype == "int8" else 2)


def test_an_int8_store_is_resumed_and_zero_rows_stay_zero(llama, rows, task, tmp_path):
    collect(llama, rows, task, out=tmp_path / "whole", dtype="int8", shard_rows=4)
    half = collect(llama, rows, task, out=tmp_path / "half", dtype="int8", shard_rows=4)
    half.index.shards = half.index.shards[:1]
    half.index.save(tmp_path / "half")
    collect(llama, rows, task, out=tmp_path / "half", dtype="int8", shard_rows=4)
    for path in (tmp_path / "whole").glob("*.safetensors"):
        assert (tmp_path / "half" / path.name).read_bytes() == path.read_bytes()
    with pytest.raises(StoreMismatchError, match=r"--store \(int8 there, float32 asked for\)"):
        collect(llama, rows, task, out=tmp_path / "half")
    with torch.no_grad():
        for name, parameter in llama.named_parameters():
            if "lora_B" in name:
                parameter.zero_()
    store = collect(llama, rows, task, out=tmp_path / "zero", dtype="int8")
    zeros = [block for name, block in store.blocks.items() if "lora_A" in name]
    assert zeros
    assert not any(block.to_dense().any() for block in zeros)
    assert torch.isfinite(attribute(store, store, "datainf").values).all()


def test_projected_rows_are_the_sketches_of_the_full_ones(llama, rows, task, tmp_path):
    store = collect(llama, rows, task, out=tmp_path / "s", project=4, shard_rows=5)
    assert_projected(store, truth(llama, rows, task), 4)
    assert store.index.projection == {"ratio": 4, "seed": 0, "metric": "none"}
    again = GradientStore.open(tmp_path / "s")
    assert [b.columns for b in again.index.blocks] == [b.columns for b in store.index.blocks]


def test_large_layers_are_projected_before_their_product_is_formed(
    rows, task, tmp_path, monkeypatch, llama
):
    """The same numbers as of the formed product; and it is not formed."""
    monkeypatch.setattr(projection_module, "FORMED", 100)
    seen = []
    sides = TwoSided.sides
    monkeypatch.setattr(
        TwoSided, "sides", lambda s, like: seen.append(like.dim()) or sides(s, like)
    )
    store = collect(llama, rows, task, out=tmp_path / "s", project=4, trainable="*q_proj*weight")
    assert 3 in seen, "X [B, T, in] was not what was projected"
    monkeypatch.undo()
    monkeypatch.setattr(projection_module, "FORMED", 100)
    model = copy.deepcopy(llama)
    names = [b.name for b in store.index.blocks]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    assert_projected(store, truth(model, rows, task), 4)


class Hooked(nn.Module):
    """Layers with a rule and without one, a parameter with a hook, and one that nothing uses."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(12, 16), nn.Bilinear(16, 16, 4)
        self.hooked, self.unused = nn.Linear(4, 40), nn.Linear(10, 10)
        mask = torch.arange(40)[:, None] % 2
        self.hooked.weight.register_hook(lambda g: g * mask)

    def forward(self, x):
        x = torch.tanh(self.first(x))
        return self.hooked(self.second(x, x)).square().sum(-1)


def hooked_task():
    return tasks.Custom(lambda model, x: model(x), collate=torch.stack)


@pytest.mark.filterwarnings("ignore::datainf.gradients.engine.UnusedWarning")
@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("formed", [10, 2**20])
def test_whatever_way_a_gradient_is_taken_it_is_projected_alike(tmp_path, monkeypatch, formed):
    monkeypatch.setattr(projection_module, "FORMED", formed)
    model, rows = Hooked(), list(torch.randn(7, 12, generator=torch.Generator().manual_seed(1)))
    store = collect(model, rows, hooked_task(), out=tmp_path / "s", project=3)
    assert_projected(store, truth(model, rows, hooked_task()), 3)
    assert not store.blocks["unused.weight"].to_dense().any()


class Beside(nn.Module):
    """A parameter that the task uses outside every forward."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 12, generator=torch.Generator().manual_seed(2)))

    def forward(self, x):
        return x


def test_examples_that_are_taken_alone_are_projected_too(tmp_path):
    model, rows = Beside(), list(torch.randn(6, 12, generator=torch.Generator().manual_seed(3)))
    task = tasks.Custom(
        lambda model, x: (model(x) @ model.weight.T).square().sum(-1), collate=torch.stack
    )
    with pytest.warns(FallbackWarning):
        store = collect(model, rows, task, out=tmp_path / "s", project=2)
    assert_projected(store, truth(model, rows, task), 2)


def moments_of(model):
    draw = torch.Generator().manual_seed(4)
    return {
        name: torch.rand(p.shape, generator=draw) for name, p in model.named_parameters()
        if p.requires_grad
    }  # fmt: skip


def test_a_metric_comes_before_the_projection(llama, rows, task, tmp_path):
    moments, adam = moments_of(llama), Projection(4, metric="adam")
    store = collect(
        llama, rows, task, out=tmp_path / "s", project=adam, second_moments=moments
    )  # fmt: skip
    scales = {name: metric_scale(v.flatten()) for name, v in moments.items()}
    assert_projected(store, truth(llama, rows, task), 4, scales)
    named = attribute(store, store, "gradient", metric="adam", normalize="unit")
    assert named.settings["metric"] == "adam"
    assert attribute(store, store, "gradient", metric="auto").settings["metric"] == "adam"
    for metric in ("none", "fisher"):
        with pytest.raises(OptionError, match="projected in the metric adam"):
            attribute(store, store, "gradient", metric=metric)
    plain = collect(llama, rows, task, out=tmp_path / "p", project=4, second_moments=moments)
    assert attribute(plain, plain, "ridge").settings["metric"] == "none"
    with pytest.raises(OptionError, match="projected in the metric none"):
        attribute(plain, plain, "ridge", metric="adam")
    with pytest.raises(OptionError, match="second moments"):
        collect(llama, rows, task, out=tmp_path / "none", project=adam)


def test_stores_that_are_projected_in_different_ways_do_not_mix(llama, rows, task, tmp_path):
    full = collect(llama, rows, task, out=tmp_path / "full")
    small = collect(llama, rows, task, out=tmp_path / "small", project=4)
    smaller = collect(llama, rows, task, out=tmp_path / "smaller", project=8)
    for other, way in ((full, "none"), (smaller, "8")):
        message = f"projected in different ways: --project 4, and {way}\n"
        with pytest.raises(StoreMismatchError, match=message):
            attribute(small, other, "datainf")
    ways = {
        "8": 8, "4 by seed 1": Projection(4, seed=1),
        "4 in the metric adam": Projection(4, metric="adam"),
    }  # fmt: skip
    moments = moments_of(llama)
    for way, project in ways.items():
        with pytest.raises(StoreMismatchError, match=f"--project .4 there, {way} asked for."):
            collect(llama, rows, task, out=tmp_path / "small", project=project,
                    second_moments=moments)  # fmt: skip
    mixed = collect(llama, rows, task, out=tmp_path / "int8", project=4, dtype="int8")
    values = [attribute(small, query, "datainf").values for query in (small, mixed)]
    assert relative(values[1], values[0]) < 0.05


def test_every_method_runs_on_projected_rows_and_damping_keeps_the_true_width(
    llama, rows, task, tmp_path
):
    store = collect(llama, rows, task, out=tmp_path / "s", project=4)
    scores = attribute(store, store, "datainf")
    for place, block in enumerate(store.index.blocks):
        mean = float(store.sq_norms[:, place].double().mean())
        found = scores.diagnostics["blocks"][block.name]["damping_lambda"]
        assert found == pytest.approx(0.1 * mean / block.width)
    for method in ("exact", "cg", "lissa", "ridge", "weighted-gradient"):
        assert torch.isfinite(attribute(store, store, method).values).all()
        own = self_influence(store, method)
        assert own.shape == (len(rows),)


@pytest.mark.parametrize("wrong", [{"dtype": "int4"}, {"dtype": torch.int16}, {"project": 1}])
def test_what_there_is_not_is_refused(llama, rows, task, tmp_path, wrong):
    with pytest.raises(OptionError):
        collect(llama, rows, task, out=tmp_path / "s", **wrong)
    assert not (tmp_path / "s").exists()


def test_a_smaller_store_keeps_some_examples_in_full(llama, rows, task, tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "MOST_ROWS", 5)
    named = [row | {"id": f"r{i}"} for i, row in enumerate(rows)]
    small = collect(llama, named, task, out=tmp_path / "small", project=4)
    full = collect(llama, named, task, out=tmp_path / "full")
    assert full.sample is None
    assert small.sample.ids == [f"r{i}" for i in (0, 2, 4, 7, 9)]
    for name, block in small.sample.blocks.items():
        assert relative(block.to_dense(), full.blocks[name].to_dense()[[0, 2, 4, 7, 9]]) < 1e-5
    assert (
        collect(llama, named, task, out=tmp_path / "n", dtype="int8", sample=False).sample is None
    )


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.first = nn.Embedding(40, 6), nn.Linear(6, 30, bias=False)
        self.last, self.head = nn.Linear(30, 6), nn.Linear(6, 40, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids):
        return self.head(self.last(self.first(self.words(ids)))).mean((1, 2))


def test_a_batch_s_gradients_are_bounded_on_a_cpu_more_than_on_a_gpu():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    for row_bytes, on_cpu, on_gpu in (
        (2**10, 2**15, 2**19), (2**20, 32, 512), (2**23, 8, 64), (2**27, 4, 4), (2**31, 1, 1),
    ):  # fmt: skip
        assert max_rows(row_bytes, cpu) == on_cpu
        assert max_rows(row_bytes, gpu) == on_gpu


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_only_linear_layers_gradients_are_never_formed(dtype, tmp_path, monkeypatch):
    """What an embedding forms is counted, and so is a weight that it shares with a linear layer."""
    monkeypatch.setattr(projection_module, "FORMED", 100)
    monkeypatch.setattr(projection_module, "SMALLEST", 1)
    model, rows = Tied().to(dtype), [torch.arange(3), torch.arange(3)]
    task = tasks.Custom(lambda model, batch: model(batch))

    def found(trainable):
        more = {"trainable": trainable, "project": 4, "out": tmp_path / "s"}
        pending = prepare(model, rows, task, progress=Silent(), **more)
        assert pending.collector.max_rows == 2**25 // pending.collector.row_bytes
        columns = sum(block.columns for block in pending.index.blocks)
        return pending.collector.row_bytes / dtype.itemsize - columns

    assert found("first.weight") == 0
    assert found("last.weight") == 0
    assert found("first.weight,last.weight,last.bias") == 6, "the bias is formed"
    assert found("words.weight,first.weight") == 240
