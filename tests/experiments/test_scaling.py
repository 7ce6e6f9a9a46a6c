"""The scaling study on sizes where the answer is known; exponents."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny_glue import tiny_base, tiny_settings

import datainf
from datainf.evaluation import agreement
from experiments.cost.mean_query import mean_query
from experiments.scaling import cell
from experiments.scaling.power_law import power_law
from experiments.scaling.settings import SETTINGS, SYNTHETIC, cells

SMALL = replace(SETTINGS["quick"], ns=(8, 40), ds=(4, 16), entries=(0.1, 1e4), norm=(1.0,))


def test_exponents_of_a_known_law_are_found():
    sizes = [{"n": n, "d": d, "k": 3} for n in (1, 2, 4) for d in (5, 50)]
    found = power_law(sizes, [7 * s["n"] ** 1.5 / s["d"] for s in sizes])
    assert found.exponents == pytest.approx({"n": 1.5, "d": -1})
    assert found.constant == pytest.approx(7)
    assert found.spread < 1e-12
    assert found.points == 6


def test_no_law_from_too_little():
    assert power_law([], []) is None
    assert power_law([{"n": 1}, {"n": 2}], [1, 2]) is None
    together = [{"n": k, "d": k} for k in (1, 2, 3, 4)]
    assert power_law(together, [1, 2, 3, 4]) is None


def test_drawn_rows_have_norm_one_and_the_spectrum_asked_for():
    for kind in SYNTHETIC:
        G = cell.synthetic(kind, 3000, 6, seed=1, decay=1.5)
        np.testing.assert_allclose(np.linalg.norm(G, axis=1), 1)
        assert (cell.synthetic(kind, 3000, 6, seed=1, decay=1.5) == G).all()
        variances = np.square(G).mean(0)
        assert (variances[0] > 1.5 * variances[1]) == (kind == "decaying")
        assert G[0, 0] != cell.synthetic(kind, 3000, 6, seed=2, decay=1.5)[0, 0]


def test_a_cell_is_deterministic_within_its_bounds_and_json(tmp_path):
    keys = cells(replace(SMALL, seeds=2))
    assert len(keys) == 2 * 2 * 4 + len(SMALL.ranks)
    found = [cell.run(keys[3], SMALL, tmp_path) for _ in range(2)]
    assert found[0]["points"] == found[1]["points"]
    assert json.loads(json.dumps(found[0])) == found[0]
    [point] = found[0]["points"]
    assert (point["n"], point["d"]) == (40, 16)
    for error in point["errors"]:
        assert 0 < error["relative"] < 1
        assert error["absolute"] == pytest.approx(error["relative"] / error["lambda"])
        assert error["absolute"] <= error["bound"] * (1 + 1e-9) <= error["ceiling"] * (1 + 2e-9)
    assert set(found[0]["seconds"]) == {"datainf", "exact"}


def test_errors_are_in_the_units_that_they_claim():
    """Entries of size 1 with damping λ: the same as the dense gap of √d times unit rows."""
    G = cell.synthetic("isotropic", 12, 5, seed=0, decay=1.5)
    point = cell.point(G, SMALL)
    for error in point["errors"]:
        scale = 5**0.5 if error["bounded"] == "entries" else 1.0
        truth = cell.InverseGap(scale * G).norm(error["lambda"])
        assert error["absolute"] == pytest.approx(truth, rel=1e-6)


def test_error_grows_as_the_square_of_width_where_damping_is_large_and_directions_are_shared():
    """(1/λ³)(mean ‖g‖² g gᵀ − (mean g gᵀ)²), by hand for large λ: d² with a fixed spectrum."""
    points = []
    for d in (8, 16, 32, 64):
        draw = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], size=(200, 1))
        points.append(cell.point(draw * np.ones((200, d)), SMALL))
    errors = [next(e for e in p["errors"] if e["lambda"] == 1e4)["absolute"] for p in points]
    law = power_law([{"d": p["d"]} for p in points], errors)
    assert law.exponents["d"] == pytest.approx(2, abs=0.05)


def test_agreement_by_rows_is_that_of_a_store_of_those_rows(tmp_path, tokenizer):
    tiny = replace(SMALL, glue=tiny_settings(tiny_base(tmp_path / "base", tokenizer)))
    done = cell.real(cells(SMALL)[-1], tiny, tmp_path)
    store, query = done.train, mean_query(done.query, tmp_path / "mean-query")
    found = cell.agreements(done, (10, len(store), 10**6), 0, tmp_path)
    assert [entry["n"] for entry in found] == [10, len(store)]
    exact = datainf.attribute(store, query, "exact").values[0]
    for method, options in (("datainf", {}), ("lissa", {"steps": 10}), ("gradient", {})):
        ours = datainf.attribute(store, query, method, **options).values[0]
        truth = agreement(ours, exact)["pearson"]
        assert found[1][method]["pearson"] == pytest.approx(truth, abs=1e-4)
    assert found[1]["own loss"]["pearson"] == pytest.approx(
        agreement(-store.losses, exact)["pearson"], abs=1e-4
    )
