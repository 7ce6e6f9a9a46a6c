"""A parameter that no batch reaches stops a run by its name; one that takes no part is zero."""

from __future__ import annotations

import warnings

import peft
import pytest
import torch
import transformers
from torch import nn

from conftest import make_base, make_rows
from datainf import tasks
from datainf.errors import CoverageError, ModelError
from datainf.gradients.collect import collect
from datainf.gradients.engine import FallbackWarning, PerExample
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import select
from datainf.gradients.verify import each_alone
from support import CPU


class Root(nn.Module):
    """Its own parameter, and one that it hands to a function."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.scale = nn.Linear(5, 5), nn.Parameter(torch.rand(5))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.inner(X) * self.scale


class BesideTheForward(Root):
    """The root's parameter is used by the task, outside every forward."""

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.inner(X)


def squared(model, batch):
    return model(batch).square().sum(1)


def scaled(model, batch):
    return (model(batch) * model.scale).square().sum(1)


ROWS = list(torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))


def test_the_root_s_own_parameter_is_reached():
    torch.manual_seed(0)
    model = Root().double()
    engine = PerExample(model, select(model), tasks.Custom(squared), CPU, fallback=False)
    truth = engine.check(ROWS)
    found = engine(ROWS)
    for name, gradient in truth.gradients.items():
        assert torch.allclose(found.gradients[name], gradient, rtol=1e-12)


def test_one_parameter_that_nothing_reaches(tmp_path):
    torch.manual_seed(0)
    model, task = BesideTheForward().double(), tasks.Custom(scaled)
    with pytest.raises(CoverageError, match=r"^scale: its gradient.* differs") as caught:
        collect(model, ROWS, task, out=tmp_path / "s", fallback=False)
    assert "--trainable" in caught.value.remedy
    with pytest.warns(FallbackWarning, match="scale: its gradient"):
        store = collect(model, ROWS, task, out=tmp_path / "t")
    truth = each_alone(model, select(model), task, ROWS, CPU)
    for name, gradient in truth.gradients.items():
        assert torch.allclose(store.blocks[name].to_dense(), gradient, rtol=1e-6)
    left = collect(model, ROWS, task, out=tmp_path / "u", trainable="!scale", fallback=False)
    assert [*left.blocks] == ["inner.weight", "inner.bias"]


def test_a_model_that_fails_by_itself_says_so(tokenizer, tmp_path):
    """DistilBERT takes no keys and values from outside, which is what a prefix is."""
    base = transformers.DistilBertForSequenceClassification(
        transformers.DistilBertConfig(
            vocab_size=258, dim=16, hidden_dim=16, n_layers=1, n_heads=2, max_position_embeddings=64
        )
    )
    prefix = peft.PrefixTuningConfig(
        task_type="SEQ_CLS", num_virtual_tokens=3, token_dim=16, num_layers=1,
        num_attention_heads=2, num_transformer_submodules=1,
    )  # fmt: skip
    model, task = peft.get_peft_model(base, prefix), tasks.SequenceClassification(tokenizer)
    told = (
        "by DistilBertForSequenceClassification and the task .*, ends with ValueError: Model does"
    )
    with pytest.raises(ModelError, match=told) as caught:
        collect(model, [{"text": "a", "label": 1}], task, out=tmp_path / "s")
    assert "transformers and peft" in caught.value.remedy
    assert not (tmp_path / "s").exists() or not any((tmp_path / "s").glob("shard-*"))


def test_in_a_real_model(tokenizer):
    """A soft prompt in the user's own loss: one tensor of the model, which no module uses."""
    torch.manual_seed(0)
    model = make_base("llama")
    model.requires_grad_(False)
    model.prompt = nn.Parameter(0.1 * torch.randn(16))
    for layer in model.model.layers:
        layer.self_attn.q_proj.weight.requires_grad_(True)

    class Prompted(tasks.CausalLM):
        def losses(self, model, batch):
            handle = model.model.embed_tokens.register_forward_hook(
                lambda *call: call[2] + model.prompt
            )
            try:
                return super().losses(model, batch)
            finally:
                handle.remove()

    task, rows, chosen = Prompted(tokenizer).for_model(model), make_rows("llama"), select(model)
    with evaluating(model):
        with pytest.raises(CoverageError, match="prompt"):
            PerExample(model, chosen, task, CPU, fallback=False).check(rows[:3])
        engine = PerExample(model, chosen, task, CPU)
        with pytest.warns(FallbackWarning, match="prompt"):
            engine.check(rows[:3])
        truth = each_alone(model, chosen, task, rows, CPU).gradients
        found = engine(rows).gradients
    assert float(truth["prompt"].norm(dim=1).min()) > 0
    assert all(torch.equal(found[name], gradient) for name, gradient in truth.items())


def test_a_module_that_takes_no_part_is_zero_and_no_reason_to_fall_back(tmp_path):
    torch.manual_seed(0)
    model = Root().double()
    model.idle = nn.Linear(5, 5).double()
    with warnings.catch_warnings():
        warnings.simplefilter("error", FallbackWarning)
        store = collect(model, ROWS, tasks.Custom(squared), out=tmp_path / "s", fallback=False)
    for name, block in store.blocks.items():
        assert (float(block.sq_norms.sum()) == 0) == name.startswith("idle.")
