"""quanda's interface, where quanda is installed."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from datainf.integrations.live import Attributor


@pytest.fixture
def work():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    data = TensorDataset(torch.randn(12, 5), torch.randint(0, 3, (12,)))
    return model, data, (torch.randn(4, 5), torch.randint(0, 3, (4,)))


def load(model, file):
    """As quanda loads a state dict."""
    model.load_state_dict(torch.load(file))
    return 1.0


def saved(model, folder, count=2):
    files = []
    for place in range(count):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        files.append(str(folder / f"{place}.pt"))
        torch.save(model.state_dict(), files[-1])
    return files


def test_an_explainer_gives_datainf_s_scores(work):
    pytest.importorskip("quanda")
    from datainf.integrations.quanda import DataInfExplainer

    model, data, asked = work
    explainer = DataInfExplainer(model, data, method="datainf")
    plain = Attributor(model, data, None, None, "datainf", {})
    found = explainer.explain(*asked)
    assert torch.allclose(found, plain.scores(asked), rtol=1e-4)
    assert found.shape == (4, 12)
    assert torch.allclose(explainer.self_influence(), plain.self_influence(), rtol=1e-4)


def test_quanda_s_metrics_take_it(work, tmp_path):
    """They make their explainers themselves, with arguments of their own."""
    pytest.importorskip("quanda")
    from quanda.metrics.downstream_eval import ClassDetectionMetric, MislabelingDetectionMetric
    from quanda.metrics.heuristics import ModelRandomizationMetric

    from datainf.integrations.quanda import DataInfExplainer

    model, data, asked = work
    files = saved(model, tmp_path)
    ours = {"explainer_cls": DataInfExplainer, "expl_kwargs": {"method": "gradient"}}
    where = {"checkpoints": files, "checkpoints_load_func": load}
    metric = MislabelingDetectionMetric(model, data, [1, 2, 3], **ours, **where)
    plain = Attributor(
        model, data, None, None, "gradient", {}, [partial(load, model, f) for f in files]
    )
    order = plain.self_influence().argsort(descending=True)
    success = torch.isin(order, torch.tensor([1, 2, 3]))
    assert torch.equal(metric.compute()["success_arr"], success)
    scores = plain.scores(asked)
    classes = ClassDetectionMetric(model, data, **where)
    classes.update(scores, asked[1])
    first = scores.topk(5, dim=1).indices
    same = data.tensors[1][first] == asked[1][:, None]
    assert classes.compute()["score"] == pytest.approx(float(same.float().mean()))
    changed = ModelRandomizationMetric(
        model=model, model_id="a", cache_dir=str(tmp_path), train_dataset=data, **ours, **where
    )
    changed.update(scores, *asked)
    assert -1 <= changed.compute()["score"] <= 1


def test_scores_are_summed_over_checkpoints(work, tmp_path):
    model, data, asked = work
    files = saved(model, tmp_path)
    both = Attributor(
        model, data, None, None, "gradient", {}, [partial(load, model, f) for f in files]
    )
    truth = own = 0.0
    for file in files:
        load(model, file)
        one = Attributor(model, data, None, None, "gradient", {})
        truth = truth + one.scores(asked) / 2
        own = own + one.self_influence() / 2
    assert torch.allclose(both.scores(asked), truth, rtol=1e-5, atol=1e-7)
    assert torch.allclose(both.self_influence(), own, rtol=1e-5)
