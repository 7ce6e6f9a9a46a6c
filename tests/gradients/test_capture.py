"""Per-example gradients equal one-at-a-time autograd, or the run stops."""

from __future__ import annotations

import copy

import peft
import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from conftest import ARCHITECTURES, HEADS, make_base, make_model, make_rows
from datainf import tasks
from datainf.errors import CoverageError, ModelError, OptionError, VerificationError
from datainf.gradients.capture import GradientCapture
from datainf.gradients.collect import collect
from datainf.gradients.engine import FallbackWarning, PerExample, UnusedWarning
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import blocks_of, select
from datainf.gradients.verify import one_at_a_time

CPU = torch.device("cpu")


def task_for(name, tokenizer, model):
    kind = tasks.SequenceClassification if name in HEADS else tasks.CausalLM
    return kind(tokenizer).for_model(model)


def largest_error(model, task, rows, trainable=None):
    """The worst relative error over blocks and examples, of one batch of all rows."""
    chosen = select(model, trainable)
    with evaluating(model):
        found = GradientCapture(model, chosen)(task, task.collate(rows), len(rows))
        worst = 0.0
        for i, row in enumerate(rows):
            loss, truth = one_at_a_time(model, chosen, task, row, CPU)
            assert torch.allclose(found.losses[i], loss, rtol=1e-5)
            for name, gradient in truth.items():
                scale = gradient.norm()
                error = (found.gradients[name][i] - gradient).norm()
                worst = max(worst, float(error / scale if scale > 0 else error))
    return worst, found


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradients_equal_autograd(name, tokenizer, dtype, tolerance):
    model = make_model(name).to(dtype)
    worst, found = largest_error(model, task_for(name, tokenizer, model), make_rows(name))
    assert worst < tolerance
    assert found.unused == []
    assert set(found.gradients) == {n for n, p in model.named_parameters() if p.requires_grad}
    if name in HEADS:
        heads = [n for n in found.gradients if "modules_to_save" in n]
        biases = [n for n in heads if n.endswith("bias")]
        assert len(heads) == {"bert": 2, "roberta": 4, "llama-classifier": 1}[name]
        assert len(biases) == len(heads) // 2


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_the_model_is_left_as_it_was(name, tokenizer, tmp_path):
    model = make_model(name)
    model.train()
    model.base_model.model.get_submodule("bert" if name == "bert" else "model").eval()
    before = [(m.training, len(m._forward_hooks)) for m in model.modules()]
    grads = [(p.requires_grad, p.grad) for p in model.parameters()]
    weights = [p.clone() for p in model.parameters()]
    task = task_for(name, tokenizer, model)
    collect(model, make_rows(name), task, out=tmp_path / "store")
    assert [(m.training, len(m._forward_hooks)) for m in model.modules()] == before
    assert [(p.requires_grad, p.grad) for p in model.parameters()] == grads
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), weights, strict=True))


def test_an_adapter_loaded_for_inference_gives_the_same(tokenizer, tmp_path):
    model = make_model("llama")
    model.save_pretrained(tmp_path / "adapter")
    loaded = peft.PeftModel.from_pretrained(make_base("llama"), tmp_path / "adapter")
    assert not any(p.requires_grad for p in loaded.parameters())
    task = task_for("llama", tokenizer, model)
    rows = make_rows("llama")
    worst, found = largest_error(loaded, task, rows)
    assert worst < 1e-5
    _, trained = largest_error(model, task, rows)
    for name, gradient in trained.gradients.items():
        assert torch.allclose(found.gradients[name], gradient, rtol=1e-4, atol=1e-7)


def test_of_two_adapters_the_active_one_is_taken(tokenizer):
    model = make_model("llama")
    model.add_adapter("other", peft.LoraConfig(r=2, target_modules=["k_proj"]))
    model.set_adapter("other")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert all(".other." in name for name in select(model))
    worst, _ = largest_error(model, task_for("llama", tokenizer, model), make_rows("llama"))
    assert worst < 1e-5


def test_gradient_checkpointing_does_no_harm(tokenizer):
    model = make_model("llama")
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    task, rows = task_for("llama", tokenizer, model), make_rows("llama")
    worst, _ = largest_error(model, task, rows)
    assert worst < 1e-5


def test_half_precision_models_run(tokenizer, tmp_path):
    model = make_model("llama").to(torch.bfloat16)
    task = task_for("llama", tokenizer, model)
    store = collect(model, make_rows("llama"), task, out=tmp_path / "store")
    assert store.index.dtype == "float32"


class Twice(nn.Module):
    """One linear layer used twice, a bias-free Conv1D, and a tied output."""

    def __init__(self):
        super().__init__()
        self.first, self.middle = nn.Linear(5, 5), Conv1D(7, 5)
        self.last = nn.Linear(7, 5)
        self.tied = nn.Linear(5, 5)
        self.tied.weight = self.first.weight

    def forward(self, X):
        return self.tied(self.last(self.middle(self.first(self.first(X).tanh()))).tanh())


def squared(model, batch):
    return model(batch).square().flatten(1).sum(1)


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 4, 5)])
def test_shared_tied_and_many_dimensional_modules(shape):
    torch.manual_seed(0)
    model = Twice().double()
    rows = list(torch.randn(6, *shape, dtype=torch.float64))
    worst, found = largest_error(model, tasks.Custom(squared), rows)
    assert worst < 1e-12
    assert "tied.weight" not in found.gradients  # it is first.weight


class OwnForward(nn.Linear):
    def forward(self, X):
        return 2 * super().forward(X)


class Branching(nn.Linear):
    """No vmap can follow it: what it computes depends on the data."""

    def forward(self, X):
        signs = torch.stack([row if float(row.sum()) > 0 else -2 * row for row in X])
        return super().forward(signs)


class Pair(nn.Module):
    """A rule-less module with two inputs, one of them by name."""

    def __init__(self):
        super().__init__()
        self.bilinear = nn.Bilinear(5, 5, 5)

    def forward(self, X):
        return self.bilinear(X, input2=X.tanh())


@pytest.mark.parametrize("kind", [OwnForward, Branching])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_a_module_without_a_rule_is_run_again(kind, size):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 5), kind(5, 5), Pair()).double()
    rows = list(torch.randn(size, 5, dtype=torch.float64))
    worst, found = largest_error(model, tasks.Custom(squared), rows)
    assert worst < 1e-12
    assert found.unused == []


class MixesTheBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 5)

    def forward(self, X):
        Y = self.inner(X)
        return Y - Y.mean(0, keepdim=True) / 2


class Functional(MixesTheBatch):
    """Uses a parameter behind its module's back as well."""

    def forward(self, X):
        return self.inner(X) + X @ self.inner.weight


class Bare(MixesTheBatch):
    """Never calls the module that holds the parameter."""

    def forward(self, X):
        return X @ self.inner.weight + self.inner.bias


class Flattening(MixesTheBatch):
    def forward(self, X):
        return self.inner(X.reshape(-1, 1, 5).expand(-1, 2, 5).reshape(-1, 5)).reshape(len(X), -1)


def test_a_model_that_mixes_examples_stops_the_run(tmp_path):
    torch.manual_seed(0)
    with pytest.raises(VerificationError, match=r"in a batch and .* alone"):
        collect(MixesTheBatch(), list(torch.randn(4, 5)), tasks.Custom(squared), out=tmp_path / "s")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Functional, r"inner\.weight: its gradient.* differs"),
        (Bare, r"inner\.weight, inner\.bias: used outside"),
        (Flattening, r"inner\.weight, inner\.bias: .* gives \[6, 5\]"),
    ],
)
def test_what_a_batch_cannot_give_is_taken_one_by_one(kind, reason, tmp_path):
    torch.manual_seed(0)
    model, rows = kind().double(), list(torch.randn(7, 5, dtype=torch.float64))
    task, chosen = tasks.Custom(squared), dict(model.named_parameters())
    with pytest.warns(FallbackWarning, match=reason) as caught:
        store = collect(model, rows, task, out=tmp_path / "s", shard_rows=4)
    assert sum(w.category is FallbackWarning for w in caught) == 1
    for i, row in enumerate(rows):
        _, truth = one_at_a_time(model, chosen, task, row, CPU)
        for name, gradient in truth.items():
            assert torch.allclose(store.blocks[name].to_dense()[i], gradient, rtol=1e-12)
    with pytest.raises(CoverageError, match=reason) as caught:
        collect(model, rows, task, out=tmp_path / "t", fallback=False)
    assert "--trainable" in caught.value.remedy


class BareLate(nn.Module):
    """A parameter that only some examples use, and never through its module."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5)

    def forward(self, X):
        Y, large = self.first(X), (X.detach() > 10).any(dim=1, keepdim=True)
        return torch.where(large, self.more(Y), Y) if large.any() else Y

    def more(self, Y):
        return Y @ self.second.weight


class Late(BareLate):
    """A module that only some examples run, and whose weight goes behind its back too."""

    def more(self, Y):
        return self.second(Y) + Y @ self.second.weight


@pytest.mark.filterwarnings("ignore::datainf.gradients.engine.UnusedWarning")
@pytest.mark.parametrize("kind", [Late, BareLate])
@pytest.mark.parametrize("frozen", [False, True])
def test_what_is_used_for_the_first_time_is_checked_then(kind, frozen, tmp_path):
    torch.manual_seed(0)
    model = kind().double().requires_grad_(not frozen)
    rows = list(torch.rand(8, 5, dtype=torch.float64))
    rows[5:7] = [row + 20 for row in rows[5:7]]  # not among those of the check
    task, chosen = tasks.Custom(squared), dict(model.named_parameters())
    with pytest.warns(FallbackWarning, match=r"second\.weight"):
        store = collect(model, rows, task, out=tmp_path / "s", shard_rows=2, trainable="*")
    assert not any(parameter.requires_grad == frozen for parameter in model.parameters())
    for i, row in enumerate(rows):
        _, truth = one_at_a_time(model, chosen, task, row, CPU)
        for name, gradient in truth.items():
            assert torch.allclose(store.blocks[name].to_dense()[i], gradient, rtol=1e-12)


def test_losses_of_another_shape_stop_the_run():
    model = nn.Linear(5, 1)
    capture = GradientCapture(model, select(model))
    for wrong in (lambda m, b: m(b).sum(), lambda m, b: m(b)):
        with pytest.raises(CoverageError, match="losses of shape"):
            capture(tasks.Custom(wrong), torch.randn(4, 5), 4)


def test_an_adapter_that_takes_no_part_stops_the_run(tokenizer, tmp_path):
    model = make_model("llama")
    model.merge_adapter()
    with pytest.raises(ModelError, match="take no part"):
        collect(model, make_rows("llama"), tasks.CausalLM(tokenizer), out=tmp_path / "s")


def test_an_unused_parameter_is_a_zero_block(tmp_path):
    model = nn.ModuleDict({"used": nn.Linear(5, 5), "unused": nn.Linear(5, 5)})
    task = tasks.Custom(lambda m, b: m["used"](b).square().sum(1))
    with pytest.warns(UnusedWarning, match=r"unused\.weight, unused\.bias: no example's loss"):
        store = collect(model, list(torch.randn(4, 5)), task, out=tmp_path / "s")
    assert float(store.blocks["unused.weight"].sq_norms.sum()) == 0
    assert float(store.blocks["used.weight"].sq_norms.min()) > 0


def test_trainable_patterns():
    model = make_model("bert")
    heads = select(model, "*modules_to_save*")
    assert all("modules_to_save" in name for name in heads)
    # The head as it was before the fine-tuning has no part in the loss; its width would count.
    assert select(model, "*classifier*").keys() == heads.keys()
    rest = select(model, "*lora_*, !*layer.0.*")
    assert rest
    assert not any("layer.0." in name or "classifier" in name for name in rest)
    with pytest.raises(OptionError, match="no parameter matches"):
        select(model, "*nothing*")
    with pytest.raises(OptionError, match="leaves no parameter"):
        select(model, "*lora_*,!*")
    with pytest.raises(ModelError, match="no trainable parameter"):
        select(nn.Linear(2, 2).requires_grad_(False))


def test_an_adapters_tensors_share_a_module():
    model = make_model("roberta")
    blocks = {block.name: block.module for block in blocks_of(model, select(model))}
    for name, module in blocks.items():
        assert name.startswith(f"{module}.")
        ending = "classifier" if "classifier" in name else ("query" if "query" in name else "value")
        assert module.endswith(ending)
    assert len(set(blocks.values())) == 2 * 2 + 1


def test_the_check_passes_on_the_right_and_fails_on_the_wrong(tokenizer, llama):
    task = tasks.CausalLM(tokenizer).for_model(llama)
    rows, chosen = make_rows("llama")[:3], select(llama)

    class Unmasked(tasks.CausalLM):
        def losses(self, model, batch):  # padding counts, as in the released reference code
            logits = model(input_ids=batch["input_ids"]).logits[:, :-1]
            targets = batch["input_ids"][:, 1:]
            flat = nn.functional.cross_entropy(logits.mT, targets, reduction="none")
            return flat.mean(1)

    with evaluating(llama):
        right = PerExample(llama, chosen, task, CPU)
        right.check(rows)
        assert not right.alone
        with pytest.raises(VerificationError):
            PerExample(llama, chosen, Unmasked(tokenizer).for_model(llama), CPU).check(rows)


class Table(nn.Module):
    """Looks up columns by an index that all examples share, and no rule knows it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 5))

    def forward(self, X, index):
        return X[:, index] * self.weight[index].sum(dim=1)


class WithTable(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = Table()

    def forward(self, X):
        return self.table(X, torch.tensor([3, 1, 0, 2]))


def test_an_argument_that_happens_to_be_as_long_as_the_batch():
    """Shared by three examples at the start, it is shared by four later."""
    torch.manual_seed(0)
    model, task = WithTable().double(), tasks.Custom(squared)
    rows = list(torch.randn(4, 5, dtype=torch.float64))
    engine = PerExample(model, select(model), task, CPU)
    with evaluating(model):
        engine.check(rows[:3])
        found = engine(rows)
    assert not engine.alone
    for i, row in enumerate(rows):
        _, truth = one_at_a_time(model, select(model), task, row, CPU)
        assert torch.allclose(found.gradients["table.weight"][i], truth["table.weight"], rtol=1e-12)


class Remembering(nn.Module):
    """Keeps what it computed, as some layers do for inspection."""

    def __init__(self):
        super().__init__()
        self.weight, self.last = nn.Parameter(torch.randn(5)), None

    def forward(self, X):
        self.last = X * self.weight
        return self.last


def test_a_module_that_runs_again_is_left_as_it_was(tmp_path):
    model = nn.Sequential(Remembering())
    collect(model, list(torch.randn(4, 5)), tasks.Custom(squared), out=tmp_path / "s")
    assert len(model[0].last.tolist()) > 0
    copy.deepcopy(model[0].last.detach())


class Flattens(nn.Module):
    """Hands its linear layer all positions as rows."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 5)

    def forward(self, X):
        return self.linear(X.reshape(-1, 5)).reshape(X.shape)


class WithRootParameter(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale, self.inner = nn.Parameter(torch.ones(5)), Flattens()

    def forward(self, X):
        return self.inner(X) * self.scale


@pytest.mark.parametrize("size", [1, 3, 8])
def test_the_module_around_one_that_flattens_is_run_again(size):
    """Also where the model itself holds a parameter."""
    torch.manual_seed(0)
    model, task = WithRootParameter().double(), tasks.Custom(squared)
    rows = list(torch.randn(size, 4, 5, dtype=torch.float64))
    engine = PerExample(model, select(model), task, CPU)
    with evaluating(model):
        truth = engine.check(rows)
        found = engine(rows)
    assert not engine.alone
    assert {site.name for site in engine.capture.sites} == {"", "inner"}
    for name, gradient in truth.gradients.items():
        assert torch.allclose(found.gradients[name], gradient, rtol=1e-10)
