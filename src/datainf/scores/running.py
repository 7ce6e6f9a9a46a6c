"""The ends of an order of numbers that come some at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from datainf.scores.top import End


class RunningEnd:
    """The k largest, or smallest, numbers of each of m rows whose columns come a window at a time,
    k ≤ n of them; ties go by position. Keeps [m, k]."""

    def __init__(self, m: int, k: int, device: torch.device, *, largest: bool) -> None:
        self.k, self.largest, self.seen = k, largest, 0
        self.values = torch.empty((m, 0), device=device)
        self.positions = torch.empty((m, 0), dtype=torch.int64, device=device)
        self._last = torch.full((m, 1), torch.nan, device=device)
        self._dropped = torch.zeros((m, 1), dtype=torch.int64, device=device)
        """How many equal the last one that is kept, and came after it."""

    def add(self, values: Tensor) -> None:
        """The next columns, [m, s] float32, finite."""
        m, s = values.shape
        came = torch.arange(self.seen, self.seen + s, device=values.device).expand(m, s)
        self.seen += s
        # What is kept came earlier, and equals in it stand by position: so they do in all.
        values = torch.cat([self.values, values], dim=1)
        positions = torch.cat([self.positions, came], dim=1)
        if values.shape[1] > self.k:
            places = self._places(values)
            values, positions = values.gather(1, places), positions.gather(1, places)
        self.values, order = torch.sort(values, dim=1, descending=self.largest, stable=True)
        self.positions = positions.gather(1, order)

    def _places(self, values: Tensor) -> Tensor:
        """The k columns [m, k] to keep, by position; the others are dropped, and equals counted.

        Several times as fast as to sort them all: the k-th value tells those before it, and how
        many of its equals are needed beside them.
        """
        last = torch.topk(values, self.k, dim=1, largest=self.largest).values[:, -1:]
        kept = values > last if self.largest else values < last
        equal = values == last
        needed = self.k - kept.sum(dim=1, keepdim=True)
        before = torch.where(last == self._last, self._dropped, 0)
        self._dropped = before + equal.sum(dim=1, keepdim=True) - needed
        self._last = last
        kept |= equal & (equal.cumsum(dim=1) <= needed)
        return kept.nonzero()[:, 1].reshape(-1, self.k)

    def end(self) -> End:
        """Of all columns that came, on the CPU."""
        ranks = torch.arange(self.k, device=self.values.device).expand_as(self.positions)
        if not self.largest:
            # The most helpful of all has rank 0, and of equals the one that came first.
            first = torch.searchsorted(self.values, self.values)
            after = torch.searchsorted(self.values, self.values, right=True)
            after = after + torch.where(self.values == self.values[:, -1:], self._dropped, 0)
            ranks = self.seen - after + ranks - first
        return End(self.positions.int().cpu(), self.values.cpu(), ranks.int().cpu())
