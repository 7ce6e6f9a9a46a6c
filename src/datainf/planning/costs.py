"""What scoring costs: the formulas, each said once. docs/scale.md says what they come to.

Symbols
    n    training examples            m    queries
    N    rows of the curvature: drawn targets, or the n training examples
    d    numbers of a block's rows, as stored; D their sum over blocks
    s    the smaller of N and d       k    steps
    c    checkpoints                  W    blocks that are worked on at one time
    q    queries solved together: 256 MiB of max(n, N, d) float32 each; with --keep of max(N, d), or
         1,024, or 2 GiB of all blocks'

Floating-point operations of a block, a multiplication and an addition counted as two. Products of
rows with queries are thin, and where m is small their speed is that of memory; the matrix of
`exact` and `gauss-newton` and its factor, and `ridge`'s K, are square. σ is the part of a symmetric
product that is computed, ½ and a little.

    method                  thin                            square
    gradient                2nmd
    datainf                 4Nmd + 2nmd
    lissa                   4Nd (20 + ½) + 4Nmd (k + 1) + 2nmd
    cg                      4Nmd (k + 1) + 2nmd
    ridge                   2nmd + 4nmd k
    ridge, K formed         2nmd                            2σn²d + 2n²m k
    ridge, solved           2Nmd + 4Nmd k + 2nmd
    exact, s = d            2nmd                            2σNd² + d³/3 + 2md²
    exact, s = N            2nmd                            2σN²d + N³/3 + 2mN²
    exact, s = N, solved    4Nmd + 2nmd                     2σN²d + N³/3 + 2mN²
    gauss-newton            as exact, solved

Where the rows are the training examples and all scores are kept, `ridge` and `exact` need not solve
for the queries; `ridge` then forms K where n ≤ d and n ≤ 2qk. All is float32 but for `exact`, and
for what `gauss-newton` factors, which is float64.

Bytes of memory, beside what the process has in use
    matrix    16 s²: a float64 matrix and its factor; 12 n² for ridge's K
    rows      4nd and 4Nd while a block is held, up to 16 MiB each; else chunks of 16 MiB, and for a
              matrix of 256 MiB, two at one time
    solve     q (α d + β N + γ n), with the method's own α, β and γ, see `VECTORS`
    scores    4mn (c + W): of every checkpoint, and of all blocks that are worked on, or once more
              while they are added up or written; with --keep 4qD c, 9 windows of 4 MiB, 24mk
              for each end and 8n for the mean over queries
Of the first three, W blocks take as much at one time, or one after another.

Bytes of the disk: a store has n rows of itemsize · D + 4 (1 + blocks), with int8 4 · blocks more,
as `datainf.store.shards.missing_bytes` says; scores take 28 a pair, see `PAIR_BYTES`.

Time of scoring is operations and rows read by the speeds that `datainf.planning.speed` measures;
rows that no longer are in memory take what the disk takes, which nobody measures.

Memory and time of collecting are measured, see `datainf.planning.plan` and `datainf.planning.pace`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from datainf.estimators.lissa import POWER_STEPS
from datainf.estimators.ridge import GRAM_BYTES
from datainf.linalg.matrix import MAX_CHUNK_BYTES, SQUARE_CHUNK_BYTES
from datainf.linalg.symmetric import share
from datainf.scoring import HELD_BYTES, MOST_WORKERS, QUERY_BYTES
from datainf.top_scoring import QUERIES, SOLVED_BYTES, WINDOW_BYTES

SINGLE, DOUBLE = 4, 8
"""Bytes of a float32 and of a float64."""
PAIR_BYTES = 4 + 24
"""Of a score on the disk: in scores.safetensors, and a row of scores.parquet at most, measured."""
MATRIX_BYTES, K_BYTES = 2 * DOUBLE, SINGLE + DOUBLE
"""Of an entry of a matrix that is factored, and of `ridge`'s K, at the moment of most."""
WINDOWS = 9
"""What is held while a window of scores is looked through for its ends, in windows."""
END_BYTES = 2 * (3 * SINGLE)
"""Of a score that is kept: its value, row and rank; twice while batches of queries are joined."""
VECTORS: dict[str, tuple[int, int, int]] = {
    "gradient": (4, 0, 8),
    "weighted-gradient": (8, 0, 8),
    "datainf": (16, 8, 8),
    "lissa": (24, 4, 8),
    "cg": (72, 4, 8),
    "ridge": (12, 0, 60),
    "ridge, solved": (52, 56, 8),
    "exact": (12, 24, 16),
    "exact, solved": (28, 8, 16),
    "gauss-newton": (12, 8, 8),
}
"""α, β, γ: bytes that a solve holds for each of a query's d, N (s where a matrix is factored) and n
numbers."""
FACTORED = ("exact", "gauss-newton")
"""Methods that factor a matrix of s × s."""


@dataclass(frozen=True)
class Work:
    """Floating-point operations, and rows read: numbers in all passes over them together."""

    thin: float = 0.0
    square: float = 0.0
    read: float = 0.0

    def __add__(self, other: Self) -> Self:
        return replace(
            self,
            thin=self.thin + other.thin,
            square=self.square + other.square,
            read=self.read + other.read,
        )

    def times(self, count: int) -> Self:
        return replace(
            self, thin=count * self.thin, square=count * self.square, read=count * self.read
        )  # fmt: skip


@dataclass(frozen=True)
class Block:
    """n, N, m, d, k and q of a block; whether its queries are solved for, and then multiplied with
    the training rows."""

    n: int
    N: int
    m: int
    d: int
    steps: int
    q: int
    solved: bool

    @property
    def s(self) -> int:
        return min(self.N, self.d)

    @property
    def scores(self) -> Work:
        """R Gᵀ."""
        return Work(2.0 * self.n * self.m * self.d, read=self._batches * self.n * self.d)

    def products(self, times: float) -> Work:
        """GᵀG X of the curvature's rows, so often, for all queries."""
        size = self.N * self.d
        return Work(4.0 * size * self.m * times, read=self._batches * size * times)

    @property
    def square(self) -> Work:
        """The smaller one of GᵀG and GGᵀ; of the latter chunks are read in pairs."""
        chunks = -(-SINGLE * self.N * self.d // SQUARE_CHUNK_BYTES)
        passes = 1.0 if self.d <= self.N else (chunks + 1) / 2
        operations = 2 * share(self.s) * self.s**2 * max(self.N, self.d)
        return Work(square=operations, read=passes * self.N * self.d)

    @property
    def factored(self) -> Work:
        return Work(square=self.s**3 / 3 + 2.0 * self.m * self.s**2)

    @property
    def forms_K(self) -> bool:
        """As `ridge` decides."""
        small = DOUBLE * self.n**2 <= GRAM_BYTES
        return not self.solved and small and self.n <= min(self.d, 2 * self.q * self.steps)

    @property
    def _batches(self) -> int:
        return -(-self.m // self.q)


def _gradient(block: Block) -> Work:
    return block.scores


def _datainf(block: Block) -> Work:
    return block.products(1) + block.scores


def _lissa(block: Block) -> Work:
    size = block.N * block.d
    power = Work(4.0 * size * (POWER_STEPS + 0.5), read=size * (POWER_STEPS + 1))
    return power + block.products(block.steps + 1) + block.scores


def _cg(block: Block) -> Work:
    return block.products(block.steps + 1) + block.scores


def _ridge(block: Block) -> Work:
    if block.solved:
        return block.products(0.5 + block.steps) + block.scores
    if not block.forms_K:
        return block.scores + block.products(block.steps)
    return block.scores + block.square + Work(square=2.0 * block.n**2 * block.m * block.steps)


def _exact(block: Block) -> Work:
    inverted = block.square + block.factored
    if block.d <= block.N:
        return inverted + block.scores
    if not block.solved:
        return inverted + block.products(0.5)
    return inverted + block.products(1) + block.scores


WORK: dict[str, Callable[[Block], Work]] = {
    "gradient": _gradient,
    "weighted-gradient": _gradient,
    "datainf": _datainf,
    "lissa": _lissa,
    "cg": _cg,
    "ridge": _ridge,
    "exact": _exact,
    "gauss-newton": _exact,
}


@dataclass(frozen=True)
class Scoring:
    """A whole scoring: a method, n, N, m, k and c, d of every block, whether the N rows are drawn,
    how many of each end of a query's order are kept, None for all, how many passes over the rows a
    metric takes, and how many blocks the processor has cores for."""

    method: str
    n: int
    N: int
    m: int
    widths: tuple[int, ...]
    steps: int = 0
    drawn: bool = False
    keep: int | None = None
    checkpoints: int = 1
    passes: int = 0
    cores: int = 1

    @property
    def pairs(self) -> int:
        """Scores that are written."""
        return self.m * (self.n if self.keep is None else min(self.n, 2 * self.keep))

    @property
    def blocks(self) -> list[Block]:
        return [self.block(d) for d in self.widths]

    def block(self, d: int) -> Block:
        longest = max(d, self.N, self.n if self.keep is None else 0)
        room = QUERY_BYTES // (SINGLE * longest)
        q = max(1, min(self.together, room))
        return Block(self.n, self.N, self.m, d, self.steps, q, self.is_solved)

    @property
    def is_solved(self) -> bool:
        """Whether queries are solved for, and scores taken from that."""
        return self.drawn or self.keep is not None

    @property
    def together(self) -> int:
        """Queries whose scores are computed at one time."""
        if self.keep is None:
            return self.m
        return max(1, min(self.m, QUERIES, SOLVED_BYTES // (DOUBLE * self._numbers)))

    @property
    def workers(self) -> int:
        return 1 if self.keep is not None else min(self.cores, len(self.widths), MOST_WORKERS)

    @property
    def work(self) -> Work:
        """Of all blocks and checkpoints."""
        return sum(map(self._work, self.blocks), Work()).times(self.checkpoints)

    def _work(self, block: Block) -> Work:
        work, own = WORK[self.method](block), sum(self._rows(block)) / SINGLE
        held = all(size <= HELD_BYTES for size in self._rows(block)) and self.keep is None
        read = min(work.read, own) if held else work.read
        return replace(work, read=read + self.passes * own)

    def matrix_bytes(self, block: Block) -> int:
        if self.method in FACTORED:
            return MATRIX_BYTES * block.s**2
        return K_BYTES * block.n**2 if self.method == "ridge" and block.forms_K else 0

    def rows_bytes(self, block: Block) -> int:
        held = sum(min(size, max(HELD_BYTES, MAX_CHUNK_BYTES)) for size in self._rows(block))
        if self.method not in FACTORED:
            return held
        precision = DOUBLE if self.method == "exact" else SINGLE
        matrix = 2 * min(precision * block.N * block.d, SQUARE_CHUNK_BYTES)
        return held + max(matrix, min(precision * block.n * block.d, MAX_CHUNK_BYTES))

    def solve_bytes(self, block: Block) -> int:
        solved = f"{self.method}, solved"
        α, β, γ = VECTORS[solved if self.is_solved and solved in VECTORS else self.method]
        rows = block.s if self.method in FACTORED else block.N
        return block.q * (α * block.d + β * rows + γ * block.n * (self.keep is None))

    @property
    def scores_bytes(self) -> int:
        if self.keep is None:
            return SINGLE * self.m * self.n * (self.checkpoints + self.workers)
        precision = DOUBLE if self.method == "exact" else SINGLE
        solved = precision * self.together * self._numbers
        windows = WINDOWS * min(WINDOW_BYTES, SINGLE * self.together * self.n)
        ends = 2 * END_BYTES * self.m * min(self.keep, self.n)
        return solved + windows + ends + DOUBLE * self.n

    @property
    def largest(self) -> Block:
        """The block that takes most memory."""
        return max({self.block(d) for d in self.widths}, key=self._block_bytes)

    @property
    def peak_bytes(self) -> int:
        """At the moment of most, beside what the process has in use."""
        return self.workers * self._block_bytes(self.largest) + self.scores_bytes

    def _block_bytes(self, block: Block) -> int:
        return self.matrix_bytes(block) + self.rows_bytes(block) + self.solve_bytes(block)

    @property
    def _numbers(self) -> int:
        """Solved for, of one query."""
        return self.checkpoints * sum(self.widths)

    def _rows(self, block: Block) -> list[int]:
        """Bytes of the training rows, and of others that stand for the curvature."""
        counts = (block.n, block.N) if self.drawn else (block.n,)
        return [SINGLE * rows * block.d for rows in counts]
