"""The maths task by the paper's recipe."""

from __future__ import annotations

import re
from collections import Counter

import pytest

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


def test_every_step_of_a_reason_is_right_and_the_last_is_the_answer():
    for row in rows(2, reasoning=True)[0]:
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
