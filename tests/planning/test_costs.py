"""What scoring costs: operations and memory as they are counted while it is done."""

from __future__ import annotations

import weakref
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from datainf.estimators import BY_NAME, from_name
from datainf.linalg import from_dense, symmetric
from datainf.planning.costs import FACTORED, WORK, Scoring

COUNTED = {torch.ops.aten.addmm_: lambda _, a, b, **__: 2 * a[0] * a[1] * b[1]}
"""In place, which the counter does not know."""
SHAPES = [(400, 300, 30, 700), (2000, 900, 30, 256), (300, 200, 200, 5000), (500, 300, 3, 6000)]
"""n, N, m, d."""
CASES = [
    (name, drawn)
    for name, kind in BY_NAME.items()
    for drawn in (False, True)
    if (kind.has_curvature or not drawn) and (drawn or not kind.needs_curvature)
]


class Live(TorchDispatchMode):
    """The most bytes of tensors that are made within and are there at one time."""

    def __init__(self, *known):
        super().__init__()
        self.live = self.most = 0
        self.sizes = dict.fromkeys((t.untyped_storage()._cdata for t in known), 0)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor):
                self.see(tensor.untyped_storage())
        return found

    def see(self, storage):
        if storage._cdata not in self.sizes:
            self.sizes[storage._cdata] = storage.nbytes()
            self.live += storage.nbytes()
            self.most = max(self.most, self.live)
            weakref.finalize(storage, self.gone, storage._cdata)

    def gone(self, key):
        self.live -= self.sizes.pop(key, 0)


def problem(method, drawn, shape, keep=None):
    """A block's matrices with the work that is done on them, and what it is said to cost."""
    n, N, m, d = shape
    torch.manual_seed(0)
    train, query = torch.randn(n, d) / d**0.5, torch.randn(m, d) / d**0.5
    rows = torch.randn(N, d) / d**0.5 if drawn else train
    G = from_dense(train)
    C = from_dense(rows) if drawn else G
    estimator = from_name(method)
    G.sq_norms, C.sq_norms  # noqa: B018 - a store has them

    def work():
        fitted = estimator.fit(C)
        if keep is None:
            return fitted.scores(query, 1e-4, G if drawn else None).values
        R = fitted.solve(fitted.G.cast(query), 1e-4).R
        return G.to(R.dtype) @ R.T

    said = Scoring(
        method, n, N if drawn else n, m, (d,), getattr(estimator, "steps", 0), drawn, keep
    )  # fmt: skip
    return work, said, (train, query, rows)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("keep", [None, 10])
@pytest.mark.parametrize(("method", "drawn"), CASES)
def test_operations_are_those_that_are_done(method, drawn, keep, shape):
    work, said, _ = problem(method, drawn, shape, keep)
    with FlopCounterMode(display=False, custom_mapping=COUNTED) as counted:
        work()
    (block,) = said.blocks
    expected = said.work.thin + said.work.square
    if method in FACTORED:  # no product, and not counted
        expected -= block.factored.square
    assert counted.get_total_flops() == pytest.approx(expected, rel=1e-6)


def test_every_method_has_its_work():
    assert WORK.keys() == BY_NAME.keys()


@pytest.mark.parametrize("shape", [*SHAPES, (900, 100, 3000, 120), (100, 900, 900, 1000)], ids=str)
@pytest.mark.parametrize(("method", "drawn"), CASES)
def test_memory_is_enough_and_not_far_more(method, drawn, shape):
    work, said, (train, query, rows) = problem(method, drawn, shape)
    with Live(train, query, rows) as live:
        work()
    (block,) = said.blocks
    solving = said.matrix_bytes(block) + said.solve_bytes(block)
    copies = said.rows_bytes(block) - sum(said._rows(block))  # the rows themselves are there
    most = live.most + query.nbytes
    assert solving / 3 <= most <= 1.02 * (solving + copies)


def test_the_part_of_a_symmetric_product():
    for k in (5, 128, 129, 1000, 5000):
        S = torch.zeros(k, k)
        with FlopCounterMode(display=False, custom_mapping=COUNTED) as counted:
            symmetric.add_lower(S, torch.ones(k, 1), torch.ones(1, k))
        assert counted.get_total_flops() == pytest.approx(2 * symmetric.share(k) * k**2)


def test_what_is_kept_of_all_queries_is_counted():
    few = Scoring("gradient", 10**6, 10**6, 5000, (100,), keep=1)
    many = replace(few, keep=10**5)
    assert many.scores_bytes - few.scores_bytes == 2 * 24 * 5000 * (10**5 - 1)
    one = replace(few, m=1, keep=10**6)
    assert one.scores_bytes == replace(one, keep=10**7).scores_bytes, "no more than there are"
    assert one.scores_bytes > (2 * 24 + 8) * 10**6
