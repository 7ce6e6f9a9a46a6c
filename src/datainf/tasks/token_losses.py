"""Cross-entropy of tokens, by row: the core of every loss on text."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from datainf.tasks.base import IGNORE


def token_nll(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """−Σ log p(target) over each row's supervised tokens, and how many there are.

    Args:
        logits: [rows, T, vocabulary].
        targets: [rows, T], −100 where a token is not supervised; already aligned to the logits.

    Returns:
        Sums [rows], float32 or better, in nats; counts [rows], int64. A row without a supervised
        token has the sum 0.
    """
    targets = targets.to(logits.device)
    supervised = targets != IGNORE
    # Only supervised positions are turned into float32: prompts and padding cost nothing. Where
    # they are, a program waits for its GPU to know once; of a mask it would at every use.
    places = supervised.nonzero(as_tuple=True)
    token_losses = F.cross_entropy(
        at_least_float32(logits[places]), targets[places], reduction="none"
    )
    sums = token_losses.new_zeros(len(targets)).index_add(0, places[0], token_losses)
    return sums, supervised.sum(dim=1)


def next_token_nll(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """`token_nll` where position t predicts label t + 1, so that the first label is predicted by
    nothing. Logits that are longer than the labels [rows, T] start with a soft prompt's, whose last
    position predicts the first label."""
    return token_nll(*next_token(logits, labels))


def next_token(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and the targets that they predict, aligned as for `next_token_nll`."""
    length = labels.shape[1]
    if logits.shape[1] > length:
        return logits[:, -length - 1 : -1], labels
    return logits[:, :-1], labels[:, 1:]


def at_least_float32(logits: Tensor) -> Tensor:
    return logits if logits.itemsize >= 4 else logits.float()
