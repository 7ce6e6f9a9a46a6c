"""The maths task by the paper's recipe."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from datainf.evaluation import class_detection
from experiments.baselines import bm25
from experiments.text import maths_hard
from experiments.text.maths import rows

ANSWERS = {
    "pizza": lambda c, a, b: c - (a + b),
    "chaperones": lambda a, b, c: b * c // a,
    "sharks": lambda a, _, c: a + c,
    "game": lambda a, b, c, d: a + b + c + d,
    "reading": lambda a, b: a * b,
    "discount": lambda a, b: a - b,
    "garden": lambda a, b: a * b,
    "savings": lambda a, b: a * b,
    "cupcakes": lambda a, b: b // a,
    "interest": lambda a, b, c: a * b * c // 100,
}
"""Key → the recipe's formula, of the numbers in the order in which the question has them."""


@pytest.mark.parametrize("reasoning", [False, True])
def test_answers_follow_from_the_questions_numbers(reasoning):
    train, test = rows(1, reasoning=reasoning)
    for row in [*train, *test]:
        numbers = [int(number) for number in re.findall(r"\d+", row["prompt"])]
        assert all(1 <= number <= 99 for number in numbers)
        answer = int(row["completion"].rsplit("Answer: ")[-1])
        assert answer == ANSWERS[row["class"]](*numbers)
        assert row["completion"].startswith("Reason: " if reasoning else "Answer: ")


@pytest.mark.parametrize("made", [rows(2, reasoning=True), maths_hard.rows(2)])
def test_every_step_of_a_reason_is_right_and_the_last_is_the_answer(made):
    for row in [*made[0], *made[1]]:
        reason, answer = row["completion"].removeprefix("Reason: ").split(". Answer: ")
        for chain in reason.split(", "):
            values = {eval(side) for side in chain.split("=")}
            assert len(values) == 1, row
        assert values == {int(answer)}


def test_ninety_and_ten_of_each_and_none_in_both():
    train, test = rows(0, reasoning=False)
    assert set(Counter(row["class"] for row in train).values()) == {90}
    assert set(Counter(row["class"] for row in test).values()) == {10}
    assert len({row["prompt"] for row in [*train, *test]}) == 1000
    assert rows(0, reasoning=True)[0][5]["prompt"] == train[5]["prompt"]
    assert rows(1, reasoning=False)[0][5]["prompt"] != train[5]["prompt"]


HARD = {
    "rest": lambda c, a, b: c - a - b,
    "total": lambda a, b, c, d: a + b + c + d,
    "times": lambda a, b: a * b,
    "less": lambda a, b: a - b,
    "both": lambda a, b: a + (a - b),
}
"""Those that have their numbers in one order in every setting."""


def test_the_hard_version_computes_what_it_asks():
    train, test = maths_hard.rows(0)
    assert set(Counter(row["class"] for row in train).values()) == {90}
    assert set(Counter(row["class"] for row in test).values()) == {10}
    assert len({row["prompt"] for row in [*train, *test]}) == 1000
    for row in train:
        if row["class"] in HARD:
            numbers = [int(number) for number in re.findall(r"\d+", row["prompt"])]
            assert int(row["completion"].rsplit(" ")[-1]) == HARD[row["class"]](*numbers)


def test_words_of_the_hard_version_do_not_tell_the_class():
    """What BM25 makes of the prompts is far from what it makes of the paper's task."""
    found = {}
    for name, (train, test) in {
        "easy": rows(0, reasoning=True),
        "hard": maths_hard.rows(0),
    }.items():
        scores = bm25([row["prompt"] for row in test], [row["prompt"] for row in train])
        classes = [[row["class"] for row in part] for part in (test, train)]
        found[name] = class_detection(scores, *classes).summary["auc_mean"]
    assert found["easy"] > 0.99
    assert found["hard"] < 0.8
