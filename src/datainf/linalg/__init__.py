"""Matrices of per-example gradients, and the damping of a block.

A block's matrix G is [n, d]: row i is g_i, the gradient of example i's loss with respect to the
block's d parameters. It may be larger than memory, so it is an operator: it has a shape, `@`,
`.T @`, `gram()` and row slices, all of which pass over it in chunks of rows.

The kinds compose. `ChunkedMatrix` holds rows in chunks (memory-mapped shards of a store), `HStack`
sets blocks side by side (an adapter's tensors as one block), `ColumnScaled` multiplies parameter j
by s_j (a metric), and `RowScaled` row i by s_i (unit normalisation, or the scales of int8 rows).
"""

from datainf.linalg.chunked import ChunkedMatrix, accumulate_dtype, from_dense
from datainf.linalg.damping import Damping
from datainf.linalg.matrix import GradientMatrix
from datainf.linalg.scaled import ColumnScaled, RowScaled, norm_scale
from datainf.linalg.stacked import HStack, hstack

__all__ = [
    "ChunkedMatrix",
    "ColumnScaled",
    "Damping",
    "GradientMatrix",
    "HStack",
    "RowScaled",
    "accumulate_dtype",
    "from_dense",
    "hstack",
    "norm_scale",
]
