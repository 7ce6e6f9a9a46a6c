"""Projected rows: their inner products, and the same numbers wherever and however they are made."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from conftest import make_rows
from datainf import collect
from datainf import projection as projection_module
from datainf.errors import OptionError
from datainf.projection import Hadamard, Projection, TwoSided
from datainf.tasks import CausalLM


def dense(sketch, d):
    """P [k, d], a column at a time."""
    return torch.cat([sketch(torch.eye(d)[i : i + 1].double()) for i in range(d)]).T


SKETCHES = [
    Hadamard("h", 0, 96, 12), Hadamard("not a power of two", 0, 77, 40), Hadamard("two", 0, 2, 1),
    TwoSided("t", 0, (6, 16), 3, 4), TwoSided("one side whole", 0, (4, 24), 4, 6),
]  # fmt: skip


@pytest.mark.parametrize("sketch", SKETCHES, ids=lambda s: s.name)
def test_it_is_linear_and_as_wide_as_it_says(sketch):
    d = sketch.d if isinstance(sketch, Hadamard) else sketch.shape[0] * sketch.shape[1]
    rows = torch.randn(5, d).double()
    assert torch.allclose(sketch(rows), rows @ dense(sketch, d).T, atol=1e-12)
    assert sketch(rows).shape == (5, sketch.columns)
    assert sketch(rows[:0]).shape == (0, sketch.columns)
    assert sketch(rows.float()).dtype == torch.float32


@pytest.mark.parametrize("kind", ["hadamard", "two-sided"])
def test_inner_products_are_kept_on_average(kind):
    """Over seeds the mean of y·y' is g·g', and it spreads as 1/√k."""
    draw = torch.Generator().manual_seed(0)
    g, h = torch.randn(2, 256, generator=draw).double()
    h = 0.5 * g + h
    found = []
    for seed in range(400):
        if kind == "hadamard":
            sketch = Hadamard("b", seed, 256, 64)
        else:
            sketch = TwoSided("b", seed, (16, 16), 8, 8)
        y, z = sketch(torch.stack([g, h]))
        found.append(float(y @ z))
    found, size = torch.tensor(found), float(g.norm() * h.norm())
    assert float(found.mean()) == pytest.approx(float(g @ h), abs=4 * float(found.std()) / 20)
    # Of 64 numbers 1/8; both sides of a matrix's two, 1/√8 each, for a matrix of full rank less.
    assert float(found.std()) < (1.2 / 8 if kind == "hadamard" else 1.5 / 8**0.5) * size


def test_the_numbers_are_the_same_for_ever():
    """NumPy keeps Philox's stream and the hash is fixed: a change here would orphan every store."""
    sketch = Hadamard("base_model.layer.0.lora_A.default.weight", 0, 1000, 16)
    signs, _, _, picked = sketch._on(torch.zeros(1))
    told = hashlib.sha256(bytes(signs.to(torch.int8).tolist().__repr__(), "ascii")).hexdigest()
    assert told[:16] == "16204c3633d7b785"
    assert picked.tolist() == [
        76, 78, 187, 287, 490, 502, 547, 633, 702, 799, 832, 857, 866, 924, 967, 1022,
    ]  # fmt: skip


def test_blocks_seeds_and_sides_have_their_own_signs():
    def signs(seed, name, what):
        return tuple(Hadamard(name, seed, 64, 8)._signs(what, 64).tolist())

    asked = [(0, "a", "signs"), (1, "a", "signs"), (0, "b", "signs"), (0, "a", "out")]
    assert len({signs(*one) for one in asked}) == len(asked)
    assert signs(0, "a", "signs") == signs(0, "a", "signs")
    mean = Hadamard("a", 0, 10_000, 8)._signs("signs", 10_000).mean()
    assert abs(float(mean)) < 0.05


def test_small_blocks_are_kept_and_none_becomes_too_small():
    asked = Projection(64)
    assert asked.of("bias", (8,)) is None
    assert asked.of("norm", (32,)) is None
    assert asked.of("lora", (8, 16)).columns == 32
    assert asked.of("lora", (8, 4096)).columns == 512
    assert Projection(**asked.to_json()) == asked


def test_large_matrices_are_projected_on_both_sides(monkeypatch):
    monkeypatch.setattr(projection_module, "FORMED", 1000)
    square = Projection(64).of("w", (256, 256))
    assert isinstance(square, TwoSided)
    assert (square.k_out, square.k_in) == (32, 32)
    narrow = Projection(16).of("w", (8, 512))
    assert (narrow.k_out, narrow.k_in) == (8, 32)
    assert isinstance(Projection(16).of("parts", (4, 8, 1024)), Hadamard)


@pytest.mark.parametrize("shape", [(8, 152_064), (152_064, 8), (16, 128_256)])
@pytest.mark.parametrize("ratio", [16, 64])
def test_the_sides_of_a_thin_matrix_are_not_formed(shape, ratio):
    """P_i would have in²/ratio numbers: 5.8 GB of rank 8 for a vocabulary of 152,064."""
    d, made = shape[0] * shape[1], Numbers()
    sketch = Projection(ratio).of("embed_tokens.lora_A", shape)
    rows = torch.randn(3, d)
    with made:
        found = sketch(rows)
    assert found.shape == (3, -(-d // ratio))
    assert made.largest <= 4 * d, "padded to a power of two, or one of the two Hadamard matrices"
    size = rows.square().sum(1)
    assert torch.allclose(found.square().sum(1), size, rtol=0.05)
    assert torch.equal(found[1:2], sketch(rows[1:2]))


class Numbers(TorchDispatchMode):
    """How many numbers the largest tensor has that is made."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        self.largest = max(
            [
                self.largest,
                *(
                    one.numel()
                    for one in tree_leaves(made)
                    if isinstance(one, torch.Tensor) and not one._is_view()
                ),
            ]
        )
        return made


@pytest.mark.parametrize(
    "wrong",
    [{"ratio": 1}, {"ratio": 0}, {"ratio": 2.5}, {"ratio": "4"}, {"ratio": 8, "metric": "fisher"}],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(OptionError):
        Projection(**wrong)


def test_numpy_s_whole_numbers_are_ratios(llama, tokenizer, tmp_path):
    rows = make_rows("llama")[:2]
    store = collect(llama, rows, CausalLM(tokenizer), out=tmp_path, project=np.int64(4))
    assert type(store.index.projection["ratio"]) is int
    with pytest.raises(OptionError, match=r"one of 2\.5 numbers"):
        collect(llama, rows, CausalLM(tokenizer), out=tmp_path, project=2.5)
