"""BM25 against its formula; chance that can be had again."""

from __future__ import annotations

import math

import pytest
import torch

from experiments.baselines import bm25, chance

CORPUS = ["the film was good", "not good, not at all", "Rain"]
WORDS = [["the", "film", "was", "good"], ["not", "good", "not", "at", "all"], ["rain"]]


def by_hand(query, k1=1.5, b=0.75):
    """Robertson's formula in Lucene's form, which leaves out the constant factor k1 + 1."""
    mean = sum(map(len, WORDS)) / len(WORDS)
    scores = []
    for text in WORDS:
        total = 0.0
        for word in query:
            holding = sum(word in other for other in WORDS)
            idf = math.log(1 + (len(WORDS) - holding + 0.5) / (holding + 0.5))
            tf = text.count(word)
            total += idf * tf / (tf + k1 * (1 - b + b * len(text) / mean))
        scores.append(total)
    return scores


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("NOT good", ["not", "good"]),
        ("the rain, the film", ["the", "rain", "the", "film"]),
        ("snow", ["snow"]),
        ("?", []),
    ],
)
def test_bm25_is_the_formula(query, words):
    found = bm25([query, "good"], CORPUS)
    assert found.shape == (2, 3)
    assert found.tolist() == [
        pytest.approx(by_hand(words), rel=1e-5),
        pytest.approx(by_hand(["good"]), rel=1e-5),
    ]


def test_chance_is_the_same_for_a_seed_and_no_other():
    assert torch.equal(chance(2, 50, seed=3), chance(2, 50, seed=3))
    assert not torch.equal(chance(2, 50, seed=3), chance(2, 50, seed=4))
    values = chance(100, 100, seed=0)
    assert abs(float(values.mean()) - 0.5) < 0.01
    assert len(values.unique()) > 9000
