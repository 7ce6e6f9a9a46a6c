"""Laws from points that obey known ones."""

from __future__ import annotations

import pytest

from experiments.scaling.laws import cost_laws, error_laws

SIZES = [(n, d) for n in (10, 100, 1000) for d in (4, 40, 400, 4000)]


def test_error_is_fitted_apart_below_and_above_the_damping():
    points = [
        {
            "n": n,
            "d": d,
            "errors": [
                {"bounded": "entries", "lambda": 1000.0,
                 "absolute": d**2 / n if d <= 100 else 0.01},
                {"bounded": "norm", "lambda": 0.5, "absolute": n**0.25},
            ],
        }
        for n, d in SIZES
    ]  # fmt: skip
    found = error_laws(points)
    assert set(found) == {
        *(("entries", 1000.0, side) for side in ("below", "between", "above")),
        ("norm", 0.5, "above"),
    }
    assert found["entries", 1000.0, "below"].exponents == pytest.approx({"n": -1, "d": 2})
    assert found["entries", 1000.0, "above"].exponents == pytest.approx({"n": 0})
    assert found["norm", 0.5, "above"].exponents == pytest.approx({"n": 0.25, "d": 0})


def test_cost_of_exact_is_fitted_by_shape_and_sizes_of_little_work_are_left_out():
    sizes = [(n, d) for n in (64, 256, 1024, 4096) for d in (32, 128, 512, 2048, 8192)]
    results = [
        {
            "points": [{"n": n, "d": d}],
            "seconds": {
                "datainf": max(1e-7 * n * d, 1e-7 * 2**18),
                "exact": max(1e-6 * n * d * min(n, d), 1e-6 * 2**24),
            },
        }
        for n, d in sizes
    ]  # fmt: skip
    found = cost_laws(results)
    assert found["datainf", "all"].exponents == pytest.approx({"n": 1, "d": 1})
    assert found["datainf", "all"].points == sum(n * d >= 2**18 for n, d in sizes)
    assert found["exact", "d ≤ n"].exponents == pytest.approx({"n": 1, "d": 2})
    assert found["exact", "d > n"].exponents == pytest.approx({"n": 2, "d": 1})
