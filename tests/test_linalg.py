"""Every operator against its dense matrix; damping."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from datainf.errors import OptionError
from datainf.linalg import (
    ColumnScaled,
    Damping,
    RowScaled,
    from_dense,
    hstack,
    norm_scale,
    symmetric,
)
from datainf.linalg import matrix as matrix_module
from estimators.grid import chunked, in_a_metric, scaled, side_by_side, stacked

G = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture(
    params=[from_dense, chunked, stacked, scaled, side_by_side, in_a_metric],
    ids=lambda f: f.__name__,
)
def matrix(request, monkeypatch):
    for bound in ("MAX_CHUNK_BYTES", "SQUARE_CHUNK_BYTES"):
        monkeypatch.setattr(matrix_module, bound, 16 * 5)
    return request.param(G)


def test_operators_equal_their_dense_matrix(matrix):
    X, W, weights = (torch.randn(*shape).double() for shape in ((5, 2), (7, 3), (7,)))
    assert matrix.shape == (7, 5)
    assert matrix.T.shape == (5, 7)
    assert matrix.T.T is matrix
    for found, truth in [
        (matrix.to_dense(), G),
        (matrix.rows(2, 5), G[2:5]),
        (matrix.rows(3, 3), G[3:3]),
        (matrix @ X, G @ X),
        (matrix @ X[:, 0], G @ X[:, 0]),
        (matrix.T @ W, G.T @ W),
        (matrix.T @ W[:, 0], G.T @ W[:, 0]),
        (matrix.gram(), G @ G.T),
        (matrix.second_moment(), G.T @ G),
        (matrix.normal_matmul(X), G.T @ G @ X),
        (matrix.normal_matmul(X, weights), G.T @ (weights[:, None] * (G @ X))),
        (matrix.normal_matmul(X[:, 0], weights), G.T @ (weights * (G @ X[:, 0]))),
        (matrix.held().to_dense(), G),
        (matrix.held().gram(), G @ G.T),
        (matrix.sq_norms, G.square().sum(1)),
        (torch.cat([rows for _, rows in matrix.chunks()]), G),
        (matrix.to(torch.float32).gram(), G @ G.T),
    ]:
        tolerance = 1e-12 if found.dtype == torch.float64 else 1e-5
        assert torch.allclose(found.double(), truth, rtol=tolerance, atol=tolerance)
    covered = [row for rows, _ in matrix.chunks() for row in range(rows.start, rows.stop)]
    assert covered == list(range(7))


@pytest.mark.parametrize(("start", "stop"), [(0, 7), (0, 3), (2, 6), (5, 7), (3, 3)])
def test_a_window_is_a_matrix_of_its_rows(matrix, start, stop):
    X, inside = torch.randn(5, 2).double(), G[start:stop]
    window = matrix.window(start, stop)
    assert window.shape == (stop - start, 5)
    assert window.parameters == matrix.parameters
    for found, truth in [
        (window @ X, inside @ X),
        (window.T @ inside, inside.T @ inside),
        (window.sq_norms, inside.square().sum(1)),
        (window.held().to_dense(), inside),
        (matrix.held().window(start, stop).to_dense(), inside),
        (window.window(1, 2).to_dense(), inside[1:2]),
    ]:
        assert torch.allclose(found, truth, rtol=1e-12, atol=1e-12)


def test_chunks_on_another_device_are_larger(monkeypatch):
    monkeypatch.setattr(matrix_module, "MAX_CHUNK_BYTES", 2 * 8 * 5)
    monkeypatch.setattr(matrix_module, "GPU_CHUNK_BYTES", 4 * 8 * 5)
    matrix, elsewhere = from_dense(G), from_dense(G).to(device=torch.device("meta"))
    assert [rows.stop for rows, _ in matrix.chunks()] == [2, 4, 6, 7]
    assert [rows.stop for rows, _ in elsewhere.chunks()] == [4, 7]
    assert [rows.stop for rows, _ in elsewhere.chunks(8)] == [4, 7]


@pytest.mark.parametrize("tile", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("chunk_rows", [1, 3, 7])
def test_symmetric_products_are_whole_whatever_their_tiles(monkeypatch, tile, chunk_rows):
    monkeypatch.setattr(symmetric, "SMALLEST_TILE", tile)
    for bound in ("MAX_CHUNK_BYTES", "SQUARE_CHUNK_BYTES"):
        monkeypatch.setattr(matrix_module, bound, 8 * 5 * chunk_rows)
    matrix = chunked(G)
    assert torch.allclose(matrix.gram(), G @ G.T, rtol=1e-12, atol=1e-12)
    assert torch.allclose(matrix.second_moment(), G.T @ G, rtol=1e-12, atol=1e-12)


def test_the_same_precision_and_place_is_the_same_matrix(matrix):
    """With the norms that it has computed, which are a pass over the rows."""
    norms = matrix.sq_norms
    again = matrix.to(torch.float64, torch.device("cpu"))
    assert again is matrix
    assert again.sq_norms is norms
    assert matrix.to() is matrix
    assert matrix.to(torch.float32).dtype == torch.float32


def test_half_precision_rows_are_multiplied_in_float32():
    half = G.to(torch.bfloat16)
    matrix = chunked(half)
    assert matrix.dtype == torch.float32
    assert torch.allclose(matrix.gram(), half.float() @ half.float().T)


@pytest.mark.parametrize("wrong", [torch.ones(4), torch.ones(4, 2), torch.ones(5, 2, 2)])
def test_a_wrong_inner_dimension_is_refused(matrix, wrong):
    with pytest.raises(OptionError, match="must have 5 rows"):
        matrix @ wrong


def test_norms_are_divided_by_and_zero_rows_stay_zero():
    rows = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    scale = norm_scale(rows.square().sum(1))
    unit = RowScaled(from_dense(rows), scale).to_dense()
    assert torch.allclose(unit, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
    assert norm_scale(rows.square().sum(1), 0.5).tolist() == pytest.approx([5**-0.5, 1])


def test_a_scale_of_another_length_is_refused():
    with pytest.raises(OptionError, match="5 parameters"):
        ColumnScaled(from_dense(G), torch.ones(4))
    with pytest.raises(OptionError, match="7 rows"):
        RowScaled(from_dense(G), torch.ones(5))


def test_one_block_stacks_to_itself():
    one = from_dense(G)
    assert hstack([one]) is one


def test_damping_kinds():
    square = float(G.square().sum(1).mean())
    assert Damping().lambda_of(from_dense(G)) == pytest.approx(0.1 * square / 5)
    assert Damping(0.02, "trace").lambda_of(from_dense(G)) == pytest.approx(0.02 * square)
    assert Damping(20.0, "rows").lambda_of(from_dense(G)) == pytest.approx(20 * square / 7)
    assert Damping(3.0, "absolute").lambda_of(from_dense(G)) == 3.0
    assert Damping().lambda_of(from_dense(torch.zeros(3, 2))) == 0


@pytest.mark.parametrize(
    "text", ["0.1", "10", "trace:0.02", "rows:20", "rows:16.666666666666668", "abs:0.001"]
)
def test_damping_reads_what_it_writes(text):
    assert str(Damping.parse(text)) == text
    assert Damping.parse(Damping.parse(text)) == Damping.parse(text)


@pytest.mark.parametrize("value", [50 / 3, 1e-9 / 7, 123456789.0, 20])
def test_a_damping_is_written_whole(value):
    assert Damping.parse(str(Damping(value, "rows"))) == Damping(value, "rows")


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "trace:", "share:1", "", "ten"])
def test_damping_refuses_nonsense(text):
    with pytest.raises(OptionError):
        Damping.parse(text)


@pytest.mark.parametrize(("product", "what"), [("gram", "7 × 7"), ("second_moment", "5 × 5")])
def test_a_matrix_that_memory_does_not_hold_is_refused(monkeypatch, product, what):
    monkeypatch.setattr(symmetric, "available", lambda _: 25 * 8 - 1)
    with pytest.raises(OptionError, match=what) as caught:
        getattr(from_dense(G), product)()
    assert "--method cg" in caught.value.remedy
    assert "--curvature-rows" in caught.value.remedy


def test_a_gram_of_scaled_parts_makes_one_square(monkeypatch):
    """Which is what takes time where there are many parts: scaling rows takes next to none."""
    squares = []

    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            found = func(*args, **(kwargs or {}))
            if isinstance(found, torch.Tensor) and tuple(found.shape) == (7, 7):
                squares.append(found.untyped_storage().data_ptr())
            return found

    monkeypatch.setattr(symmetric, "mirrored", lambda K: K)
    with Seen():
        side_by_side(G).gram()
    assert len(set(squares)) == 1


@pytest.mark.parametrize("product", ["gram", "second_moment"])
def test_a_product_is_summed_where_it_is_told(matrix, product):
    whole = torch.zeros(9, 20, dtype=torch.float64)
    size = 7 if product == "gram" else 5
    out = whole[1 : size + 1, 2 : size + 2]
    assert getattr(matrix, product)(out).data_ptr() == out.data_ptr()
    truth = G @ G.T if product == "gram" else G.T @ G
    assert torch.allclose(out, truth, rtol=1e-12, atol=1e-12)
    assert int((whole != 0).sum()) == size * size
