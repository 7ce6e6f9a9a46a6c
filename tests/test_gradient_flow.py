"""The damping that the learning rates say, and the method that uses it, against dense float64."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from datainf import (
    Damping,
    GradientStore,
    attribute,
    collect,
    estimators,
    self_influence,
    sweep,
    tasks,
)
from datainf.gradient_flow import OWN, FlowRule, flow_damping
from datainf.linalg import from_dense

N, M = 12, 3


def small_model(seed):
    torch.manual_seed(seed)
    return torch.nn.Linear(4, 3)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """(training store, query store) at two checkpoints, with Adam's second moments made up."""
    folder = tmp_path_factory.mktemp("flow")
    draw = torch.Generator().manual_seed(0)
    rows = [{"x": torch.randn(4, generator=draw), "y": int(i % 3)} for i in range(N + M)]
    task = tasks.Custom(
        lambda model, batch: torch.nn.functional.cross_entropy(
            model(batch["x"]), batch["y"], reduction="none"
        ),
        collate=lambda examples: {
            "x": torch.stack([e["x"] for e in examples]),
            "y": torch.tensor([e["y"] for e in examples]),
        },
    )
    found = []
    for seed in (0, 1):
        model = small_model(seed)
        moments = {name: 0.1 * torch.rand(p.shape) + 1e-3 for name, p in model.named_parameters()}
        found.append((
            collect(model, rows[:N], task, out=folder / f"{seed}-t", second_moments=moments),
            collect(model, rows[N:], task, out=folder / f"{seed}-q"),
        ))  # fmt: skip
    return found


@pytest.fixture(scope="module")
def plain(stores, tmp_path_factory):
    """A training store without second moments, of the first checkpoint's gradients."""
    folder = tmp_path_factory.mktemp("plain") / "t"
    shutil.copytree(stores[0][0].path, folder)
    (folder / "second_moments.safetensors").unlink()
    return GradientStore.open(folder)


def dense(store, train, metric="adam"):
    """Gradients [n, d], float64, in Adam's metric or with the mean square in its place."""
    parts = []
    for name, G in store.blocks.items():
        own = train.blocks[name].to_dense().double()
        v = train.second_moments[name].double() if metric == "adam" else own.square().mean(dim=0)
        parts.append(G.to_dense().double() / (v.sqrt() + 1e-8).sqrt())
    return torch.cat(parts, dim=1)


def by_hand(train, query, c, metric="adam"):
    """n · K_q (K + cI)⁻¹ with cosines in Adam's metric for K."""
    G, V = (torch.nn.functional.normalize(dense(store, train, metric)) for store in (train, query))
    inverse = torch.linalg.inv(G @ G.T + c * torch.eye(len(G), dtype=torch.float64))
    return len(G) * V @ G.T @ inverse


def mean_square(stores, shares):
    """mean ‖g‖² in Adam's metric, by hand."""
    return sum(
        share * float(dense(train, train).square().sum(1).mean())
        for (train, _), share in zip(stores, shares, strict=True)
    )


def test_the_damping_is_the_inverse_of_the_rates_times_the_norms(stores):
    square = mean_square(stores, [0.25, 0.75])
    found = flow_damping(N, square, 3e-3, checkpoints=2)
    assert found.kind == "rows"
    assert found.value == pytest.approx(3 * N / (3e-3 * square), rel=1e-5)
    assert found.value > 10
    # Ten times as long a training has a tenth of the damping, down to the floor.
    longer = flow_damping(N, square, 3e-2, checkpoints=3)
    assert longer.value == pytest.approx(max(10, found.value / 10), rel=1e-5)
    assert flow_damping(N, square, 1e3, checkpoints=2).value == 10
    # As many epochs over twice the examples are twice the time, and the same number of rows.
    assert flow_damping(2 * N, square, 6e-3, checkpoints=2) == found
    # Of one checkpoint it is three times as much.
    assert flow_damping(N, square, 3e-3).value == pytest.approx(3 * found.value)
    assert flow_damping(N, square, 1e3).value == 30


def test_where_nothing_is_known_of_the_training(stores, plain):
    unknown = Damping(20, "rows")
    assert FlowRule(3, 10, 20) == OWN
    assert flow_damping(N, None, 1e-3) == unknown
    assert flow_damping(N, 1.0, None) == unknown
    assert flow_damping(N, 0.0, 1e-3) == unknown
    train, query = stores[0]
    assert attribute(train, query).settings["damping"] == str(unknown)
    assert attribute(plain, query, rate_sum=1e-3).settings["damping"] == str(unknown)


def rows_of(stores, shares, rate_sum):
    times = 3 if len(stores) == 1 else 1
    rows = max(10, 3 * N / (rate_sum * mean_square(stores, shares)))
    return pytest.approx(times * rows, rel=1e-6)


def rows_told(scores):
    """The rows that the scores say they were damped by."""
    kind, _, rows = scores.settings["damping"].partition(":")
    assert kind == "rows"
    return float(rows)


def test_weights_count_and_rates_damp(stores):
    trains, queries = zip(*stores, strict=True)
    one, other = (
        attribute(trains, queries, weights=weights, rate_sum=3e-3)
        for weights in ([0.25, 0.75], [1, 3])
    )
    assert rows_told(one) == rows_of(stores, [0.25, 0.75], 3e-3)
    torch.testing.assert_close(one.values, other.values)


def test_a_store_that_notes_its_training_needs_no_telling(stores, tmp_path):
    train, query = stores[0]
    folder = tmp_path / "noted"
    shutil.copytree(train.path, folder)
    index = json.loads((folder / "index.json").read_text())
    del index["checksum"]
    index["notes"]["rate_sum"] = 3e-3
    (folder / "index.json").write_text(json.dumps(index))
    noted = GradientStore.open(folder)
    expected = attribute(train, query, rate_sum=3e-3)
    assert torch.equal(attribute(noted, query).values, expected.values)
    own = self_influence(noted)
    torch.testing.assert_close(own, attribute(noted, noted).values.diagonal(), rtol=1e-4, atol=1e-5)


def test_the_metric_is_one_for_all_checkpoints(stores, plain):
    """One without second moments: none is in Adam's metric."""
    trains = [plain, stores[1][0]]
    found = attribute(trains, [query for _, query in stores])
    expected = attribute(trains, [query for _, query in stores], metric="fisher")
    assert found.settings["metric"] == "fisher"
    assert torch.equal(found.values, expected.values)


def test_ridge_is_kernel_ridge_regression(stores):
    train, query = stores[0]
    found = attribute(train, query, "ridge", damping="rows:2", steps=40)
    torch.testing.assert_close(
        found.values.double(), by_hand(train, query, 2.0), rtol=2e-4, atol=2e-4
    )
    assert found.settings == {
        "damping": "rows:2", "normalize": "unit", "metric": "adam", "blocks": "model", "steps": 40,
    }  # fmt: skip


def test_ridge_is_the_default(stores):
    trains, queries = zip(*stores, strict=True)
    found = attribute(trains, queries, weights=[1, 2], rate_sum=3e-3, steps=40)
    assert found.method == "ridge"
    assert rows_told(found) == rows_of(stores, [1 / 3, 2 / 3], 3e-3)
    c = rows_told(found)
    expected = sum(
        share * by_hand(train, query, c)
        for (train, query), share in zip(stores, [1 / 3, 2 / 3], strict=True)
    )
    torch.testing.assert_close(found.values.double(), expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("m", [1, 3])
def test_the_steps_are_those_of_conjugate_gradients(stores, steps, m):
    """The best vector of the Krylov space in the norm of K + cI, whether K is formed or not."""
    train, query = stores[0]
    G, V = (torch.nn.functional.normalize(dense(store, train)) for store in (train, query))
    K, b = G @ G.T + 2 * torch.eye(N, dtype=torch.float64), G @ V[:m].T
    fitted = estimators.Ridge(steps).fit(from_dense(G))
    found = fitted.scores(V[:m], 2 / N).values
    for q in range(m):
        space = torch.stack([torch.linalg.matrix_power(K, k) @ b[:, q] for k in range(steps)], 1)
        best = space @ torch.linalg.solve(space.T @ K @ space, space.T @ b[:, q])
        torch.testing.assert_close(found[q], N * best, rtol=1e-6, atol=1e-8)
    solved = fitted.solve(V[:m], 2 / N)
    torch.testing.assert_close(solved.R @ G.T, found, rtol=1e-6, atol=1e-8)
    F = G.T @ G / N + 2 / N * torch.eye(G.shape[1], dtype=torch.float64)
    left = (V[:m] - solved.R @ F).norm(dim=1) / V[:m].norm(dim=1)
    assert solved.residual == pytest.approx(float(left.max()), rel=1e-6, abs=1e-12)


def test_without_second_moments_the_mean_square_stands_in(stores, plain):
    query = stores[0][1]
    found = attribute(plain, query, "ridge", steps=40)
    assert found.settings["metric"] == "fisher"
    assert found.settings["damping"] == "rows:20"
    torch.testing.assert_close(
        found.values.double(), by_hand(plain, query, 20, "fisher"), rtol=2e-4, atol=2e-4
    )


def test_options_overrule_the_methods_own(stores):
    train, query = stores[0]
    own = attribute(train, query, "ridge", damping="0.1", normalize="none", metric="none",
                    blocks="tensor")  # fmt: skip
    assert own.settings == {
        "damping": "0.1", "normalize": "none", "metric": "none", "blocks": "tensor", "steps": 2,
    }  # fmt: skip
    other = attribute(train, query, "datainf", damping="flow", rate_sum=1e-3)
    assert rows_told(other) == rows_of(stores[:1], [1.0], 1e-3)
    assert other.settings["normalize"] == "none"


def test_self_influence_of_ridge(stores):
    train, _ = stores[0]
    found = self_influence(train, "ridge", damping="rows:2", steps=40)
    torch.testing.assert_close(
        found.double(), by_hand(train, train, 2.0).diagonal(), rtol=2e-4, atol=2e-4
    )


def test_a_sweep_has_room_for_both_kinds_of_damping(stores):
    train, query = stores[0]
    first, second = sweep(train, query, dampings=[None, "rows:5"])
    assert first.settings["damping"] == "rows:20"
    assert torch.equal(second.values, attribute(train, query, damping="rows:5").values)


def test_steps_are_for_those_that_take_them():
    assert estimators.from_name("ridge", steps=7).steps == 7
    assert estimators.from_name("ridge").steps == 2
