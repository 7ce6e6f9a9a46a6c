"""Times: from batches, and from operations. Nothing here waits for a clock."""

from __future__ import annotations

from dataclasses import replace

import pytest

from datainf.gradients.batches import PLACES
from datainf.planning.costs import Scoring
from datainf.planning.pace import LEAST, Forecast, Pace
from datainf.planning.speed import Speed, measured


def test_an_estimate_is_the_mean_of_rates_without_the_first():
    pace = Pace()
    assert pace.of(100) is None
    pace(10, 50.0)
    assert pace.of(100).seconds == pytest.approx(500), "while there is no other"
    for seconds in (0.9, 1.0, 1.1):
        pace(10, seconds)
    found = pace.of(1000)
    assert found.batches == 3
    assert found.seconds == pytest.approx(100)
    assert found.low < 90 < 110 < found.high
    assert pace.of(2000).seconds == pytest.approx(200)
    assert str(found) == "some 100 s (88 s to 112 s)"


def test_it_is_known_after_some_batches_and_seconds():
    slow, fast = Pace(), Pace()
    for _ in range(1 + LEAST):
        assert not slow.is_known
        slow(10, 1.0)
    assert slow.is_known
    for _ in range(1 + len(PLACES)):
        assert not fast.is_known
        fast(10, 0.001)
    assert fast.is_known


ENOUGH = 1 + len(PLACES)


def hear(forecast, seconds, batches=ENOUGH):
    for _ in range(batches):
        forecast(100, seconds)


def test_a_forecast_is_said_once():
    said = []
    forecast = Forecast(100_000, 5000, lambda: 90.0, said.append)
    hear(forecast, 1.0, LEAST)
    assert said == []
    hear(forecast, 1.0)
    assert said == [
        "some 17 min for the rest of 5,000 gradients, by the first 3 batches; then 90 s for scores"
    ]  # fmt: skip


def test_a_short_run_is_not_told_of():
    said = []
    forecast = Forecast(5000, 900, lambda: pytest.fail("scores are not looked at"), said.append)
    hear(forecast, 0.1)
    assert said == []
    hear(Forecast(100_000, 5000, lambda: 0.4, said.append), 0.1)
    assert said == ["some 99 s for the rest of 5,000 gradients, by the first 9 batches"]


def test_seconds_of_scoring_grow_with_it():
    small = Scoring("exact", 500, 500, 20, (300, 400))
    speed = measured(small)
    assert min(speed.thin, speed.square, speed.read) > 0
    seconds = speed.seconds(small)
    assert seconds > 0
    for grown in (
        replace(small, n=1000, N=1000), replace(small, m=40), replace(small, widths=(300,) * 4),
        replace(small, checkpoints=2),
    ):  # fmt: skip
        assert speed.seconds(grown) > seconds
    assert Speed(1e9, 2e9, 1e9).seconds(replace(small, checkpoints=3)) == pytest.approx(
        3 * Speed(1e9, 2e9, 1e9).seconds(small)
    )
