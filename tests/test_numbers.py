"""The ends of the range: blocks without gradients, one enormous example, one of everything."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from datainf import attribute, attribute_top, collect, self_influence, tasks
from datainf.errors import DataError, NonFiniteError
from datainf.estimators import BY_NAME

METHODS = sorted(set(BY_NAME) - {"gauss-newton"})
"""But for the one that is `exact` on other rows."""
PLAIN = {"normalize": "none", "metric": "none", "blocks": "tensor"}


class Linears(nn.Module):
    """Σ_l w_l · x_l: the gradient of the loss, which is its output, with respect to w_l is x_l."""

    def __init__(self, widths):
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(d, 1, bias=False) for d in widths)

    def forward(self, x):
        pieces = torch.split(x, [part.in_features for part in self.parts], dim=1)
        return sum(part(piece) for part, piece in zip(self.parts, pieces, strict=True))[:, 0]


TASK = tasks.Custom(lambda model, batch: model(batch))


def store_of(rows, widths, out):
    """Whose gradients are these rows, tensor by tensor."""
    torch.manual_seed(0)
    return collect(Linears(widths), list(rows), TASK, out=out)


@pytest.fixture
def made(tmp_path):
    count = iter(range(100))
    return lambda rows, *widths: store_of(rows, widths, tmp_path / str(next(count)))


def finite(train, query, method, **options):
    """Scores, by every path, of which nothing is NaN."""
    values = attribute(train, query, method, **options).values
    top = attribute_top(train, query, method, k=len(train), **options)
    own = self_influence(train, method, **options)
    assert values.isfinite().all()
    assert top.helpful.scores.isfinite().all()
    assert own.isfinite().all()
    torch.testing.assert_close(top.helpful.scores, values.sort(descending=True).values)
    return values


@pytest.mark.parametrize("method", METHODS)
def test_a_block_without_gradients_adds_nothing(made, method):
    """λ = 0, and nothing is divided by it."""
    G, V = torch.randn(6, 5), torch.randn(3, 5)
    none = torch.zeros(6, 4), torch.zeros(3, 4)
    alone = finite(made(G, 5), made(V, 5), method, **PLAIN)
    beside = finite(made(torch.cat([none[0], G], 1), 4, 5), made(torch.cat([none[1], V], 1), 4, 5),
                    method, **PLAIN)  # fmt: skip
    torch.testing.assert_close(beside, alone)
    # Queries may have gradients where no training example has any.
    others = made(torch.cat([torch.randn(3, 4), V], 1), 4, 5)
    torch.testing.assert_close(
        finite(made(torch.cat([none[0], G], 1), 4, 5), others, method, **PLAIN), alone
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("options", [PLAIN, {}], ids=["plain", "own"])
def test_without_any_gradients_all_scores_are_zero(made, method, options):
    assert not finite(
        made(torch.zeros(4, 3), 3), made(torch.ones(2, 3), 3), method, **options
    ).any()
    assert not finite(
        made(torch.ones(4, 3), 3), made(torch.zeros(2, 3), 3), method, **options
    ).any()


@pytest.mark.parametrize("method", METHODS)
def test_one_of_everything(made, method):
    """n = m = d = 1: v g / (g² + λ), λ = 0.1 g²; of `gradient` v g, weighted v g / λ. LiSSA takes
    its steps of 1/(g² + λ), and so is there at once."""
    g, v = 3.0, -2.0
    lam = 0.1 * g * g
    truth = {"gradient": v * g, "weighted-gradient": v * g / lam}.get(method, v * g / (g * g + lam))
    values = finite(made([torch.tensor([g])], 1), made([torch.tensor([v])], 1), method,
                    damping=0.1, **PLAIN)  # fmt: skip
    assert values.shape == (1, 1)
    assert float(values) == pytest.approx(truth, rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1e6, 1e15])
@pytest.mark.parametrize("options", [PLAIN, {}], ids=["plain", "own"])
def test_one_enormous_example(made, method, size, options):
    """Scores are right, or it is named: what takes several products in float32 may leave its
    range, and does not go on with what it has left."""
    G, V = torch.randn(8, 6), torch.randn(2, 6)
    G[3] *= size
    train, query = made(G, 6), made(V, 6)
    if size == 1e15 and (method == "lissa" or (method == "ridge" and options is PLAIN)):
        with pytest.raises(NonFiniteError, match=r"training example 3, of norm .* times the med"):
            finite(train, query, method, **options)
        return
    values = finite(train, query, method, **options)
    if method in ("exact", "gradient") and options is PLAIN:
        F = G.double().T @ G.double() / 8
        lam = 0.1 * float(G.double().square().sum(1).mean()) / 6
        right = V.double() @ G.double().T
        if method == "exact":
            right = V.double() @ torch.linalg.solve(F + lam * torch.eye(6).double(), G.double().T)
        torch.testing.assert_close(values.double(), right, rtol=1e-3, atol=1e-9)


def test_gradients_at_the_end_of_the_range(made):
    """Whose squares float32 just has."""
    train, query = made(torch.full((3, 2), 1.2e19), 2), made(torch.full((1, 2), 1.2e19), 2)
    assert attribute(train, query, "gradient", **PLAIN).values.isfinite().all()
    train, query = made(torch.full((3, 20), 4e18), 20), made(torch.full((1, 20), 4e18), 20)
    assert attribute(train, query, "exact", **PLAIN).values.isfinite().all()


@pytest.mark.parametrize("method", METHODS)
def test_the_same_example_twice_has_one_score(made, method):
    G = torch.randn(5, 4)
    values = finite(made(torch.cat([G, G[:1]]), 4), made(torch.randn(2, 4), 4), method)
    torch.testing.assert_close(values[:, 0], values[:, 5])


def test_an_id_that_stands_twice_is_refused(tmp_path, llama, tokenizer):
    rows = [{"id": "a", "text": "to be"}, {"id": "b", "text": "or not"}, {"id": "a", "text": "to"}]
    with pytest.raises(DataError, match="example 2: the id 'a' stands at example 0 too"):
        collect(llama, rows, tasks.CausalLM(tokenizer), out=tmp_path / "s")


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_the_largest_numbers_of_smaller_rows(tmp_path, dtype):
    """Rounded up to infinity, or as near to it as float32 has."""
    rows = [torch.ones(2), torch.full((2,), 3.4e38)]
    with pytest.raises(NonFiniteError, match=r"example 1: the gradient of parts\.0\.weight"):
        collect(Linears([2]), rows, TASK, out=tmp_path / "s", dtype=dtype)
