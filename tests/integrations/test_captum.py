"""Captum's interface gives datainf's scores, and Captum's own where the method is the same."""

from __future__ import annotations

import importlib
import sys
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from conftest import make_model
from datainf import attribute, collect, tasks
from datainf.errors import InputError, OptionError
from datainf.integrations import live
from datainf.integrations.captum import DataInfInfluence
from datainf.integrations.classes import labelled
from datainf.integrations.live import Attributor
from datainf.integrations.rows import rows_of
from missing import Missing


@pytest.fixture(scope="module")
def made():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    data = TensorDataset(torch.randn(20, 5), torch.randint(0, 3, (20,)))
    queries = torch.randn(4, 5), torch.randint(0, 3, (4,))
    return model, data, queries


def test_the_scores_are_datainf_s(made, tmp_path):
    model, data, queries = made
    found = DataInfInfluence(model, data, method="datainf").influence(queries)
    task = tasks.Custom(labelled)
    train = collect(model, data, task, out=tmp_path / "train")
    query = collect(model, rows_of(queries), task, out=tmp_path / "query")
    assert torch.equal(found, attribute(train, query, "datainf").values)


def load(rate, module, path):
    module.load_state_dict(torch.load(path, weights_only=True))
    return rate


def tracin(model, data, folder, rates=(1.0,)):
    """Captum's own, of the model's weights, with each further checkpoint as far again from 0; and
    the loaders of these checkpoints, with the learning rates that it adds them up by."""
    from captum.influence import TracInCP

    loads = {}
    for times, rate in enumerate(rates, 1):
        path = str(folder / f"{times}.pt")
        torch.save({name: times * w for name, w in model.state_dict().items()}, path)
        loads[path] = partial(load, rate, model, path)
    made = TracInCP(
        model, data, [*loads], lambda _, path: loads[path](), batch_size=5,
        loss_fn=nn.CrossEntropyLoss(reduction="sum"), sample_wise_grads_per_batch=True,
    )  # fmt: skip
    return made, [*loads.values()]


def test_the_gradient_method_is_captum_s_tracin(made, tmp_path):
    model, data, queries = made
    theirs, _ = tracin(model, data, tmp_path)
    ours = DataInfInfluence(model, data, method="gradient")
    assert torch.allclose(ours.influence(queries), theirs.influence(queries), atol=1e-5)
    for inputs in ((), (queries,), (DataLoader(TensorDataset(*queries), batch_size=3),)):
        assert torch.allclose(
            ours.self_influence(*inputs), theirs.self_influence(*inputs), atol=1e-5
        )


@pytest.mark.parametrize("aggregate", [False, True])
@pytest.mark.parametrize("proponents", [False, True])
@pytest.mark.parametrize("k", [1, 3, 20, 21, 1000])
def test_the_most_influential_are_captum_s(made, tmp_path, k, proponents, aggregate):
    """Of more than there are, all; in one order of arguments."""
    model, data, queries = made
    theirs, _ = tracin(model, data, tmp_path)
    ours = DataInfInfluence(model, data, method="gradient")
    a = ours.influence(queries, k, proponents, False, aggregate)
    b = theirs.influence(queries, k, proponents, False, aggregate)
    assert a.indices.shape == (1 if aggregate else 4, min(k, 20))
    assert torch.equal(a.indices, b.indices)
    assert torch.allclose(a.influence_scores, b.influence_scores, atol=1e-5)


def test_scores_of_all_queries_are_added_up_as_captum_s(made, tmp_path):
    model, data, queries = made
    theirs, _ = tracin(model, data, tmp_path)
    ours = DataInfInfluence(model, data, method="gradient").influence(queries, aggregate=True)
    assert ours.shape == (1, 20)
    assert ours.dtype == torch.float32
    assert torch.allclose(ours, theirs.influence(queries, aggregate=True), atol=1e-5)


def test_of_several_checkpoints_the_scale_alone_is_not_captum_s(made, tmp_path):
    """A weighted mean, where it has the weighted sum."""
    model, data, queries = made
    rates = (1e-3, 5e-4)
    theirs, loads = tracin(model, data, tmp_path, rates)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    ours = Attributor(model, data, None, None, "gradient", {}, loads)
    for a, b in (
        (ours.scores(queries), theirs.influence(queries)),
        (ours.self_influence(), theirs.self_influence()),
    ):
        assert torch.allclose(sum(rates) * a, b, atol=1e-7, rtol=1e-4)
    model.load_state_dict(before)


def test_progress_is_shown_where_it_is_asked_for(made, capfd):
    model, data, queries = made
    tracer = DataInfInfluence(model, data, method="gradient")
    capfd.readouterr()
    shown = tracer.influence(queries, show_progress=True), tracer.self_influence(None, True)
    said = capfd.readouterr().err
    assert "gradients: 100%" in said
    assert "self-influence by gradient: 100%" in said
    silent = tracer.influence(queries), tracer.self_influence()
    assert not capfd.readouterr().err
    assert all(torch.equal(a, b) for a, b in zip(shown, silent, strict=True))


def tokenised(count, length):
    """Rows as a tokenizer pads them, no two alike, every column a list."""
    ids = [[2 + (31 * i + 7 * j * (i + 1)) % 250 for j in range(length)] for i in range(count)]
    masks = [[int(j < length - i % 2) for j in range(length)] for i in range(count)]
    return [
        {"input_ids": row, "attention_mask": mask} for row, mask in zip(ids, masks, strict=True)
    ]


@pytest.mark.parametrize("length", [5, 4, 3])
def test_a_loader_of_tokenised_rows_asks_for_these_rows(tokenizer, length):
    """Four rows of lists, which `default_collate` makes lists by position of: more positions than
    rows, as many, or fewer."""
    model, task = make_model("llama"), tasks.CausalLM(tokenizer)
    train, asked = tokenised(6, 8), tokenised(4, length)
    tracer = DataInfInfluence(model, train, task, method="gradient")
    truth = tracer.influence(asked)
    assert truth.shape == (4, 6)
    for size in (4, 3):
        found = tracer.influence(DataLoader(asked, batch_size=size))
        assert torch.allclose(found, truth, rtol=1e-5)
    (taken,) = DataLoader(asked, batch_size=4)
    with pytest.raises(InputError, match="positions of"):
        tracer.influence(taken)


def test_batches_of_every_kind(made):
    model, data, queries = made
    tracer = DataInfInfluence(model, data, method="gradient", options={"normalize": "unit"})
    truth = tracer.influence(queries)
    loader = DataLoader(TensorDataset(*queries), batch_size=3)
    (whole,) = DataLoader(TensorDataset(*queries), batch_size=len(queries[0]))
    assert isinstance(whole, list)
    examples = DataLoader(TensorDataset(*queries), batch_size=2, collate_fn=list)
    pairs = queries[0], queries[1].tolist()
    for same in (loader, examples, rows_of(queries), pairs, whole):
        assert torch.allclose(tracer.influence(same), truth, atol=1e-6)


def test_what_cannot_be_used_is_said(made):
    model, data, queries = made
    with pytest.raises(InputError, match="no option dampin"):
        DataInfInfluence(model, data, options={"dampin": "0.1"})
    tracer = DataInfInfluence(model, DataLoader(data, batch_size=7), method="gradient")
    assert torch.equal(tracer.influence(queries), DataInfInfluence(
        model, data, method="gradient").influence(queries))  # fmt: skip
    with pytest.raises(InputError, match="no pair"):
        tracer.influence(queries[0])
    with pytest.raises(InputError, match="one example"):
        tracer.influence((queries[0][0], queries[1][0]))


def test_examples_that_are_tensors():
    torch.manual_seed(0)
    model, data = nn.Linear(4, 4), torch.randn(6, 4)
    task = tasks.Custom(lambda model, batch: (model(batch) - batch).square().mean(dim=1))
    tracer = DataInfInfluence(model, data, task, method="gradient")
    truth = tracer.influence(data[:3])
    for same in (list(data[:3]), DataLoader(data[:3], batch_size=2)):
        assert torch.allclose(tracer.influence(same), truth, atol=1e-6)


def test_examples_that_are_mappings():
    torch.manual_seed(0)
    model, data = nn.Linear(4, 4), [{"x": torch.randn(4), "y": torch.randn(4)} for _ in range(6)]
    task = tasks.Custom(lambda model, b: (model(b["x"]) - b["y"]).square().mean(dim=1))
    tracer = DataInfInfluence(model, data, task, method="gradient")
    (columns,) = DataLoader(data[:3], batch_size=3)
    loaders = [DataLoader(data[:3], 2, collate_fn=made) for made in (None, list, lambda rows: rows)]
    for same in (columns, *loaders):
        assert torch.allclose(tracer.influence(same), tracer.influence(data[:3]), atol=1e-6)


def test_the_store_is_used_again(made, tmp_path):
    model, data, queries = made
    first = DataInfInfluence(model, data, out=tmp_path, method="gradient").influence(queries)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "train").iterdir()}
    again = DataInfInfluence(model, data, out=tmp_path, method="gradient").influence(queries)
    assert torch.equal(first, again)
    shards = [path for path in files if path.suffix == ".safetensors"]
    assert shards
    assert all(path.stat().st_mtime_ns == files[path] for path in shards)


def test_nonsense(made):
    model, data, queries = made
    tracer = DataInfInfluence(model, data, method="gradient")
    with pytest.raises(InputError, match=r"\[3, 4\] rows"):
        tracer.influence((queries[0], queries[1][:3]))
    with pytest.raises(InputError, match="no batch"):
        tracer.influence("text")


@pytest.mark.parametrize("k", [0, -1, True, False, 1.5, "3"])
def test_a_k_is_refused_before_any_gradient(made, monkeypatch, k):
    model, data, queries = made
    tracer = DataInfInfluence(model, data, method="gradient")
    monkeypatch.setattr(live, "collect", None)
    with pytest.raises(OptionError, match=f"k is {k!r}"):
        tracer.influence(queries, k=k)


def test_second_moments_are_handed_on(made):
    model, data, queries = made
    moments = {name: 0.1 + torch.rand_like(p) for name, p in model.named_parameters()}
    options = {"metric": "adam", "rate_sum": 2.0}
    found = DataInfInfluence(model, data, options=options, second_moments=moments)
    truth = Attributor(model, data, None, None, None, options, second_moments=moments)
    assert torch.equal(found.influence(queries), truth.scores(queries))


@pytest.mark.parametrize(
    ("missing", "kind", "match"),
    [
        ("captum", InputError, "needs Captum"),
        ("captum.influence", ModuleNotFoundError, "captum.influence"),
    ],
)
def test_what_is_missing_is_named(monkeypatch, missing, kind, match):
    """Captum, or what an installed one stands on."""
    name = "datainf.integrations.captum"
    for loaded in {name, missing, "captum.influence"}:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setattr(sys, "meta_path", [Missing(missing), *sys.meta_path])
    with pytest.raises(kind, match=match):
        importlib.import_module(name)
