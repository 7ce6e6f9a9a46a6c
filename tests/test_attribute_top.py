"""attribute_top against attribute: every method and option, ties, and what it keeps in memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from conftest import make_model, make_rows
from datainf import (
    attribute,
    attribute_top,
    collect,
    collect_curvature,
    scoring,
    self_influence,
    sweep,
    tasks,
    top_scoring,
)
from datainf.errors import NonFiniteError, OptionError, StoreError
from datainf.estimators import BY_NAME, ConjugateGradient
from datainf.linalg import from_dense
from estimators.grid import exact_scores, relative_error

M, N = 5, 13


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, tokenizer):
    """Training, query and curvature stores at two sets of weights; float64, since in float32 the
    rounding of one query alone, and of several at one time, is another."""
    folder, task = tmp_path_factory.mktemp("checkpoints"), tasks.CausalLM(tokenizer)
    rows, found = make_rows("llama"), []
    rows = rows * 2 + rows[:1]
    for position in range(2):
        model = make_model("llama").double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter *= 1 + position / 10
        train, query = (
            collect(model, part, task, out=folder / f"{position}-{name}", shard_rows=4)
            for name, part in (("train", rows), ("query", rows[1 : M + 1]))
        )
        drawn = collect_curvature(model, rows, task, out=folder / f"{position}-c", rows=20)
        found.append((train, query, drawn))
    return found


@pytest.fixture
def small(monkeypatch):
    """Two queries at one time, of which one is solved for; three training rows a window."""
    monkeypatch.setattr(top_scoring, "QUERIES", 2)
    monkeypatch.setattr(top_scoring, "WINDOW_BYTES", 2 * 4 * 3)
    monkeypatch.setattr(top_scoring, "QUERY_BYTES", 1)


def same_ends(found, whole, k, tolerance=1e-6):
    """Whether the ends are those of the matrix, up to rounding."""
    assert (found.query_ids, found.train_ids) == (whole.query_ids, whole.train_ids)
    assert (found.method, found.settings) == (whole.method, whole.settings)
    assert found.kept == min(k, len(whole.train_ids))
    largest = whole.values.abs().amax(dim=1)
    for end, order in ((found.helpful, True), (found.harmful, False)):
        there = whole.values.gather(1, end.rows.long())
        truth = torch.sort(whole.values, dim=1, descending=order).values[:, :k]
        for expected in (there, truth):
            assert (((end.scores - expected).abs() / largest[:, None]) < tolerance).all()
        assert all(len(set(rows)) == found.kept for rows in end.rows.tolist())
    mean = whole.values.double().mean(dim=0)
    assert relative_error(found.mean, mean) < tolerance
    assert traces(found, "damping_lambda") == pytest.approx(traces(whole, "damping_lambda"))
    if found.method != "ridge":  # whose residual is of dual vectors where its own rows are scored
        # LiSSA's step comes from a power iteration, which rounding turns.
        loose = pytest.approx(traces(whole, "residual"), rel=1e-2, abs=1e-6)
        assert traces(found, "residual") == loose


def traces(scores, part):
    """λ of every block at each checkpoint, or its residual where there is one."""
    told = scores.diagnostics.get("checkpoints", [scores.diagnostics])
    return {
        (place, name): trace[part]
        for place, one in enumerate(told)
        for name, trace in one["blocks"].items()
        if trace[part] is not None
    }


METHODS = [*BY_NAME, ConjugateGradient(steps=200)]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m if isinstance(m, str) else "cg, all")
@pytest.mark.parametrize("drawn", [False, True], ids=["own rows", "drawn rows"])
def test_every_method_with_its_own_options(checkpoints, method, drawn):
    estimator = BY_NAME[method]() if isinstance(method, str) else method
    if estimator.needs_curvature > drawn or drawn > estimator.has_curvature:
        pytest.skip("no such pair")
    train, query, curvature = checkpoints[0]
    options = {"curvature": curvature} if drawn else {}
    whole = attribute(train, query, estimator, **options)
    found = attribute_top(train, query, estimator, k=3, **options)
    same_ends(found, whole, 3)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("blocks", ["tensor", "module", "model"])
@pytest.mark.parametrize("normalize", ["none", "unit", "root", "queries"])
@pytest.mark.parametrize("metric", ["none", "fisher"])
def test_every_option(checkpoints, blocks, normalize, metric):
    train, query, curvature = checkpoints[0]
    options = {"blocks": blocks, "normalize": normalize, "metric": metric}
    drawn = {"curvature": curvature}
    for method, given in (("datainf", {}), ("exact", {}), ("gauss-newton", drawn)):
        whole = attribute(train, query, method, **options, **given)
        same_ends(attribute_top(train, query, method, k=4, **options, **given), whole, 4)


@pytest.mark.parametrize("weights", [None, [0.25, 3.0], [1, 0]])
@pytest.mark.parametrize("room", [0, 10**9])
@pytest.mark.usefixtures("small")
def test_checkpoints_sum_with_their_weights(checkpoints, monkeypatch, weights, room):
    """Whatever there is room for from one batch to the next."""
    monkeypatch.setattr(top_scoring, "FIT_BYTES", room)
    trains, queries, drawn = ([stores[place] for stores in checkpoints] for place in range(3))
    for method in ("exact", "gauss-newton", "lissa"):
        options = {"weights": weights}
        if method == "gauss-newton":
            options["curvature"] = drawn
        whole = attribute(trains, queries, method, **options)
        found = attribute_top(trains, queries, method, k=3, **options)
        same_ends(found, whole, 3)
        assert [told["weight"] for told in found.diagnostics["checkpoints"]] == [
            told["weight"] for told in whole.diagnostics["checkpoints"]
        ]
    alone = attribute_top(trains[:1], queries[:1], "datainf", k=3)
    assert "blocks" in alone.diagnostics


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_stands_for_its_store(checkpoints, kind):
    stores = checkpoints[0]
    folders = [kind(store.path) for store in stores]
    (train, query, drawn), (train_at, query_at, drawn_at) = stores, folders
    whole = attribute(train, query, curvature=drawn)
    assert torch.equal(attribute(train_at, query_at, curvature=drawn_at).values, whole.values)
    assert torch.equal(attribute(train, query_at, curvature=drawn).values, whole.values)
    (swept,) = sweep(train_at, query_at, curvature=drawn_at, dampings=[None])
    assert torch.equal(swept.values, whole.values)
    same_ends(attribute_top(train_at, query_at, curvature=drawn_at, k=3), whole, 3)
    own = self_influence(train, curvature=drawn)
    assert torch.equal(self_influence(train_at, curvature=drawn_at), own)


def test_folders_stand_for_the_stores_of_checkpoints(checkpoints):
    trains, queries, drawn = ([stores[place] for stores in checkpoints] for place in range(3))
    whole = attribute(trains, queries, curvature=drawn)
    found = attribute(
        [str(trains[0].path), trains[1]],
        [store.path for store in queries],
        curvature=tuple(str(store.path) for store in drawn),
    )
    assert torch.equal(found.values, whole.values)
    with pytest.raises(
        OptionError, match=r"1 training store and 2 query stores: .* a training store of"
    ):
        attribute(str(trains[0].path), queries)


def test_a_folder_that_is_no_store_is_named(checkpoints, tmp_path):
    train, query, _ = checkpoints[0]
    for stores in ((str(tmp_path), query), (train, tmp_path), ([tmp_path], [query])):
        with pytest.raises(StoreError, match="is not a gradient store"):
            attribute(*stores)


@pytest.mark.usefixtures("small")
def test_a_fit_serves_all_batches(checkpoints, monkeypatch):
    train, query, drawn = checkpoints[0]
    fits, fit = [], BY_NAME["gauss-newton"].fit

    def counted(self, G):
        fits.append(G)
        return fit(self, G)

    monkeypatch.setattr(BY_NAME["gauss-newton"], "fit", counted)
    attribute_top(train, query, curvature=drawn)
    assert len(fits) == 1
    monkeypatch.setattr(top_scoring, "FIT_BYTES", 0)
    attribute_top(train, query, curvature=drawn)
    assert len(fits) == 1 + 3


@pytest.mark.usefixtures("small")
def test_rows_that_a_fit_holds_count_however_little_is_free_by_then(checkpoints, monkeypatch):
    train, query, _ = checkpoints[0]
    fits, fit, free = [], BY_NAME["datainf"].fit, [True]

    def counted(self, G):
        fits.append(G)
        free[0] = False
        return fit(self, G)

    monkeypatch.setattr(BY_NAME["datainf"], "fit", counted)
    monkeypatch.setattr(top_scoring, "held_bytes", lambda G, _: G.nbytes if free[0] else 0)
    monkeypatch.setattr(top_scoring, "FIT_BYTES", 1)
    attribute_top(train, query, "datainf", blocks="model")
    assert len(fits) == 2, "the first is not kept; the next holds no rows"


def linear(gradients, folder, shard_rows=7, **options):
    """A store of these gradients [n, d]."""
    model = torch.nn.Linear(gradients.shape[1], 1, bias=False)
    task = tasks.Custom(lambda m, b: m(b)[:, 0])
    with torch.no_grad():
        model.weight.fill_(1)
    return collect(model, list(gradients), task, out=folder, shard_rows=shard_rows, **options)


def test_ties_go_by_position_as_in_the_matrix(tmp_path, monkeypatch):
    """Whole numbers, whose products are exact: rows of zeros, and the same row many times."""
    draw = torch.Generator().manual_seed(0)
    G, V = (torch.randint(-2, 3, (n, 3), generator=draw).float() for n in (40, 6))
    G[5:30:3], V[2] = 0, 0
    G[20:27], G[33:39] = G[1], G[2]
    train, query = linear(G, tmp_path / "t"), linear(V, tmp_path / "q")
    whole = attribute(train, query, "gradient")
    assert torch.equal(whole.values, V @ G.T)
    for queries, width in ((6, 40), (4, 7), (1, 3)):
        monkeypatch.setattr(top_scoring, "QUERIES", queries)
        monkeypatch.setattr(top_scoring, "WINDOW_BYTES", queries * 4 * width)
        for k in (1, 5, 12, 39, 40, 100):
            found = attribute_top(train, query, "gradient", k=k)
            for row in (*range(6), None):
                for largest in (True, False):
                    told = found.top(row, k, largest=largest)
                    assert told == whole.top(row, k, largest=largest)


def test_queries_come_in_batches_by_the_longer_side(tmp_path, monkeypatch):
    """Whether the scores are kept as a matrix or not: methods have arrays [n, queries] too."""
    draw, asked = torch.Generator().manual_seed(0), []
    G, V = torch.randn(40, 3, generator=draw), torch.randn(7, 3, generator=draw)
    train, query = linear(G, tmp_path / "t"), linear(V, tmp_path / "q")
    whole = attribute(train, query, "datainf")

    class Asked(BY_NAME["datainf"]):
        def fit(self, G):
            fitted = super().fit(G)
            solve = fitted.solve
            fitted.solve = lambda V, lam: asked.append(len(V)) or solve(V, lam)
            return fitted

    for module in (scoring, top_scoring):
        monkeypatch.setattr(module, "QUERY_BYTES", 2 * 4 * 40)
    assert relative_error(attribute(train, query, Asked()).values, whole.values.double()) < 1e-6
    assert asked == [2, 2, 2, 1]
    same_ends(attribute_top(train, query, Asked(), k=3), whole, 3)
    assert asked[4:] == [2, 2, 2, 1]


def test_one_query_and_one_training_example(tmp_path):
    one, two = torch.tensor([[2.0, 1.0]]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    one, two = linear(one, tmp_path / "one"), linear(two, tmp_path / "two")
    found = attribute_top(one, two, "gradient")
    assert [found.top(query) for query in (0, 1, None)] == [[(0, 2.0)], [(0, -2.0)], [(0, 0.0)]]
    assert found.top(1, largest=False) == [(0, -2.0)]
    found = attribute_top(two, one, "gradient", k=1)
    assert found.top(0, 1) == [(0, 2.0)]
    assert found.top(0, 1, largest=False) == [(1, -2.0)]


def test_an_exact_solve_keeps_its_precision(tmp_path):
    """One direction outweighs the others by far, and the damping is small: R in float32 would not
    do."""
    draw = torch.Generator().manual_seed(0)
    turned = torch.linalg.qr(torch.randn(3, 3, generator=draw)).Q
    G = (torch.randn(40, 3, generator=draw) * torch.tensor([1.0, 1e-3, 1e-3])) @ turned
    V = G[:4] + 1e-3
    train, query = linear(G, tmp_path / "t"), linear(V, tmp_path / "q")
    lam = 1e-9
    truth = exact_scores(G.double(), V.double(), lam)
    found = attribute_top(train, query, "exact", damping=f"abs:{lam}", k=40)
    ordered = torch.empty(4, 40).scatter_(1, found.helpful.rows.long(), found.helpful.scores)
    assert relative_error(ordered, truth) < 1e-6


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_smaller_stores(tmp_path, dtype):
    draw = torch.Generator().manual_seed(0)
    G, V = torch.randn(30, 4, generator=draw), torch.randn(5, 4, generator=draw)
    train, query = (
        linear(rows, tmp_path / name, dtype=dtype) for name, rows in (("t", G), ("q", V))
    )
    for method, options in (("exact", {}), ("ridge", {"metric": "fisher"})):
        whole = attribute(train, query, method, **options)
        same_ends(attribute_top(train, query, method, k=3, **options), whole, 3, 1e-5)


@pytest.mark.parametrize("method", ["exact", "gauss-newton"])
@pytest.mark.parametrize("shape", [(9, 4), (4, 9)])
def test_a_fit_tells_what_it_keeps(method, shape):
    draw = torch.Generator().manual_seed(0)
    fitted = BY_NAME[method]().fit(from_dense(torch.randn(shape, generator=draw)))
    fitted.solve(torch.ones(1, shape[1]), 1.0)
    assert fitted.nbytes == 2 * 8 * 4 * 4, "a matrix and its factor"
    fitted.solve(torch.ones(1, shape[1]), 2.0)
    assert fitted.nbytes == (4 + 1) * 4 * 8, "eigenvectors and eigenvalues alone"
    assert BY_NAME["cg"]().fit(from_dense(torch.ones(shape))).nbytes == 0


class Largest(TorchDispatchMode):
    """How many numbers the largest tensor has that is made."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(made) if isinstance(leaf, torch.Tensor)]
        self.numbers = max([self.numbers, *sizes])
        return made


def test_the_matrix_is_never_formed(tmp_path, monkeypatch):
    draw, n, d = torch.Generator().manual_seed(0), 600, 3
    G, V = torch.randn(n, d, generator=draw), torch.randn(100, d, generator=draw)
    train, query, few = (
        linear(rows, tmp_path / name, shard_rows=200)
        for name, rows in (("t", G), ("q", V), ("few", V[:50]))
    )
    batch, window = 4, 100
    monkeypatch.setattr(top_scoring, "QUERIES", batch)
    monkeypatch.setattr(top_scoring, "WINDOW_BYTES", batch * 4 * window)
    for method in ("datainf", "gradient", "exact", "cg", "ridge"):
        sizes = []
        for queries in (few, query):
            with Largest() as largest:
                attribute_top(train, queries, method, k=2, metric="none", damping="0.1")
            sizes.append(largest.numbers)
        assert sizes[0] <= n * batch, method
        assert sizes[0] == sizes[1], method
        with Largest() as largest:
            attribute(train, query, method, metric="none", damping="0.1")
        assert largest.numbers >= n * len(V), "the matrix would be seen"


def test_what_cannot_be_is_refused(checkpoints, tmp_path):
    train, query, _ = checkpoints[0]
    with pytest.raises(OptionError, match="k must be at least 1"):
        attribute_top(train, query, "datainf", k=0)
    with pytest.raises(OptionError, match="needs gradients of drawn targets"):
        attribute_top(train, query, "gauss-newton")
    large = linear(torch.full((2, 2), 1e18), tmp_path / "large")
    with pytest.raises(NonFiniteError, match="left the range of float32"):
        attribute_top(large, large, "weighted-gradient", damping="abs:1e-6")
