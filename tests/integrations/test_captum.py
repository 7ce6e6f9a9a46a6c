"""Captum's interface gives datainf's scores, and Captum's own where the method is the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from datainf import attribute, collect, tasks
from datainf.errors import InputError, OptionError
from datainf.integrations.captum import DataInfInfluence
from datainf.integrations.classes import labelled
from datainf.integrations.rows import rows_of


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


def test_the_gradient_method_is_captum_s_tracin(made, tmp_path):
    from captum.influence import TracInCP

    model, data, queries = made
    torch.save(model.state_dict(), tmp_path / "weights.pt")

    def load(module, path):
        module.load_state_dict(torch.load(path, weights_only=True))
        return 1.0

    theirs = TracInCP(
        model, data, [str(tmp_path / "weights.pt")], load, batch_size=5,
        loss_fn=nn.CrossEntropyLoss(reduction="sum"), sample_wise_grads_per_batch=True,
    )  # fmt: skip
    ours = DataInfInfluence(model, data, method="gradient")
    assert torch.allclose(ours.influence(queries), theirs.influence(queries), atol=1e-5)
    for proponents in (True, False):
        a = ours.influence(queries, k=3, proponents=proponents)
        b = theirs.influence(queries, k=3, proponents=proponents)
        assert torch.equal(a.indices, b.indices)
        assert torch.allclose(a.influence_scores, b.influence_scores, atol=1e-5)
    assert torch.allclose(ours.self_influence(), theirs.self_influence(), atol=1e-5)


def test_batches_of_every_kind(made):
    model, data, queries = made
    tracer = DataInfInfluence(model, data, method="gradient", options={"normalize": "unit"})
    truth = tracer.influence(queries)
    loader = DataLoader(TensorDataset(*queries), batch_size=3)
    (whole,) = DataLoader(TensorDataset(*queries), batch_size=len(queries[0]))
    assert isinstance(whole, list)
    for same in (loader, rows_of(queries), (queries[0], queries[1].tolist()), whole):
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
    for same in (columns, DataLoader(data[:3], batch_size=2)):
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
    for k in (0, -1, 21):
        with pytest.raises(OptionError, match="20 training examples"):
            tracer.influence(queries, k=k)
    for k in (1.5, "3"):
        with pytest.raises(OptionError, match="whole number"):
            tracer.influence(queries, k=k)
    with pytest.raises(InputError, match=r"\[3, 4\] rows"):
        tracer.influence((queries[0], queries[1][:3]))
    with pytest.raises(InputError, match="no batch"):
        tracer.influence("text")
