"""Second moments beside a store: kept as they are, and refused where they are not."""

from __future__ import annotations

import pytest
import torch

from conftest import make_model, make_rows
from datainf import GradientStore, collect, tasks
from datainf.errors import ModelError, OptionError, StoreCorruptError, StoreMismatchError
from datainf.projection import Projection
from datainf.second_moments import FILE, load_moments, metric_scale, save_moments


@pytest.fixture
def moments():
    draw = torch.Generator().manual_seed(0)
    return {"a": torch.rand(2, 3, generator=draw), "b": torch.rand(4, generator=draw)}


def test_they_come_back_flat(moments, tmp_path):
    assert load_moments(tmp_path) is None
    save_moments(tmp_path, moments)
    found = load_moments(tmp_path)
    assert {name: v.tolist() for name, v in found.items()} == {
        name: v.reshape(-1).tolist() for name, v in moments.items()
    }


def test_a_flipped_byte_is_an_error(moments, tmp_path):
    save_moments(tmp_path, moments)
    data = bytearray((tmp_path / FILE).read_bytes())
    data[-3] ^= 1
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(StoreCorruptError, match="not the ones that were written"):
        load_moments(tmp_path)
    (tmp_path / FILE).write_bytes(b"torn")
    with pytest.raises(StoreCorruptError, match="not a whole file"):
        load_moments(tmp_path)


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_what_is_no_mean_of_squares_is_refused(moments, tmp_path, wrong):
    moments["b"][1] = wrong
    with pytest.raises(OptionError, match="moments of b"):
        save_moments(tmp_path, moments)


def test_the_scale_is_bounded_where_there_never_was_a_gradient():
    scale = metric_scale(torch.tensor([0.0, 1e-8, 1.0]))
    torch.testing.assert_close(scale, torch.tensor([1e4, 1e2, 1.0]).double(), rtol=1e-3, atol=0)


def test_moments_of_other_parameters_are_refused(tmp_path, tokenizer):
    model, rows = make_model("llama"), make_rows("llama")
    moments = {n: torch.ones_like(p) for n, p in model.named_parameters() if p.requires_grad}
    first = next(iter(moments))
    for changed in (
        moments | {first: torch.ones(3)},
        {n: moments[n] for n in moments if n != first},
    ):
        with pytest.raises(ModelError, match="no second moments"):
            collect(
                model, rows, tasks.CausalLM(tokenizer), out=tmp_path / "s", second_moments=changed
            )
    assert not (tmp_path / "s").exists()
    collect(model, rows, tasks.CausalLM(tokenizer), out=tmp_path / "s", second_moments=moments)
    assert set(GradientStore.open(tmp_path / "s").second_moments) == set(moments)


@pytest.mark.parametrize("project", [None, Projection(4, metric="adam")])
def test_others_than_those_of_rows_that_are_there_are_refused(project, tmp_path, tokenizer):
    model, rows, out = make_model("llama"), make_rows("llama"), tmp_path / "s"
    moments = {n: torch.rand(p.shape) for n, p in model.named_parameters() if p.requires_grad}
    more = {"project": project, "sample": False}
    collect(model, rows, tasks.CausalLM(tokenizer), out=out, second_moments=moments, **more)
    before = (out / FILE).read_bytes()
    other = {name: v + 5 for name, v in moments.items()}
    for _ in range(2):
        collect(model, rows, tasks.CausalLM(tokenizer), out=out, second_moments=moments, **more)
    with pytest.raises(StoreMismatchError, match="second moments"):
        collect(model, rows, tasks.CausalLM(tokenizer), out=out, second_moments=other, **more)
    assert (out / FILE).read_bytes() == before
    (out / FILE).write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    collect(model, rows, tasks.CausalLM(tokenizer), out=out, second_moments=moments, **more)
    assert (out / FILE).read_bytes() == before
