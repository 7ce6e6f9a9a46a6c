"""Damping: what is added to a block's curvature so that it can be inverted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from datainf.errors import OptionError
from datainf.linalg.matrix import GradientMatrix

DampingKind = Literal["dimension", "trace", "rows", "absolute"]
_PREFIXES: dict[DampingKind, str] = {
    "dimension": "", "trace": "trace", "rows": "rows", "absolute": "abs",
}  # fmt: skip
"""How each is spelled before the value, with a colon."""


@dataclass(frozen=True)
class Damping:
    """λ of a block, from the mean squared gradient norm s = mean_i ‖g_i‖² and its d parameters,
    which a projected block has as many of as the model.

    - ``dimension``: λ = value · s / d, the paper's (section 3), value 0.1 by default;
    - ``trace``: λ = value · s, relative to the trace of GᵀG/n;
    - ``rows``: λ = value · s / n: in the dual, (K + value · s · I)⁻¹, so many typical examples;
    - ``absolute``: λ = value.

    λ has the units of a squared gradient norm. It must be positive; where every gradient of a
    block is zero, the relative kinds give λ = 0 and the block contributes nothing.

    Raises `OptionError` for a value that is not a positive finite number.
    """

    value: float = 0.1
    kind: DampingKind = "dimension"

    def __post_init__(self) -> None:
        if self.kind not in get_args(DampingKind):
            raise OptionError(
                f"unknown damping kind {self.kind!r}", remedy=" or ".join(get_args(DampingKind))
            )
        if not (0 < self.value < float("inf")):
            raise OptionError(
                f"damping must be a positive finite number, got {self.value}",
                remedy="0.1 (times mean squared norm over dimension), trace:0.02, rows:20 or "
                "abs:1e-3",
            )

    def lambda_of(self, G: GradientMatrix) -> float:
        """λ for the block G [n, d]."""
        if self.kind == "absolute":
            return self.value
        mean_square = float(G.sq_norms.double().mean())
        share = {"dimension": G.parameters, "trace": 1, "rows": G.shape[0]}[self.kind]
        return self.value * mean_square / share

    @classmethod
    def parse(cls, text: str | float | Damping) -> Damping:
        """From "0.1", "trace:0.02", "rows:20" or "abs:1e-3" (the command line's spelling)."""
        if isinstance(text, Damping):
            return text
        kind, _, number = str(text).rpartition(":")
        kinds: dict[str, DampingKind] = {prefix: kind for kind, prefix in _PREFIXES.items()}
        try:
            return cls(float(number), kinds[kind])
        except (KeyError, ValueError) as error:
            if isinstance(error, OptionError):
                raise
            raise OptionError(
                f"cannot read the damping {text!r}", remedy="0.1, trace:0.02, rows:20 or abs:1e-3"
            ) from None

    def __str__(self) -> str:
        prefix = _PREFIXES[self.kind]
        number = repr(float(self.value)).removesuffix(".0")  # the shortest that reads as the same
        return f"{prefix}:{number}" if prefix else number
