"""An attributor against dense float64, and what it refuses before it collects anything."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from conftest import TEXTS, make_model
from datainf import attribute, collect, collect_curvature, tasks
from datainf.errors import InputError, OptionError
from datainf.integrations import live
from datainf.integrations.classes import Classes, labelled
from datainf.integrations.live import Attributor
from datainf.integrations.rows import rows_of
from datainf.tasks.sampling import Draws

PLAIN = {"normalize": "none", "metric": "none", "blocks": "model", "damping": "0.1"}


@pytest.fixture
def made():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    data = TensorDataset(torch.randn(12, 5).double(), torch.randint(0, 3, (12,)))
    return model, data, (torch.randn(4, 5).double(), torch.randint(0, 3, (4,)))


def gradients(model, rows):
    """[rows, d], one example after another by autograd."""
    found = []
    for inputs, label in rows:
        loss = nn.functional.cross_entropy(model(inputs)[None], label[None])
        found.append(
            torch.cat([g.flatten() for g in torch.autograd.grad(loss, [*model.parameters()])])
        )
    return torch.stack(found)


def test_gauss_newton_is_the_dense_solve(made, tmp_path):
    model, data, queries = made
    found = Attributor(model, data, None, None, "gauss-newton", PLAIN)
    drawn = collect_curvature(model, data, Classes(), out=tmp_path)
    S = torch.cat([drawn.blocks[b.name].rows(0, len(drawn)) for b in drawn.index.blocks], dim=1)
    G, V = gradients(model, data), gradients(model, rows_of(queries))
    H = S.T @ S / len(S)
    damped = H + 0.1 * H.trace() / len(H) * torch.eye(len(H))
    assert torch.allclose(
        found.scores(queries).double(), V @ torch.linalg.solve(damped, G.T), rtol=1e-4, atol=1e-6
    )
    for asked, rows in (((), G), ((queries,), V)):
        own = (rows * torch.linalg.solve(damped, rows.T).T).sum(dim=1)
        assert torch.allclose(found.self_influence(*asked).double(), own, rtol=1e-4)


@pytest.mark.parametrize("method", [None, "gauss-newton", "datainf", "exact", "gradient"])
@pytest.mark.parametrize("normalize", [None, "none", "root"])
def test_a_training_example_asked_for_scores_for_itself_as_in_training(made, method, normalize):
    """In whatever scales and metric the training examples have."""
    model, data, _ = made
    options = {"normalize": normalize, "metric": "fisher"}
    found = Attributor(model, data, None, None, method, options)
    some = [data[i] for i in (3, 8)]
    assert torch.allclose(found.self_influence(some), found.self_influence()[[3, 8]], rtol=1e-4)


def test_drawn_classes_have_the_gauss_newton_matrix(made):
    model, data, _ = made
    inputs, label = data[0]
    parameters = [*model.parameters()]
    logits = model(inputs[None])
    J = torch.stack([
        torch.cat([g.flatten() for g in torch.autograd.grad(z, parameters, retain_graph=True)])
        for z in logits[0]
    ])  # fmt: skip
    p = logits[0].detach().softmax(dim=0)
    moment = 0
    for c in range(3):  # as if the model had drawn this one
        loss = Classes().sampled_losses(
            model, (inputs[None], label[None]), Draws([0], {0: torch.tensor([c])})
        )
        s = torch.cat([g.flatten() for g in torch.autograd.grad(loss.sum(), parameters)])
        moment = moment + p[c] * torch.outer(s, s)
    assert torch.allclose(moment, J.T @ (torch.diag(p) - torch.outer(p, p)) @ J, atol=1e-12)


def moments_of(model, seed=0):
    """As Adam might have left them, by name."""
    generator = torch.Generator().manual_seed(seed)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return {name: torch.rand(p.shape, generator=generator) + 0.01 for name, p in trained.items()}


def test_a_language_model_has_gauss_newton_by_default(tokenizer, tmp_path):
    model, task = make_model("llama"), tasks.CausalLM(tokenizer)
    rows, asked = [{"text": text} for text in TEXTS[:4]], [{"text": text} for text in TEXTS[4:]]
    moments = moments_of(model)
    found = Attributor(
        model, rows, task, tmp_path / "out", None, {"rate_sum": 2e-3}, second_moments=moments
    )
    train = collect(model, rows, task, out=tmp_path / "train", second_moments=moments)
    query = collect(model, asked, task, out=tmp_path / "query")
    drawn = collect_curvature(model, rows, task, out=tmp_path / "drawn")
    truth, without = (
        attribute(train, query, curvature=drawn, rate_sum=rates) for rates in (2e-3, None)
    )
    assert truth.method == "gauss-newton"
    assert truth.settings["metric"] == "adam"
    assert truth.settings["damping"] != without.settings["damping"]
    assert torch.allclose(found.scores(asked), truth.values, rtol=1e-5)
    assert not torch.allclose(without.values, truth.values, rtol=1e-2)
    assert (tmp_path / "out" / "curvature").is_dir()


def test_adam_s_metric_is_that_of_the_second_moments(made):
    """Products of gradients over √v̂, of each checkpoint its own."""
    model, data, queries = made
    states = [{k: (1 + c) * v.clone() for k, v in model.state_dict().items()} for c in (0, 1)]
    loads = [partial(model.load_state_dict, state) for state in states]
    each = [moments_of(model, seed) for seed in (1, 2)]
    options = {"normalize": "none", "metric": "adam"}
    found = Attributor(model, data, None, None, "gradient", options, loads, each)
    alone = Attributor(model, data, None, None, "gradient", options, loads[1:], each[1])
    truth = []
    for load, moments in zip(loads, each, strict=True):
        load()
        scale = torch.cat([moments[name].flatten() for name, _ in model.named_parameters()])
        V = gradients(model, rows_of(queries)) / (scale.double().sqrt() + 1e-8)
        truth.append(V @ gradients(model, data).T)
    assert torch.allclose(found.scores(queries).double(), sum(truth) / 2, rtol=1e-4, atol=1e-6)
    assert torch.allclose(alone.scores(queries).double(), truth[1], rtol=1e-4, atol=1e-6)


def test_self_influence_has_the_damping_of_scores(made):
    """The one of all checkpoints, which `flow` makes of their second moments."""
    model, data, _ = made
    states = [{k: (1 + c) * v.clone() for k, v in model.state_dict().items()} for c in (0, 1)]
    loads = [partial(model.load_state_dict, state) for state in states]
    options = {"rate_sum": 1e-3, "normalize": "none"}
    each = [moments_of(model, seed) for seed in (1, 2)]
    found = Attributor(model, data, None, None, "exact", options | {"damping": "flow"}, loads, each)
    own = found.self_influence()
    assert torch.allclose(own, found.scores(rows_of(data[:])).diagonal(), rtol=1e-4)
    assert torch.allclose(own[:5], found.self_influence(data[:5]), rtol=1e-4)


def test_each_checkpoint_has_a_curvature_of_its_own(made):
    model, data, queries = made
    states = [{k: (1 + c) * v.clone() for k, v in model.state_dict().items()} for c in (0, 1)]
    # Of load_state_dict's result the weight is 1.
    loads = [partial(model.load_state_dict, state) for state in states]
    both = Attributor(model, data, None, None, "gauss-newton", PLAIN, loads)
    assert both.weights == [1, 1]
    truth = own = 0
    for load in loads:
        load()
        one = Attributor(model, data, None, None, "gauss-newton", PLAIN)
        truth, own = truth + one.scores(queries) / 2, own + one.self_influence() / 2
    assert torch.allclose(both.scores(queries), truth, rtol=1e-5, atol=1e-7)
    assert torch.allclose(both.self_influence(), own, rtol=1e-5)


@pytest.fixture
def nothing_collected(monkeypatch):
    def fail(*_, **__):
        raise AssertionError("it was collected first")

    monkeypatch.setattr(live, "collect", fail)


@pytest.mark.parametrize(
    ("method", "options", "match"),
    [
        ("nonesuch", {}, "unknown method"),
        ("datainf", {"damping": "a lot"}, "damping"),
        ("datainf", {"damping": -1}, "damping"),
        ("datainf", {"steps": 3}, "takes no steps"),
        ("ridge", {"steps": 0}, "one step"),
        ("datainf", {"normalize": "odd"}, "unknown normalize"),
        ("datainf", {"metric": "odd"}, "unknown metric"),
        ("datainf", {"blocks": "odd"}, "unknown blocks"),
        ("datainf", {"device": "odd"}, "device"),
        ("datainf", {"rate_sum": "odd"}, "rate_sum"),
        ("ridge", {"rate_sum": 0}, "rate_sum is 0\nTry: the sum"),
        ("ridge", {"rate_sum": float("nan")}, "rate_sum is nan\nTry: the sum"),
        ("ridge", {"rate_sum": 2.0}, "no second moments"),
        ("datainf", {"rate_sum": 2.0}, "damping 0.1 does not ask for it"),
        ("ridge", {"rate_sum": 2.0, "damping": "rows:2"}, "damping rows:2 does not ask for it"),
        ("datainf", {"metric": "adam"}, "second moments, and none were given"),
        ("datainf", {"curvature": "run/curvature"}, "no option curvature"),
    ],
)
@pytest.mark.usefixtures("nothing_collected")
def test_a_choice_is_refused_before_any_gradient(made, method, options, match):
    with pytest.raises(InputError, match=match):
        Attributor(made[0], made[1], None, None, method, options)


@pytest.mark.usefixtures("nothing_collected")
def test_second_moments_are_of_each_checkpoint(made):
    model, data, _ = made
    for moments, loads in (([{}, {}], []), ({}, [dict, dict]), ([], [dict])):
        with pytest.raises(OptionError, match="second moments of"):
            Attributor(model, data, None, None, "ridge", {}, loads, moments)


@pytest.mark.usefixtures("nothing_collected")
def test_a_task_that_draws_nothing_has_the_other_methods(made):
    task = tasks.Custom(labelled)
    with pytest.raises(OptionError, match="the task custom does not say") as raised:
        Attributor(made[0], made[1], task, None, "gauss-newton", {})
    assert "ridge, datainf, exact" in raised.value.remedy


def test_scores_are_the_weighted_mean_over_checkpoints(made):
    model, data, queries = made
    states = [{k: (1 + c) * v.clone() for k, v in model.state_dict().items()} for c in (0, 1)]

    def load(state, rate):
        model.load_state_dict(state)
        return rate

    loads = [partial(load, *both) for both in zip(states, (1e-3, 5e-4), strict=True)]
    found, first, second = (
        Attributor(model, data, None, None, "gradient", {}, some)
        for some in (loads, loads[:1], loads[1:])
    )
    truth = (2 * first.scores(queries) + second.scores(queries)) / 3
    own = (2 * first.self_influence() + second.self_influence()) / 3
    assert torch.allclose(found.scores(queries), truth, rtol=1e-5, atol=1e-7)
    assert torch.allclose(found.self_influence(), own, rtol=1e-5)


def test_weights_of_checkpoints_are_checked_as_scores_check_them(made):
    model, data, queries = made
    for weights in ([0.0], [0, 0], [1, -1], [float("nan")], [float("inf"), 1]):
        loads = [lambda weight=weight: weight for weight in weights]
        with pytest.raises(OptionError, match="weights are"):
            Attributor(model, data, None, None, "gradient", {}, loads)
    plain = Attributor(model, data, None, None, "gradient", {})
    for counts in ((0, 2), (None, True), ("a", torch.tensor([1.0]))):
        loads = [lambda count=count: count for count in counts]
        found = Attributor(model, data, None, None, "gradient", {}, loads)
        assert torch.allclose(found.self_influence(), plain.self_influence())
        assert torch.allclose(found.scores(queries), plain.scores(queries))
        assert found.weights == ([0, 2] if counts == (0, 2) else [1, 1])
