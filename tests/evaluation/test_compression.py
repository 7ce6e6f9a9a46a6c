"""The check of smaller stores against two stores of the same rows, compared by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from datainf import attribute
from datainf.errors import OptionError, StoreMismatchError
from datainf.evaluation import check_compression, compression
from datainf.projection import Projection
from datainf.tasks.sampled import OF
from smaller import CLASSIFICATION, make_smaller, random_gradients, rows_bytes

N, M = 60, 12
KEPT, KEPT_QUERIES = list(range(1, N, 2)), [0, 2, 3, 5, 7, 8, 11]
KINDS = [("bfloat16", None), ("int8", None), ("float32", Projection(4)), ("int8", Projection(4))]


class Both:
    """Gradients as a smaller store with a sample; and the sampled rows by themselves, as a full
    store and as a smaller one."""

    def __init__(self, folder, gradients, kept, dtype, projection, **more):
        rows = {name: G[kept] for name, G in gradients.items()}
        self.store = make_smaller(
            folder / "store", gradients, dtype, projection, kept=kept, **more
        )  # fmt: skip
        self.full = make_smaller(folder / "full", rows, ids=kept, **more)
        self.rows = make_smaller(folder / "rows", rows, dtype, projection, ids=kept, **more)


def make_both(folder, dtype, projection, seed=0, **more):
    found = []
    for part, n, kept in (("train", N, KEPT), ("query", M, KEPT_QUERIES)):
        place, gradients = folder / f"{part}{seed}", random_gradients(n, seed + n)
        found.append(Both(place, gradients, kept, dtype, projection, **more))
    return found


def random_moments():
    draw = torch.Generator().manual_seed(3)
    gradients = random_gradients(1, 0)
    return {name: torch.rand(G.shape[1], generator=draw) ** 4 for name, G in gradients.items()}


def assert_by_hand(check, full, rows):
    """Every figure from two matrices of scores."""
    full, rows = full.values.numpy(), rows.values.numpy()
    right = [spearmanr(a, b)[0] for a, b in zip(full, rows, strict=True)]
    assert check.correlations.tolist() == pytest.approx(right, abs=1e-9)
    assert check.correlation == pytest.approx(np.mean(right))
    assert check.low_correlation == pytest.approx(np.quantile(right, 0.05))
    assert check.worst_correlation == pytest.approx(min(right))
    for found, sign in ((check.helpful, -1), (check.harmful, 1)):
        tops = [[set(np.argsort(sign * row)[: check.top]) for row in one] for one in (full, rows)]
        shares = [len(a & b) / check.top for a, b in zip(*tops, strict=True)]
        assert found.tolist() == pytest.approx(shares)
    assert check.overlaps == (
        pytest.approx(float(check.helpful.mean())), pytest.approx(float(check.harmful.mean())),
    )  # fmt: skip
    assert (check.top, check.examples) == (10, len(KEPT))
    assert (check.ranked, check.unranked) == (len(KEPT_QUERIES), 0)


@pytest.mark.parametrize(("dtype", "projection"), KINDS)
def test_figures_are_those_of_two_stores_of_the_same_rows(tmp_path, dtype, projection):
    train, query = make_both(tmp_path, dtype, projection)
    for method, options in [
        ("datainf", {}), ("exact", {}), ("cg", {"steps": 3}), ("gradient", {"normalize": "unit"}),
        ("exact", {"blocks": "model", "normalize": "root"}),
    ]:  # fmt: skip
        for damping in (None, "trace:0.02"):
            (check,) = check_compression(
                train.store, query.store, method, dampings=[damping], **options
            )
            full, rows = (
                attribute(*stores, method, damping=damping, **options)
                for stores in ((train.full, query.full), (train.rows, query.rows))
            )
            assert_by_hand(check, full, rows)
            assert check.method == method
            assert check.damping == (damping or "0.1")
    assert 0 < check.worst_correlation <= check.low_correlation <= check.correlation < 1


def test_the_damping_is_that_of_the_whole_store(tmp_path):
    """So many of its rows, which are a smaller share than as many of the sample."""
    train, query = make_both(tmp_path, "int8", Projection(4))
    found = check_compression(
        train.store, query.store, "exact", dampings=["rows:3", "abs:2"], blocks="model"
    )
    assert [check.damping for check in found] == ["rows:3", "abs:2"]
    for check, damping in zip(found, (f"trace:{3 / N}", "abs:2"), strict=True):
        full, rows = (
            attribute(*stores, "exact", damping=damping, blocks="model")
            for stores in ((train.full, query.full), (train.rows, query.rows))
        )
        assert_by_hand(check, full, rows)


def test_flow_is_settled_by_the_whole_stores(tmp_path):
    """By their number of rows, and by the learning rates that they alone note."""
    train, query = make_both(tmp_path, "int8", None, moments=random_moments())
    own = attribute(train.store, query.store, "ridge", rate_sum=1e-5).settings
    (check,) = check_compression(train.store, query.store, "ridge", rate_sum=1e-5)
    assert own["metric"] == "adam"
    assert check.damping == own["damping"]
    rows = float(own["damping"].removeprefix("rows:"))
    assert rows > 10  # not the floor
    train.store.index.notes["rate_sum"] = 1e-5
    (noted,) = check_compression(train.store, query.store, "ridge")
    assert noted.damping == check.damping
    pairs = ((train.full, query.full), (train.rows, query.rows))
    assert_by_hand(check, *(attribute(*p, "ridge", damping=f"trace:{rows / N}") for p in pairs))


@pytest.mark.parametrize("metric", ["adam", "none"])
def test_full_gradients_are_taken_in_the_metric_of_a_projection(tmp_path, metric):
    projection = Projection(4, metric=metric)
    train, query = make_both(tmp_path, "float32", projection, moments=random_moments())
    (check,) = check_compression(train.store, query.store, "ridge", dampings=["trace:0.1"])
    pairs = ((train.full, query.full), (train.rows, query.rows))
    options = {"damping": "trace:0.1", "metric": metric}
    assert_by_hand(check, *(attribute(*pair, "ridge", **options) for pair in pairs))


def test_fisher_s_metric_is_each_store_s_own(tmp_path):
    train, query = make_both(tmp_path, "int8", None)
    (check,) = check_compression(train.store, query.store, "ridge", dampings=["trace:0.1"])
    pairs = ((train.full, query.full), (train.rows, query.rows))
    options = {"damping": "trace:0.1", "metric": "fisher"}
    assert_by_hand(check, *(attribute(*pair, "ridge", **options) for pair in pairs))


def test_checkpoints_count_as_they_do_in_the_scores(tmp_path):
    stores = [make_both(tmp_path, "int8", Projection(4), seed) for seed in (0, 1)]
    trains, queries = zip(*stores, strict=True)
    asked = {"weights": [3, 1]}
    (check,) = check_compression(
        [train.store for train in trains], [query.store for query in queries], "datainf", **asked
    )
    full, rows = (
        attribute(
            [getattr(t, side) for t in trains], [getattr(q, side) for q in queries], "datainf",
            **asked,
        )
        for side in ("full", "rows")
    )  # fmt: skip
    assert_by_hand(check, full, rows)


@pytest.mark.parametrize("smaller", [True, False])
def test_drawn_targets_stand_for_the_curvature_both_times(tmp_path, smaller):
    """Made smaller as the others are, or rounded less, then whole both times."""
    train, query = make_both(tmp_path, "int8", None)
    drawn = Both(
        tmp_path / "drawn", random_gradients(50, 7), list(range(0, 50, 2)),
        "int8" if smaller else "float32", None, task={"name": "drawn", OF: CLASSIFICATION},
    )  # fmt: skip
    (check,) = check_compression(
        train.store, query.store, curvature=drawn.store, dampings=["rows:2"]
    )
    assert check.method == "gauss-newton"
    full, rows = (
        attribute(*stores, curvature=curvature, damping=f"trace:{2 / 50}")
        for *stores, curvature in (
            (train.full, query.full, drawn.full if smaller else drawn.store),
            (train.rows, query.rows, drawn.rows if smaller else drawn.store),
        )
    )
    assert_by_hand(check, full, rows)


def test_full_queries_beside_a_smaller_training_store_are_all_taken(tmp_path):
    train, _ = make_both(tmp_path, "int8", None)
    queries = make_smaller(tmp_path / "all", random_gradients(M, M))
    (check,) = check_compression(train.store, queries, "datainf")
    assert check.ranked == M
    full, rows = (attribute(t, queries, "datainf") for t in (train.full, train.rows))
    right = [spearmanr(a, b)[0] for a, b in zip(full.values, rows.values, strict=True)]
    assert check.correlations.tolist() == pytest.approx(right, abs=1e-9)
    assert check.full_bytes > 2.5 * check.stored_bytes


def test_bytes_are_those_of_a_row_on_the_disk(tmp_path):
    train, query = make_both(tmp_path, "int8", Projection(4))
    (check,) = check_compression(train.store, query.store, "gradient")
    stored, full = (rows_bytes(tmp_path / "train0" / part) for part in ("store", "full"))
    assert check.stored_bytes == stored / N
    assert check.full_bytes == full / len(KEPT)


@pytest.mark.parametrize(("n", "top"), [(1, 1), (2, 1), (7, 3), (19, 9), (20, 10)])
def test_of_few_examples_the_better_half_is_the_top(tmp_path, n, top):
    both = Both(tmp_path, random_gradients(n, 0), list(range(n)), "int8", Projection(4))
    (check,) = check_compression(both.store, both.store, "gradient")
    assert (check.examples, check.top) == (n, top)
    assert check.ranked == (0 if n == 1 else n)  # one example has no order
    assert math.isnan(check.correlation) == (n == 1)
    assert n > 1 or not check.trusted


def test_one_query(tmp_path):
    train, _ = make_both(tmp_path, "int8", None)
    one = Both(tmp_path / "one", random_gradients(1, 5), [0], "int8", None)
    (check,) = check_compression(train.store, one.store, "datainf")
    assert check.ranked == 1
    assert check.correlation == check.low_correlation == check.worst_correlation


def test_a_query_with_nothing_to_rank_is_not_counted(tmp_path):
    gradients = random_gradients(M, M)
    for G in gradients.values():
        G[3] = 0
    train, _ = make_both(tmp_path, "int8", None)
    query = Both(tmp_path / "zero", gradients, KEPT_QUERIES, "int8", None)
    (check,) = check_compression(train.store, query.store, "datainf")
    assert check.correlations.isnan().tolist() == [row == 3 for row in KEPT_QUERIES]
    assert check.helpful.isnan().tolist() == check.correlations.isnan().tolist()
    assert check.unranked == 1
    assert check.trusted
    assert 0.95 < check.worst_correlation <= check.correlation < 1
    nothing = {name: torch.zeros_like(G) for name, G in gradients.items()}
    query = Both(tmp_path / "nothing", nothing, KEPT_QUERIES, "int8", None)
    (check,) = check_compression(train.store, query.store, "datainf")
    assert (check.ranked, check.trusted) == (0, False)
    figures = (check.correlation, check.low_correlation, check.worst_correlation, *check.overlaps)
    assert all(map(math.isnan, figures))


def test_a_projection_that_keeps_too_little_is_not_trusted(tmp_path):
    """In noise without directions of its own, `exact` with the paper's damping has no hold."""
    draw = torch.Generator().manual_seed(0)
    noise = [
        {name: torch.randn(G.shape, generator=draw) for name, G in random_gradients(n, 0).items()}
        for n in (N, M)
    ]
    train, query = (
        Both(tmp_path / part, rows, kept, "float32", Projection(16))
        for part, rows, kept in zip("tq", noise, (KEPT, KEPT_QUERIES), strict=True)
    )
    (check,) = check_compression(train.store, query.store, "exact")
    assert check.correlation < 0.9
    assert not check.trusted


def _rounded(folder):
    return [both.store for both in make_both(folder / "rounded", "bfloat16", None)]


def test_either_figure_can_fail(tmp_path):
    (check,) = check_compression(*_rounded(tmp_path), "gradient")
    assert check.trusted
    for field, good in (("correlations", 0.95), ("helpful", 0.7), ("harmful", 0.7)):
        for value in (good - 0.01, good):
            figures = torch.full_like(check.correlations, value)
            assert replace(check, **{field: figures}).trusted == (value == good)


def test_what_cannot_be_checked_is_refused(tmp_path):
    train, query = make_both(tmp_path, "int8", None)
    with pytest.raises(OptionError, match="hold full gradients: there is nothing to check"):
        check_compression(train.full, query.full, "datainf")
    with pytest.raises(OptionError, match="rows keeps no examples in full") as refused:
        check_compression(train.rows, query.store, "datainf")
    assert "the same command" in refused.value.remedy
    with pytest.raises(OptionError, match="query0/rows keeps no examples in full"):
        check_compression(train.store, query.rows, "datainf")
    with pytest.raises(OptionError, match="needs gradients of drawn targets"):
        check_compression(train.store, query.store, "gauss-newton")
    with pytest.raises(OptionError, match="unknown metric"):
        check_compression(train.store, query.store, "datainf", metric="other")
    with pytest.raises(TypeError, match="dampings_of"):
        check_compression(train.store, query.store, "datainf", dampings_of=3)
    strange = make_smaller(tmp_path / "s", random_gradients(N, 0), "int8")
    make_smaller(tmp_path / "s" / "sample", random_gradients(5, 0), ids=[0, 1, 2, 3, "nobody"])
    with pytest.raises(StoreMismatchError, match="4 of the 5 examples"):
        check_compression(strange, query.store, "datainf")


def test_the_bounds_are_the_documented_ones():
    assert (compression.TOP, compression.GOOD_CORRELATION, compression.GOOD_OVERLAP) == (
        10, 0.95, 0.7,
    )  # fmt: skip
