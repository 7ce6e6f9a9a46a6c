"""The ends of an order of numbers that come some at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from datainf.ranks import Ranks
from datainf.scores.top import End


class RunningEnd:
    """The k largest, or smallest, numbers of each of m rows whose columns come a window at a time,
    from position `start` on; ties go by position. Keeps [m, k], or less of fewer columns."""

    def __init__(
        self, m: int, k: int, device: torch.device, *, largest: bool, start: int = 0
    ) -> None:
        self.k, self.largest, self.start, self.seen = k, largest, start, 0
        self.values = torch.empty((m, 0), device=device)
        self.positions = torch.empty((m, 0), dtype=torch.int64, device=device)
        self._last = torch.full((m, 1), torch.nan, device=device)
        self._dropped = torch.zeros((m, 1), dtype=torch.int64, device=device)
        """How many equal the last one that is kept, and came after it."""

    def add(self, values: Tensor) -> None:
        """The next columns, [m, s] float32, finite."""
        m, s = values.shape
        first = self.start + self.seen
        came = torch.arange(first, first + s, device=values.device).expand(m, s)
        self._keep(values, came, s)

    def add_end(self, other: RunningEnd) -> None:
        """The next columns, of which another has kept the end; as if each had come here."""
        self._keep(other.values, other.positions, other.seen)
        self._dropped += torch.where(other._last == self._last, other._dropped, 0)

    def of_all(self, ranks: Ranks, n: int) -> RunningEnd:
        """That of n columns, of which each process has had its part."""
        if ranks.count == 1:
            return self
        m, parts = len(self.values), ranks.parts(n)
        whole = RunningEnd(m, self.k, self.values.device, largest=self.largest)
        sizes = [min(self.k, part.stop - part.start) + 1 for part in parts]
        values, positions = (
            ranks.of_each(torch.cat(pair, dim=1).T, sizes)
            for pair in ((self.values, self._last), (self.positions, self._dropped))
        )
        for part, value, position in zip(parts, values, positions, strict=True):
            one = RunningEnd(m, self.k, self.values.device, largest=self.largest)
            one.seen = part.stop - part.start
            one.values, one._last = value[:-1].T, value[-1:].T
            one.positions, one._dropped = position[:-1].T, position[-1:].T
            whole.add_end(one)
        return whole

    def _keep(self, values: Tensor, positions: Tensor, came: int) -> None:
        """The end of what is kept and of these, which come after it, and stand for so many."""
        self.seen += came
        # Equals in what is kept stand by position, and so they do in all.
        values = torch.cat([self.values, values], dim=1)
        positions = torch.cat([self.positions, positions], dim=1)
        if values.shape[1] >= self.k:
            places = self._places(values)
            values, positions = values.gather(1, places), positions.gather(1, places)
        self.values, order = torch.sort(values, dim=1, descending=self.largest, stable=True)
        self.positions = positions.gather(1, order)

    def _places(self, values: Tensor) -> Tensor:
        """The k columns [m, k] to keep, as they stand; the others are dropped, and equals counted.

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
