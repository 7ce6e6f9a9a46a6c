"""The damping that the learning rates say, and the method that uses it, against dense float64."""

from __future__ import annotations

import pytest
import torch

from datainf import Damping, attribute, collect, estimators, self_influence, sweep, tasks
from datainf.gradient_flow import FACTOR, FLOOR, UNKNOWN, flow_damping

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
    import shutil

    shutil.copytree(stores[0][0].path, folder)
    (folder / "second_moments.safetensors").unlink()
    from datainf import GradientStore

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


def test_the_damping_is_the_inverse_of_the_rates_times_the_norms(stores):
    trains = [train for train, _ in stores]
    norms = [float(dense(train, train).square().sum(1).mean()) for train in trains]
    rates = [1e-3, 2e-3]
    moved = sum(rate * norm for rate, norm in zip(rates, norms, strict=True))
    found = flow_damping(trains, rates)
    assert found.kind == "rows"
    assert found.value == pytest.approx(FACTOR * N / moved, rel=1e-5)
    assert found.value > FLOOR
    # Ten times as long a training has a tenth of the damping, down to the floor.
    assert flow_damping(trains, [10 * r for r in rates]).value == pytest.approx(
        max(FLOOR, found.value / 10), rel=1e-5
    )
    assert flow_damping(trains, [1e3, 1e3]).value == FLOOR


def test_where_nothing_is_known_of_the_training(stores, plain):
    assert flow_damping([stores[0][0]], None) == Damping(UNKNOWN, "rows")
    assert flow_damping([plain], [1e-3]) == Damping(UNKNOWN, "rows")


def test_ridge_is_kernel_ridge_regression(stores):
    train, query = stores[0]
    found = attribute(train, query, "ridge", damping="rows:2", steps=40)
    torch.testing.assert_close(
        found.values.double(), by_hand(train, query, 2.0), rtol=2e-4, atol=2e-4
    )
    assert found.settings == {
        "damping": "rows:2", "normalize": "unit", "metric": "adam", "blocks": "model", "steps": 40,
    }  # fmt: skip


def test_ridge_is_the_default_and_three_steps_of_cg(stores):
    trains, queries = zip(*stores, strict=True)
    rates = [1e-3, 2e-3]
    found = attribute(trains, queries, weights=rates)
    assert found.method == "ridge"
    c = flow_damping(trains, rates)
    assert found.settings["damping"] == str(c)
    expected = attribute(
        trains, queries, "cg", steps=3, weights=rates, damping=c, normalize="unit", metric="adam",
        blocks="model",
    )  # fmt: skip
    assert torch.equal(found.values, expected.values)


def test_without_second_moments_the_mean_square_stands_in(stores, plain):
    query = stores[0][1]
    found = attribute(plain, query, "ridge", steps=40)
    assert found.settings["metric"] == "fisher"
    assert found.settings["damping"] == f"rows:{UNKNOWN:g}"
    torch.testing.assert_close(
        found.values.double(), by_hand(plain, query, UNKNOWN, "fisher"), rtol=2e-4, atol=2e-4
    )


def test_options_overrule_the_methods_own(stores):
    train, query = stores[0]
    own = attribute(train, query, "ridge", damping="0.1", normalize="none", metric="none",
                    blocks="tensor")  # fmt: skip
    expected = attribute(train, query, "cg", steps=3)
    assert torch.equal(own.values, expected.values)
    other = attribute(train, query, "datainf", damping="flow", weights=[1e-3])
    assert other.settings["damping"] == str(flow_damping([train], [1e-3]))
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
    assert first.settings["damping"] == f"rows:{UNKNOWN:g}"
    assert torch.equal(second.values, attribute(train, query, damping="rows:5").values)


def test_steps_are_for_those_that_take_them():
    assert estimators.from_name("ridge", steps=7).steps == 7
    assert estimators.from_name("ridge").steps == 3
