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
    own = (G * torch.linalg.solve(damped, G.T).T).sum(dim=1)
    assert torch.allclose(found.self_influence().double(), own, rtol=1e-4)


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


def test_a_language_model_has_gauss_newton_by_default(tokenizer, tmp_path):
    model, task = make_model("llama"), tasks.CausalLM(tokenizer)
    rows, asked = [{"text": text} for text in TEXTS[:4]], [{"text": text} for text in TEXTS[4:]]
    found = Attributor(model, rows, task, tmp_path / "out", None, {"rate_sum": 2.0})
    stores = [collect(model, some, task, out=tmp_path / str(len(some))) for some in (rows, asked)]
    drawn = collect_curvature(model, rows, task, out=tmp_path / "drawn")
    truth = attribute(*stores, curvature=drawn, rate_sum=2.0)
    assert truth.method == "gauss-newton"
    assert torch.allclose(found.scores(asked), truth.values, rtol=1e-5)
    assert (tmp_path / "out" / "curvature").is_dir()


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
        ("datainf", {"curvature": "run/curvature"}, "no option curvature"),
    ],
)
@pytest.mark.usefixtures("nothing_collected")
def test_a_choice_is_refused_before_any_gradient(made, method, options, match):
    with pytest.raises(InputError, match=match):
        Attributor(made[0], made[1], None, None, method, options)


@pytest.mark.usefixtures("nothing_collected")
def test_a_task_that_draws_nothing_has_the_other_methods(made):
    task = tasks.Custom(labelled)
    with pytest.raises(OptionError, match="the task custom does not say") as raised:
        Attributor(made[0], made[1], task, None, "gauss-newton", {})
    assert "ridge, datainf, exact" in raised.value.remedy


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
