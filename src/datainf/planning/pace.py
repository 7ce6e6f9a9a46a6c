"""How long all batches will take, by the first few of them.

They are taken from all lengths (`datainf.gradients.batches.spread`), so that the mean of their
seconds a token, padding counted, is that of all. The first of all is left out: much is made ready
in it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from datainf import words
from datainf.gradients.batches import PLACES

LEAST, SECONDS = 3, 2.0
"""Batches, and seconds that they take together, unless there are as many batches as `PLACES`."""
TRIVIAL = 10.0
"""Seconds of a run that nobody needs to be told of."""


@dataclass(frozen=True)
class Estimate:
    """Seconds, with two standard errors of the batches' mean to either side; and how many batches
    tell it."""

    seconds: float
    low: float
    high: float
    batches: int

    def __str__(self) -> str:
        near, far = words.duration(self.low), words.duration(self.high)
        spread = "" if near == far else f" ({near} to {far})"
        return f"some {words.duration(self.seconds)}{spread}"


class Pace:
    """Hears of batches: their tokens, padding counted, and the seconds that each took."""

    def __init__(self) -> None:
        self._heard: list[tuple[int, float]] = []

    def __call__(self, tokens: int, seconds: float) -> None:
        self._heard.append((tokens, seconds))

    @property
    def batches(self) -> list[tuple[int, float]]:
        """Those that count: the first alone, until there are others."""
        return self._heard[1:] or self._heard

    @property
    def is_known(self) -> bool:
        """Whether enough batches were heard of."""
        count, seconds = len(self._heard) - 1, sum(seconds for _, seconds in self.batches)
        return (count >= LEAST and seconds >= SECONDS) or count >= len(PLACES)

    def of(self, tokens: int) -> Estimate | None:
        """Of so many tokens; None before any batch."""
        rates = [seconds / size for size, seconds in self.batches]
        if not rates:
            return None
        mean = statistics.fmean(rates)
        off = 2 * statistics.stdev(rates) / len(rates) ** 0.5 if len(rates) > 1 else 0.0
        low, high = max(0.0, mean - off), mean + off
        return Estimate(tokens * mean, tokens * low, tokens * high, len(rates))


class Forecast:
    """Hears of a run's batches, and says once how long the rest of it will take; nothing where
    that is trivial."""

    def __init__(
        self, tokens: int, examples: int, scoring: Callable[[], float], say: Callable[[str], None]
    ) -> None:
        """`tokens` and `examples` to come, padding counted; `scoring` measures how long scores
        will take, in seconds."""
        self.tokens, self.examples, self.scoring, self.say = tokens, examples, scoring, say
        self.pace, self._said = Pace(), False

    def __call__(self, tokens: int, seconds: float) -> None:
        self.tokens -= tokens
        if self._said:
            return
        self.pace(tokens, seconds)
        found = self.pace.of(max(0, self.tokens))
        if found is None or not self.pace.is_known:
            return
        self._said = True
        if found.seconds < TRIVIAL:
            return
        scores = self.scoring()
        then = "" if scores < TRIVIAL else f"; then {words.duration(scores)} for scores"
        self.say(
            f"{found} for the rest of {words.count(self.examples, 'gradient')}, by the first "
            f"{found.batches} batches{then}"
        )
