"""Variants are the package's own methods with the options that their names say."""

from __future__ import annotations

import pytest
import torch
from stores import random_store

import datainf
from experiments.methods import DAMPINGS, SELF_INFLUENCE, VARIANTS, Variant, swept, timed


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    return random_store(folder / "train", 30, 0), random_store(folder / "query", 3, 1)


def test_names_are_unique_and_say_the_options():
    names = [variant.name for variant in VARIANTS]
    assert len(set(names)) == len(names)
    assert {"datainf", "gradient, unit", "cg 2", "exact, module blocks"} <= set(names)
    assert "cg 3, model blocks, unit, λ trace:0.02" in names
    assert set(SELF_INFLUENCE) <= set(VARIANTS)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_every_variant_is_what_attribute_gives(stores, variant):
    name, *options = variant.name.split(", ")
    method, _, steps = name.partition(" ")
    asked = {
        "normalize": "unit" if "unit" in options else "none",
        "blocks": next((o.split()[0] for o in options if "blocks" in o), "tensor"),
        "damping": next((o.split()[1] for o in options if "λ" in o), "0.1"),
        "steps": int(steps) if steps else None,
    }
    expected = datainf.attribute(*stores, method, **asked).values
    assert torch.equal(variant.scores(*stores), expected)
    if variant in SELF_INFLUENCE:
        own = variant.self_influence(stores[0])
        square = variant.scores(stores[0], stores[0]).diagonal()
        torch.testing.assert_close(own, square, rtol=1e-3, atol=1e-4 * float(square.abs().max()))


def test_timed_gives_the_same_scores_and_their_seconds(stores):
    variants = VARIANTS[:3]
    for variant, (again, values, seconds) in zip(variants, timed(variants, *stores), strict=True):
        assert again == variant
        assert torch.equal(values, variant.scores(*stores))
        assert 0 < seconds < 10


def test_a_sweep_is_one_scoring_a_damping(stores):
    seen = set()
    for name, damping, values in swept(*stores, ["0.1", "trace:0.01"]):
        method, _, steps = name.partition(" ")
        one = Variant(method, int(steps) if steps else None, damping=damping)
        torch.testing.assert_close(values, one.scores(*stores), rtol=1e-4, atol=1e-5)
        seen.add((method, damping))
    assert seen == {(m, d) for m in ("datainf", "cg", "exact") for d in ("0.1", "trace:0.01")}


def test_dampings_span_six_decades_of_each_kind():
    values = [float(damping) for damping in DAMPINGS if ":" not in damping]
    traces = [float(damping.removeprefix("trace:")) for damping in DAMPINGS if ":" in damping]
    for decades in (values, traces):
        ratios = [b / a for a, b in zip(decades, decades[1:], strict=False)]
        assert ratios == pytest.approx([10.0] * 6)
