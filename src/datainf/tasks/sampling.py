"""Losses whose gradients have the Gauss–Newton matrix for their second moment.

For a loss ℓ(z) of a model's outputs z that is a negative log-likelihood, the Gauss–Newton matrix
of an example is H = Jᵀ (∂²ℓ/∂z²) J, J = ∂z/∂θ; it is also the Fisher information. With targets
drawn from the model's own distribution, and the sum over independent targets divided by √(their
number) where the loss is their mean, the gradient s of such a loss has

    E[s sᵀ] = H,   E[s] = 0

(Martens, "New insights and perspectives on the natural gradient method", 2020, §9). The labels of
the data play no part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from datainf.tasks.base import IGNORE
from datainf.tasks.token_losses import at_least_float32

REMEMBERED = 4096
"""Examples whose drawn targets are kept."""


class Draws:
    """Targets and random numbers for the examples of a batch: an example's hang on its own key,
    not on where in which batch it is.

    Drawn targets are looked up in `known` first, key → targets: what decides between two classes
    may be rounding, which hangs on the batch, and an example that is evaluated twice in a process
    has to have the same targets.
    """

    def __init__(self, keys: Sequence[int], known: dict[int, Tensor] | None = None) -> None:
        self.keys = list(keys)
        self.known = {} if known is None else known

    def classes(self, logits: Tensor, counts: Sequence[int]) -> Tensor:
        """A class for each row of logits [Σ counts, C]; so many rows belong to each example."""
        uniform = self._uniform(counts).to(logits.device)
        return self._same(draw_classes(logits, uniform), counts)

    def events(self, logits: Tensor) -> Tensor:
        """0 or 1 for each of logits [batch, C], by its own probability, in their dtype."""
        counts = [logits.shape[1]] * len(logits)
        uniform = self._uniform(counts).view(logits.shape).to(logits.device)
        drawn = uniform < logits.detach().double().sigmoid()
        return self._same(drawn.flatten(), counts).view(logits.shape).to(logits.dtype)

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal numbers [batch, *shape], float64."""
        return torch.stack([
            torch.randn(tuple(shape), generator=self._generator(key), dtype=torch.float64)
            for key in self.keys
        ])  # fmt: skip

    def _uniform(self, counts: Sequence[int]) -> Tensor:
        """So many numbers in [0, 1) for each example, one example after another, float64."""
        return torch.cat([
            torch.rand(count, generator=self._generator(key), dtype=torch.float64)
            for key, count in zip(self.keys, counts, strict=True)
        ])  # fmt: skip

    def _same(self, drawn: Tensor, counts: Sequence[int]) -> Tensor:
        """What was drawn before, where it was."""
        parts = torch.split(drawn.cpu(), list(counts))
        found = [self.known.setdefault(key, p) for key, p in zip(self.keys, parts, strict=True)]
        while len(self.known) > REMEMBERED:  # the oldest goes first
            del self.known[next(iter(self.known))]
        return torch.cat(found).to(drawn.device)

    @staticmethod
    def _generator(key: int) -> torch.Generator:
        return torch.Generator().manual_seed(key)


def draw_classes(logits: Tensor, uniform: Tensor) -> Tensor:
    """A class for each row of logits [rows, C] from softmax, by inverting its distribution."""
    sums = logits.detach().double().softmax(dim=-1).cumsum(dim=-1)
    drawn = torch.searchsorted(sums, uniform[:, None], right=True)[:, 0]
    return drawn.clamp(max=logits.shape[-1] - 1)


def sampled_token_losses(logits: Tensor, targets: Tensor, draws: Draws) -> Tensor:
    """[rows], of a loss that is the mean over a row's supervised tokens.

    Args:
        logits: [rows, T, vocabulary].
        targets: [rows, T], aligned to the logits; only where they are −100 matters.
        draws: Of the rows.
    """
    supervised = targets.to(logits.device) != IGNORE
    counts = supervised.sum(dim=1)
    places = supervised.nonzero(as_tuple=True)
    chosen = at_least_float32(logits[places])
    drawn = draws.classes(chosen, counts.tolist())
    losses = F.cross_entropy(chosen, drawn, reduction="none")
    sums = losses.new_zeros(len(targets)).index_add(0, places[0], losses)
    return sums / counts.clamp(min=1).sqrt()


def sampled_class_losses(logits: Tensor, draws: Draws) -> Tensor:
    """[rows], of the cross-entropy of one label."""
    logits = at_least_float32(logits)
    drawn = draws.classes(logits, [1] * len(logits))
    return F.cross_entropy(logits, drawn, reduction="none")


def sampled_label_losses(logits: Tensor, draws: Draws) -> Tensor:
    """[rows], of the mean over C labels that each hold or not."""
    logits = at_least_float32(logits)
    losses = F.binary_cross_entropy_with_logits(logits, draws.events(logits), reduction="none")
    return losses.sum(dim=1) / math.sqrt(logits.shape[1])


def sampled_square_losses(outputs: Tensor, weights: Tensor, draws: Draws) -> Tensor:
    """[rows], of Σ_j w_j z_j² up to what does not depend on z: Σ_j √(2 w_j) ξ_j z_j.

    Args:
        outputs: z [rows, …].
        weights: w, positive, of a shape that broadcasts to one row's.
        draws: Of the rows.
    """
    noise = draws.normal(outputs.shape[1:]).to(outputs.device)
    scale = (2 * weights.to(outputs.device)).sqrt()
    return ((scale * noise).to(outputs.dtype) * outputs).flatten(1).sum(dim=1)
