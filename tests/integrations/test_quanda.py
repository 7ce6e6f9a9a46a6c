"""quanda's interface, where quanda is installed."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from datainf.integrations.live import Attributor, rows_of


def test_an_explainer_gives_datainf_s_scores():
    pytest.importorskip("quanda")
    from datainf.integrations.quanda import DataInfExplainer

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    data = TensorDataset(torch.randn(12, 5), torch.randint(0, 3, (12,)))
    test_data, targets = torch.randn(4, 5), torch.randint(0, 3, (4,))
    explainer = DataInfExplainer(model, data, method="datainf")
    plain = Attributor(model, data, None, None, "datainf", {})
    found = explainer.explain(test_data, targets)
    assert torch.allclose(found, plain.scores(rows_of((test_data, targets))), rtol=1e-4)
    assert found.shape == (4, 12)
    assert torch.allclose(explainer.self_influence(), plain.self_influence(), rtol=1e-4)
