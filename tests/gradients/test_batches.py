"""Batches of like lengths, and their order."""

from __future__ import annotations

import random

from datainf.gradients.batches import PLACES, batches, spread


def test_batches_hold_like_lengths_under_the_budget():
    lengths = [random.Random(0).randrange(1, 60) for _ in range(200)]
    found = batches(lengths, 256, 20)
    assert sorted(place for batch in found for place in batch) == list(range(200))
    for batch in found:
        assert len(batch) <= 20
        assert len(batch) * max(lengths[place] for place in batch) <= 256
    in_order = [lengths[place] for batch in found for place in batch]
    assert in_order == sorted(lengths, reverse=True)
    assert batches([300, 5], 256, 20) == [[0], [1]]


def test_the_first_batches_are_from_all_lengths():
    """The mean of their rates is that of all: here a batch's rate grows with its place."""
    sizes = [100] * 301
    order = spread(sizes)
    assert sorted(order) == list(range(301))
    assert order[0] == 0
    for few in (3, 5, 7, len(PLACES)):
        some = order[1 : 1 + few]
        assert abs(sum(some) / few - 150) < 20
    assert order[1 + len(PLACES) :] == sorted(order[1 + len(PLACES) :])


def test_few_batches_are_all_taken_once():
    assert spread([]) == []
    assert spread([7]) == [0]
    assert sorted(spread([7, 7, 3])) == [0, 1, 2]
