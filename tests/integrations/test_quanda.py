"""quanda's interface, where quanda is installed; how it hands text over, everywhere."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import partial
from types import ModuleType, SimpleNamespace

import pytest
import torch
from datasets import Dataset
from torch import nn
from torch.utils.data import TensorDataset
from transformers import default_data_collator

from conftest import TEXTS, make_model
from datainf import tasks
from datainf.errors import InputError
from datainf.integrations.live import Attributor
from missing import Missing
from tiny_models import TINY, tiny_lora


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


def test_scores_are_the_mean_over_checkpoints_of_equal_weight(work, tmp_path):
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


class Stood:
    """What `DataInfExplainer` takes of quanda's `Explainer`, where quanda is not installed."""

    def __init__(self, model, train_dataset, task, checkpoints, checkpoints_load_func):
        assert task in self.accepted_tasks
        assert len(train_dataset) > 0
        self.checkpoints, self.checkpoints_load_func = checkpoints or [], checkpoints_load_func
        self.device = next(model.parameters()).device


@pytest.fixture
def explainer(monkeypatch):
    """The class, in quanda's interface or in one that stands for it."""
    name, absent = "datainf.integrations.quanda", importlib.util.find_spec("quanda") is None
    if absent:
        explainers = ModuleType("quanda.explainers")
        explainers.Explainer = Stood
        monkeypatch.setitem(sys.modules, "quanda", ModuleType("quanda"))
        monkeypatch.setitem(sys.modules, "quanda.explainers", explainers)
    yield importlib.import_module(name).DataInfExplainer
    if absent:
        del sys.modules[name]


def handed(rows):
    """A batch of rows as quanda's handlers of data sets hand it to an explainer."""
    batch = default_data_collator(rows)
    targets = batch.pop("labels")
    return batch, targets


def padded(tokenizer, text, **rest):
    return {**tokenizer(text, padding="max_length", max_length=70), **rest}


def test_text_classification(explainer, tokenizer):
    model, task = make_model("bert"), tasks.SequenceClassification(tokenizer)
    rows = [padded(tokenizer, text, labels=i % 3) for i, text in enumerate(TEXTS)]
    found = explainer(
        model, Dataset.from_list(rows[:4]), task, kind="text_classification", method="gradient"
    )
    plain = [{"text": text, "label": i % 3} for i, text in enumerate(TEXTS)]
    truth = Attributor(model, plain[:4], task, None, "gradient", {})
    inputs, targets = handed(rows[4:])
    for batch in ((inputs, targets), (inputs, targets.tolist()), (rows[4:], targets)):
        assert torch.allclose(found.explain(*batch), truth.scores(plain[4:]), rtol=1e-3, atol=1e-6)
    with_labels = {**inputs, "labels": targets}
    assert torch.allclose(found.explain(with_labels, None), found.explain(inputs, targets))
    other = [{**row, "label": 0} for row in plain[4:]]  # a label that is not the data's own
    assert torch.allclose(
        found.explain(inputs, torch.zeros(2).long()), truth.scores(other), rtol=1e-3, atol=1e-6
    )
    assert torch.allclose(found.self_influence(), truth.self_influence(), rtol=1e-3)


def test_targets_are_explained_whatever_label_a_row_has(explainer, tokenizer):
    model, task = make_model("bert"), tasks.SequenceClassification(tokenizer)
    rows = [{"text": text, "label": i % 3} for i, text in enumerate(TEXTS)]
    found = explainer(model, rows[:4], task, kind="text_classification", method="gradient")
    truth = Attributor(model, rows[:4], task, None, "gradient", {})
    asked = [{"text": text, "label": 0} for text in TEXTS[4:]]
    other = [{**row, "label": label} for row, label in zip(asked, (2, 1), strict=True)]
    both = [{**row, "labels": 0} for row in asked]
    for test_data in (asked, both):
        for targets in ([2, 1], torch.tensor([2, 1])):
            assert torch.allclose(found.explain(test_data, targets), truth.scores(other), rtol=1e-3)
    assert torch.allclose(found.explain(asked, None), truth.scores(asked), rtol=1e-3)
    assert not torch.allclose(truth.scores(asked), truth.scores(other), rtol=1e-1)
    kept = explainer(
        model, [{**row, "labels": 0} for row in rows[:4]], task, kind="text_classification",
        method="gradient",
    )  # fmt: skip
    assert torch.allclose(kept.self_influence(), truth.self_influence(), rtol=1e-3)


def test_targets_of_images_are_explained(explainer):
    model, rows = tiny_lora("vit"), TINY["vit"].rows
    task = tasks.ImageClassification(SimpleNamespace(to_json_string=str))
    found = explainer(model, rows[:4], task, method="gradient")
    other = [{**row, "label": 2} for row in rows[:2]]
    truth = Attributor(model, rows[:4], task, None, "gradient", {}).scores(other)
    columns = {"pixel_values": torch.stack([row["pixel_values"] for row in rows[:2]])}
    for test_data in (rows[:2], columns):
        assert torch.allclose(found.explain(test_data, [2, 2]), truth, rtol=1e-3)


def test_causal_lm(explainer, tokenizer):
    model, task = make_model("llama"), tasks.CausalLM(tokenizer, append_eos=False)
    rows = [padded(tokenizer, text) for text in TEXTS]
    for row in rows:
        pairs = zip(row["input_ids"], row["attention_mask"], strict=True)
        row["labels"] = [token if real else -100 for token, real in pairs]
    found = explainer(model, Dataset.from_list(rows[:4]), task, kind="causal_lm", method="gradient")
    plain = [{"text": text} for text in TEXTS]
    truth = Attributor(model, plain[:4], task, None, "gradient", {})
    inputs, targets = handed(rows[4:])
    assert torch.allclose(
        found.explain(inputs, targets), truth.scores(plain[4:]), rtol=1e-3, atol=1e-6
    )


def test_targets_of_tokens_want_tokens(explainer, tokenizer):
    """A text's own would stand in their place."""
    model, task = make_model("llama"), tasks.CausalLM(tokenizer)
    rows = [{"text": text} for text in TEXTS]
    found = explainer(model, rows[:4], task, kind="causal_lm", method="gradient")
    truth = Attributor(model, rows[:4], task, None, "gradient", {})
    assert torch.allclose(found.explain(rows[4:], None), truth.scores(rows[4:]))
    with pytest.raises(InputError, match="targets are of tokens"):
        found.explain(rows[4:], torch.zeros(2, 3).long())


def test_second_moments_are_handed_on(explainer, work):
    model, data, asked = work
    moments = {name: 0.1 + torch.rand_like(p) for name, p in model.named_parameters()}
    options = {"metric": "adam"}
    found = explainer(model, data, method="gradient", options=options, second_moments=moments)
    truth = Attributor(model, data, None, None, "gradient", options, second_moments=moments)
    assert torch.allclose(found.explain(*asked), truth.scores(asked), rtol=1e-4)


@pytest.mark.parametrize(
    ("missing", "kind", "match"),
    [
        ("quanda", InputError, "needs quanda"),
        ("quanda.explainers", ModuleNotFoundError, "quanda.explainers"),
    ],
)
@pytest.mark.usefixtures("explainer")
def test_what_is_missing_is_named(monkeypatch, missing, kind, match):
    """quanda, or what an installed one stands on."""
    name = "datainf.integrations.quanda"
    with monkeypatch.context() as patch:
        for loaded in {name, missing, "quanda.explainers"}:
            patch.delitem(sys.modules, loaded)
        patch.setattr(sys, "meta_path", [Missing(missing), *sys.meta_path])
        with pytest.raises(kind, match=match):
            importlib.import_module(name)


def test_what_cannot_be_explained_is_said(explainer, work):
    model, data, (inputs, _) = work
    with pytest.raises(InputError, match="needs a task that reads text"):
        explainer(model, data, kind="causal_lm")
    found = explainer(model, data, method="gradient")
    with pytest.raises(InputError, match="NoneType"):
        found.explain(inputs, None)
    with pytest.raises(InputError, match="no length or no rows"):
        explainer(model, iter(data))


def test_quanda_s_handlers_hand_text_over_so(tokenizer):
    handlers = pytest.importorskip("quanda.utils.datasets.dataset_handlers")
    data = Dataset.from_list([padded(tokenizer, text, labels=1) for text in TEXTS])
    handler = handlers.get_dataset_handler(data)
    (batch,) = handler.create_dataloader(data, batch_size=len(data))
    theirs, labels = handler.process_batch(batch, "cpu")
    ours, targets = handed(list(data))
    assert torch.equal(labels, targets)
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)
