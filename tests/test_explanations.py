"""Scores taken apart: by tensor and by token, the parts sum to the scores."""

from __future__ import annotations

import pytest
import torch

from conftest import make_model, make_rows
from datainf import attribute, collect, collect_curvature, explanations, tasks
from datainf.attribution import requested
from datainf.explanations import explain
from datainf.gradients.engine import PerExample
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import select
from datainf.gradients.positions import Positions
from datainf.projection import Projection

PAIRS = [(q, row) for q in range(3) for row in (0, 3, 5)]


@pytest.fixture(scope="module")
def task(tokenizer):
    return tasks.CausalLM(tokenizer)


@pytest.fixture(scope="module")
def weights():
    return [make_model("llama", seed=seed) for seed in (0, 1)]


def moments(model):
    generator = torch.Generator().manual_seed(3)
    return {
        name: torch.rand(p.shape, generator=generator) + 0.1
        for name, p in model.named_parameters() if p.requires_grad
    }  # fmt: skip


@pytest.fixture(scope="module")
def stores(task, weights, tmp_path_factory):
    """(train, query, curvature) of two checkpoints, in full and made smaller."""

    def collected(model, folder, **options):
        own = {"second_moments": moments(model), **options}
        rows = make_rows("llama")
        return (
            collect(model, rows, task, out=folder / "train", **own),
            collect(model, rows[:3], task, out=folder / "query", **own),
            collect_curvature(model, rows, task, out=folder / "curvature", **own),
        )

    folder = tmp_path_factory.mktemp("stores")
    return {
        "full": [collected(model, folder / str(i)) for i, model in enumerate(weights)],
        "projected": [collected(weights[0], folder / "p", project=2)],
        "in Adam's metric": [
            collected(weights[0], folder / "a", project=Projection(2, metric="adam"))
        ],
        "int8": [collected(weights[0], folder / "i", dtype="int8")],
    }


def readers_of(models, task):
    rows = make_rows("llama")

    def reader_of(model):
        own = task.for_model(model)
        gradients = PerExample(model, select(model), own, torch.device("cpu"))
        gradients.check([own.encode(row) for row in rows[:3]])
        positions = Positions(gradients)

        class Reader:
            def can_read(self, row):
                return row in range(len(rows))

            def __call__(self, row, directions):
                example = own.encode(rows[row])
                return positions.parts(example, directions).along(own.streams(example))

        return Reader()

    return [lambda model=model: reader_of(model) for model in models]


CASES = [
    ("full", "gauss-newton", {}), ("full", "ridge", {}), ("full", "datainf", {}),
    ("full", "exact", {"blocks": "module", "normalize": "unit"}),
    ("full", "cg", {"metric": "fisher"}), ("full", "gradient", {"normalize": "root"}),
    ("projected", "datainf", {}), ("projected", "ridge", {"metric": "none"}),
    ("in Adam's metric", "gauss-newton", {"metric": "adam"}), ("int8", "gauss-newton", {}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "method", "options"), CASES)
def test_the_parts_sum_to_the_scores(stores, weights, task, kind, method, options):
    found = stores[kind]
    train, query, drawn = ([one[i] for one in found] for i in range(3))
    curvature = drawn if method == "gauss-newton" else None
    shares = [0.3, 0.7][: len(found)]
    scores = attribute(train, query, method, curvature=curvature, weights=shares, **options)
    asked = requested(
        train, query, method, curvature=curvature, weights=shares, dampings=[None], **options
    )
    models = weights[: len(found)]
    with evaluating(models[0]), evaluating(models[-1]):
        explained = explain(asked, PAIRS, readers=readers_of(models, task))
    assert sorted(explained) == sorted(PAIRS)
    largest = float(scores.values.abs().max())
    off = 2e-2 if kind == "int8" else 1e-4
    for (q, row), one in explained.items():
        assert one.score == pytest.approx(float(scores.values[q, row]), abs=1e-5 * largest)
        assert one.from_positions == pytest.approx(one.score, abs=off * largest)
        assert len(one.by_tensor) == len(train[0].index.blocks)
        assert len(one.streams[0]) == len(task.encode(make_rows("llama")[row])["input_ids"])


def test_directions_are_handed_on_a_few_at_a_time(stores, weights, task, monkeypatch):
    train, query, _ = stores["projected"][0]
    asked = requested(train, query, "datainf", dampings=[None])
    found = []
    for most in (2**30, 1):
        monkeypatch.setattr(explanations, "DIRECTION_BYTES", most)
        with evaluating(weights[0]):
            found.append(explain(asked, PAIRS, readers=readers_of(weights[:1], task)))
    for pair, one in found[0].items():
        other = found[1][pair]
        assert one.from_positions == pytest.approx(other.from_positions, rel=1e-6)
        assert torch.allclose(one.streams[0], other.streams[0])


def test_some_queries_alone_and_without_a_model(stores):
    train, query, _ = stores["full"][0]
    scores = attribute(train, query, "exact")
    asked = requested(train, query, "exact", dampings=[None])
    explained = explain(asked, [(2, 4), (0, 1)])
    assert sorted(explained) == [(0, 1), (2, 4)]
    for (q, row), one in explained.items():
        assert one.score == pytest.approx(float(scores.values[q, row]), rel=1e-4)
        assert one.streams is None


def test_only_some_pairs_are_read(stores, weights, task):
    train, query, _ = stores["full"][0]
    asked = requested(train, query, "datainf", dampings=[None])
    with evaluating(weights[0]):
        explained = explain(
            asked, PAIRS, readers=readers_of(weights[:1], task), reads=lambda pair: pair[0] == 1
        )
    assert {q for (q, _), one in explained.items() if one.streams is not None} == {1}
