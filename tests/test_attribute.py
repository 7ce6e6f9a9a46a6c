"""attribute on stores against the formula, dense and in float64."""

from __future__ import annotations

import pytest
import torch

from conftest import make_model, make_rows
from datainf import attribute, collect, self_influence, sweep, tasks
from datainf.errors import OptionError, StoreMismatchError
from datainf.estimators import ConjugateGradient
from estimators.grid import datainf_scores, exact_scores, relative_error


@pytest.fixture(scope="module")
def stores(tmp_path_factory, tokenizer):
    folder, model = tmp_path_factory.mktemp("stores"), make_model("llama").double()
    rows, task = make_rows("llama"), tasks.CausalLM(tokenizer)
    train = collect(model, rows * 2 + rows[:1], task, out=folder / "train", shard_rows=4)
    return train, collect(model, rows[1:4], task, out=folder / "query")


def dense_blocks(store, blocks, normalize):
    tensors = {b.name: store.blocks[b.name].to_dense() for b in store.index.blocks}
    scale = torch.cat(list(tensors.values()), 1).norm(dim=1, keepdim=True)
    groups = {}
    for b in store.index.blocks:
        group = {"tensor": b.name, "module": b.name.split(".lora_")[0], "model": ""}[blocks]
        piece = tensors[b.name] / (scale if normalize == "unit" else 1)
        groups.setdefault(group, []).append(piece)
    return [torch.cat(parts, 1) for parts in groups.values()]


TRUTHS = {
    "datainf": datainf_scores,
    "exact": exact_scores,
    "cg": exact_scores,
    "gradient": lambda G, V, _: V @ G.T,
    "weighted-gradient": lambda G, V, lam: V @ G.T / lam,
}


@pytest.mark.parametrize("blocks", ["tensor", "module", "model"])
@pytest.mark.parametrize("normalize", ["none", "unit"])
@pytest.mark.parametrize("damping", ["0.1", "trace:0.02"])
def test_scores_sum_the_blocks(stores, blocks, normalize, damping):
    train, query = stores
    value = float(damping.removeprefix("trace:"))
    for method, truth in TRUTHS.items():
        expected = 0
        pairs = zip(*(dense_blocks(s, blocks, normalize) for s in stores), strict=True)
        for G, V in pairs:
            lam = value * float(G.square().sum(1).mean())
            lam /= 1 if damping.startswith("trace") else G.shape[1]
            expected = expected + truth(G, V, lam)
        estimator = ConjugateGradient(steps=200) if method == "cg" else method
        options = {"damping": damping, "normalize": normalize, "metric": "none", "blocks": blocks}
        scores = attribute(train, query, estimator, **options)
        # float32 scores of float64 gradients
        assert relative_error(scores.values, expected) < 1e-6, method
        own = self_influence(query, estimator, **options)
        square = attribute(query, query, estimator, **options).values.diag()
        assert relative_error(own, square.double()) < 1e-6, method
    assert scores.shape == (3, 13)
    assert scores.train_ids == list(range(13))
    assert scores.settings == options


def test_cosine_is_cosine(stores):
    train, query = stores
    G, V = (dense_blocks(s, "model", "none")[0] for s in stores)
    found = attribute(train, query, "gradient", normalize="unit").values
    truth = torch.nn.functional.cosine_similarity(V[:, None], G[None], dim=2)
    assert torch.allclose(found.double(), truth, atol=1e-6)
    assert found.max() <= 1 + 1e-6


def test_the_sign_is_that_of_retraining(tmp_path):
    """A step of training on an example with a high score lowers the query's loss; and the score
    is, to first order, what upweighting that example does to it."""
    torch.manual_seed(0)
    n, d = 40, 3
    X, y = torch.randn(n, d).double(), torch.randn(n).double()
    model = torch.nn.Linear(d, 1, bias=False).double()
    task = tasks.Custom(lambda m, b: (m(b[0])[:, 0] - b[1]).square() / 2)
    with torch.no_grad():
        model.weight[0] = torch.linalg.solve(X.T @ X, X.T @ y)
    data = list(zip(X, y, strict=True))
    train = collect(model, data, task, out=tmp_path / "t")
    query = collect(model, [(X[0] + 1, y[0] + 3)], task, out=tmp_path / "q")
    scores = attribute(train, query, "exact").values[0]
    best, worst = int(scores.argmax()), int(scores.argmin())
    assert scores[best] > 0 > scores[worst]

    def query_loss(weight):
        return float(((X[0] + 1) @ weight - y[0] - 3).square() / 2)

    base = query_loss(model.weight[0].detach())
    for row, better in ((best, True), (worst, False)):
        weights = torch.ones(n, dtype=torch.float64)
        weights[row] += 0.01
        refit = torch.linalg.solve((X.T * weights) @ X, (X.T * weights) @ y)
        assert (query_loss(refit) < base) == better


def test_one_query_alone_scores_the_same(stores, tmp_path, tokenizer):
    train, query = stores
    model = make_model("llama").double()
    one = collect(model, make_rows("llama")[2:3], tasks.CausalLM(tokenizer), out=tmp_path / "q")
    for method in TRUTHS:
        alone = attribute(train, one, method).values[0].double()
        assert relative_error(alone, attribute(train, query, method).values[1].double()) < 1e-6


def test_a_sweep_is_its_single_runs(stores):
    dampings = ["0.01", "trace:0.5", "abs:2"]
    for damping, scores in zip(dampings, sweep(*stores, "exact", dampings=dampings), strict=True):
        alone = attribute(*stores, "exact", damping=damping)
        assert relative_error(scores.values, alone.values.double()) < 1e-6
        assert scores.settings["damping"] == damping


def test_the_residual_of_every_block_is_reported(stores):
    traces = attribute(*stores, "cg", steps=1).diagnostics["blocks"]
    assert len(traces) == len(stores[0].index.blocks)
    for trace in traces.values():
        assert trace["residual"] > 0
        assert trace["damping_lambda"] > 0


def test_zero_gradients_contribute_nothing(tmp_path):
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2), "b": torch.nn.Linear(2, 2)})
    task = tasks.Custom(lambda m, b: m["a"](b).square().sum(1))
    rows = [*torch.randn(3, 2)]
    store = collect(model, rows, task, out=tmp_path / "s")
    alone = collect(model, rows, task, out=tmp_path / "a", trainable="a.*")
    for method in ("datainf", "exact", "cg", "lissa", "gradient"):
        for options in ({}, {"normalize": "unit"}):
            both = attribute(store, store, method, **options).values
            assert torch.allclose(both, attribute(alone, alone, method, **options).values)


def test_stores_of_other_weights_are_refused(stores, tmp_path, tokenizer):
    other = make_model("llama", seed=3).double()
    task = tasks.CausalLM(tokenizer)
    query = collect(other, make_rows("llama")[:1], task, out=tmp_path / "q")
    with pytest.raises(StoreMismatchError, match="different weights or settings of the base"):
        attribute(stores[0], query)
    part = collect(
        make_model("llama").double(), make_rows("llama"), task,
        out=tmp_path / "p", trainable="*lora_A*",
    )  # fmt: skip
    with pytest.raises(StoreMismatchError, match="different weights or settings of the base"):
        attribute(stores[0], part)


def test_checkpoints_of_other_blocks_are_refused(tmp_path):
    def store(name, rank, **options):
        model = torch.nn.Sequential(torch.nn.Linear(2, rank), torch.nn.Linear(rank, 1))
        return collect(model, rows, task, out=tmp_path / name, **options)

    rows, task = list(torch.ones(3, 2)), tasks.Custom(lambda m, b: m(b)[:, 0])
    first, larger, part = store("a", 4), store("b", 8), store("c", 4, trainable="0.*")
    differ = r"a hold different blocks: 0\.weight \(\[8, 2\] and \[4, 2\]\), .*"
    with pytest.raises(StoreMismatchError, match=f"{differ}\n.*adapters of the same rank"):
        attribute([first, larger], [first, larger], "gradient")
    with pytest.raises(StoreMismatchError, match=r"1\.weight \(none and \[1, 4\]\)"):
        attribute([first, part], [first, part], "gradient")


def test_settings_tell_how_an_estimator_was_made(stores):
    told = attribute(*stores, ConjugateGradient(steps=3, tolerance=0.1)).settings
    assert (told["steps"], told["tolerance"]) == (3, 0.1)
    assert "tolerance" not in attribute(*stores, "cg").settings
    assert "steps" not in attribute(*stores, "datainf").settings


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize("device", ["cuda", "gpu", torch.device("cuda")])
def test_a_device_that_is_not_there_is_refused(stores, device):
    with pytest.raises(OptionError, match=r"the device '(cuda|gpu)' cannot be used"):
        attribute(*stores, device=device)
    with pytest.raises(OptionError, match="cannot be used"):
        self_influence(stores[0], device=device)


def test_options_are_checked(stores):
    for wrong in ({"blocks": "layer"}, {"normalize": "l2"}, {"method": "tracin"}, {"damping": 0}):
        with pytest.raises(OptionError):
            attribute(*stores, **wrong)


def test_a_metric_multiplies_parameters_before_all_else(tmp_path, tokenizer):
    """Against dense gradients that are multiplied by hand, both kinds, unit and not."""
    model, rows, task = make_model("llama").double(), make_rows("llama"), tasks.CausalLM(tokenizer)
    draw = torch.Generator().manual_seed(0)
    moments = {
        name: torch.rand(p.shape, generator=draw, dtype=torch.float64) ** 4
        for name, p in model.named_parameters()
        if p.requires_grad
    }
    train = collect(model, rows * 2, task, out=tmp_path / "train", second_moments=moments)
    query = collect(model, rows[1:4], task, out=tmp_path / "query")
    assert query.second_moments is None
    for metric in ("adam", "fisher"):
        for normalize in ("none", "unit"):
            dense = []
            for store in (train, query):
                columns = []
                for name in train.blocks:
                    G = train.blocks[name].to_dense()
                    v = moments[name].float().double().reshape(-1)
                    v = v if metric == "adam" else G.square().mean(dim=0)
                    columns.append(store.blocks[name].to_dense() / (v.sqrt() + 1e-8).sqrt())
                whole = torch.cat(columns, dim=1)
                dense.append(
                    whole / whole.norm(dim=1, keepdim=True) if normalize == "unit" else whole
                )
            G, V = dense
            lam = 0.02 * float(G.square().sum(1).mean())
            options = {"metric": metric, "normalize": normalize, "blocks": "model"}
            found = attribute(train, query, "exact", damping="trace:0.02", **options)
            assert relative_error(found.values, exact_scores(G, V, lam)) < 1e-6
            assert found.settings["metric"] == metric


def test_adams_metric_needs_its_moments(stores):
    train, query = stores
    with pytest.raises(OptionError, match="no second moments"):
        attribute(train, query, metric="adam")
    with pytest.raises(OptionError, match="unknown metric"):
        attribute(train, query, metric="sgd")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, tokenizer):
    """Stores at two sets of weights."""
    folder, task = tmp_path_factory.mktemp("checkpoints"), tasks.CausalLM(tokenizer)
    rows, pairs = make_rows("llama"), []
    for position in range(2):
        model = make_model("llama")
        with torch.no_grad():
            for parameter in model.parameters():
                parameter *= 1 + position / 10
        pairs.append([
            collect(model, part, task, out=folder / f"{position}-{name}")
            for name, part in (("train", rows), ("query", rows[1:4]))
        ])  # fmt: skip
    return pairs


def test_checkpoints_sum_with_their_weights(checkpoints):
    (t0, q0), (t1, q1) = checkpoints
    options = {"method": "exact", "normalize": "unit", "blocks": "model"}
    alone = [attribute(t, q, **options).values for t, q in checkpoints]
    for weights in ([0.25, 3.0], [1, 0]):
        found = attribute([t0, t1], [q0, q1], weights=weights, **options)
        shares = [weight / sum(weights) for weight in weights]
        torch.testing.assert_close(found.values, shares[0] * alone[0] + shares[1] * alone[1])
        assert [told["weight"] for told in found.diagnostics["checkpoints"]] == shares
        assert (found.query_ids, found.train_ids) == (q0.ids, t0.ids)
    mean = attribute([t0, t1], [q0, q1], **options)
    torch.testing.assert_close(mean.values, (alone[0] + alone[1]) / 2)
    one = attribute([t0], [q0], **options)
    assert torch.equal(one.values, alone[0])
    assert "blocks" in one.diagnostics
    swept = sweep([t0, t1], [q0, q1], "exact", dampings=["0.1", "10"], weights=[1, 2])
    expected = attribute([t0, t1], [q0, q1], "exact", damping="10", weights=[1, 2])
    torch.testing.assert_close(swept[1].values, expected.values)


def test_checkpoints_that_do_not_fit_are_refused(checkpoints):
    (t0, q0), (t1, q1) = checkpoints
    with pytest.raises(
        OptionError,
        match=r"^2 training stores and 1 query store: .* hold gradients of other weights, so",
    ):
        attribute([t0, t1], [q0])
    with pytest.raises(OptionError, match=r"^2 training stores, 2 query stores and 1 weight"):
        attribute([t0, t1], [q0, q1], weights=[1])
    with pytest.raises(OptionError, match=r"^2 training .* hold the same examples, so that they"):
        attribute([t0, t0], [q0])
    with pytest.raises(OptionError, match="0 training stores"):
        attribute([], [])
    for weights in ([-1, 2], [0, 0], [float("nan"), 1], [float("inf"), 1]):
        with pytest.raises(OptionError, match="weights are"):
            attribute([t0, t1], [q0, q1], weights=weights)
    with pytest.raises(StoreMismatchError, match="different weights"):
        attribute([t0, t1], [q1, q0])
    with pytest.raises(StoreMismatchError, match="different data"):
        attribute([t0, q1], [q0, q1])
