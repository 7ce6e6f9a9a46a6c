"""The runtime study's parts: what is timed does what it says; one query of many."""

from __future__ import annotations

import time

import pytest
import torch

import datainf
from conftest import make_model, make_rows
from datainf import tasks
from datainf.evaluation import agreement
from experiments.cost import cell, released
from experiments.cost.collected import Gradients
from experiments.cost.exact_loop import exact_loop
from experiments.cost.mean_query import mean_query
from experiments.cost.released import Scored, Timing
from experiments.cost.timing import Timed, alternating, whole
from experiments.methods import Variant


@pytest.fixture(scope="module")
def found(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("stores")
    model, rows = make_model("bert"), make_rows("bert")
    task = tasks.SequenceClassification(tokenizer).for_model(model)
    chosen = released.trainable(model)
    train = datainf.collect(model, rows * 3, task, out=folder / "train", trainable=chosen)
    query = datainf.collect(model, rows[:4], task, out=folder / "query", trainable=chosen)
    return Gradients(
        train, query, mean_query(query, folder / "mean"), released.from_store(train),
        released.mean(released.from_store(query)), {}, {"random": torch.randn(len(train))},
    )  # fmt: skip


def test_the_mean_query_has_the_mean_of_the_scores(found, tmp_path):
    assert found.one.ids == ["mean"]
    for method in ("datainf", "exact", "gradient"):
        one, all_ = (
            datainf.attribute(found.train, q, method).values for q in (found.one, found.query)
        )
        torch.testing.assert_close(
            one[0], all_.mean(0), rtol=1e-4, atol=1e-5 * float(all_.abs().max())
        )
    again = mean_query(found.query, tmp_path / "mean")
    assert mean_query(found.query, tmp_path / "mean").index == again.index
    assert found.one.index.fingerprints["data"] != found.query.index.fingerprints["data"]


def test_the_loops_that_are_timed_do_what_ours_do(found):
    scores: dict[str, torch.Tensor] = {}
    times = {name: call() for name, call in cell.loops(found, scores).items()}
    assert set(times) == {"released, gradient", "released, datainf", "released, lissa"}
    different = cell.differences(found, scores)
    assert different["gradient"] < 1e-5
    assert different["datainf"] < 1e-5
    assert different["lissa"] > 0.1
    near = cell.agreements(found, scores)
    assert near["exact"]["pearson"] == pytest.approx(1)
    assert near["datainf"]["pearson"] == pytest.approx(near["datainf, as released"]["pearson"])
    exact = Variant("exact").scores(found.train, found.one)[0]
    for name, values in (("random", found.baselines["random"]), ("own loss", -found.train.losses)):
        assert near[name] == agreement(values, exact)
    assert near["lissa 10"]["pearson"] > near["lissa, as released"]["pearson"]


def test_squares_are_the_norms_of_the_store(found):
    torch.testing.assert_close(
        torch.stack(cell.squares(found.train), 1), torch.as_tensor(found.train.sq_norms)
    )


def test_exact_is_measured_whole_where_time_allows(found):
    record, difference = exact_loop(found, limit=60)
    assert record["blocks"] == record["blocks_measured"] == len(found.train.index.blocks)
    assert not record["scaled"]
    assert record["as_released"] < record["with_products"]
    assert difference < 1e-2


def test_exact_is_scaled_by_width_where_time_does_not_allow(found, monkeypatch):
    widths = [v.numel() for v in found.loop_query.values()]
    assert len(set(widths)) < len(widths)
    seen = []

    def pretended(train, query):
        ((name, v),) = query.items()
        seen.append(name)
        assert list(train[0]) == [name]
        return Scored(torch.zeros(len(train)), Timing(v.numel(), v.numel() + 1.0))

    monkeypatch.setattr(released, "exact", pretended)
    record, _ = exact_loop(found, limit=0)
    assert record["scaled"]
    assert record["blocks_measured"] == len(seen) == len(set(widths))
    assert record["as_released"] == sum(widths)
    assert record["with_products"] == sum(widths) + len(widths)


def test_calls_take_turns_and_long_ones_run_once():
    order = []

    def call(name, seconds):
        def made():
            order.append(name)
            return {"seconds": seconds}

        return made

    found = alternating({"a": call("a", 1.0), "b": call("b", 9.0)}, rounds=3, once_above=5)
    assert order == ["a", "b", "a", "a"]
    assert {name: len(timed.runs) for name, timed in found.items()} == {"a": 3, "b": 1}
    assert Timed([{"x": 1.0}, {"x": 5.0}, {"x": 2.0}]).medians == {"x": 2.0}


def test_whole_times_the_call():
    assert 0.05 <= whole(lambda: time.sleep(0.05))()["seconds"] < 1
