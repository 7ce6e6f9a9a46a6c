"""Word problems to pretrain on, about made-up people and things.

None of their stories and wordings is one of the ten templates of the maths task.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from experiments.text.corpus.arithmetic import number, product, quotient, running_sum
from experiments.text.corpus.words import name, word


class Numbers(NamedTuple):
    a: int
    b: int
    c: int


Story = tuple[tuple[str, ...], Callable[[Numbers], tuple[str, int]]]
"""Wordings with {n}ame, {m}other name, {t}hing, {u}nother thing, {a}, {b}, {c}; and the steps and
answer for three numbers."""


def _times_plus(numbers: Numbers) -> tuple[str, int]:
    a, b, c = numbers
    return f"{product(a, b)}, {a * b}+{c}={a * b + c}", a * b + c


STORIES: tuple[Story, ...] = (
    (
        (
            "{n} has {a} {t}s and finds {b} more. How many {t}s has {n} now?",
            "There are {a} {t}s in a bag. {n} puts in another {b}. What is the count of {t}s?",
        ),
        lambda v: (f"{v.a}+{v.b}={v.a + v.b}", v.a + v.b),
    ),
    (
        (
            "{n} had {a} {t}s. Then {b} got lost. What is left?",
            "Of {a} {t}s {n} breaks {b}. How many are whole?",
        ),
        lambda v: (f"{v.a}-{v.b}={v.a - v.b}", v.a - v.b),
    ),
    (
        (
            "{n} has {a} {t}s, gets {b} from {m} and gives away {c}. How many does {n} keep?",
            "A bus holds {a} people. At the stop {b} get on and {c} get off. Who is on it now?",
        ),
        lambda v: (running_sum(v.a, v.b, -v.c), v.a + v.b - v.c),
    ),
    (
        (
            "{n} sees {a} {t}s, {m} sees {b}, and both see {c} {u}s. What did they see in all?",
            "A farm has {a} {t}s, {b} {u}s and {c} dogs. How many animals live there?",
        ),
        lambda v: (running_sum(v.a, v.b, v.c), v.a + v.b + v.c),
    ),
    (
        (
            "{n} had {a} {t}s, gave {m} {b} and sold {c}. How many stay with {n}?",
            "From a rope of {a} meters {n} cuts {b} and then {c}. How long is the rest?",
        ),
        lambda v: (running_sum(v.a, -v.b, -v.c), v.a - v.b - v.c),
    ),
    (
        (
            "There are {a} bags with {b} {t}s each. How many {t}s are there?",
            "{n} walks {a} miles on each of {b} days. How far is that?",
            "A hall has {a} rows of {b} seats. How many seats are there?",
        ),
        lambda v: (product(v.a, v.b), v.a * v.b),
    ),
    (
        (
            "{n} shares {a} {t}s fairly among {b} friends. How many does each get?",
            "A rope of {a} meters is cut in pieces of {b} meters. How many whole pieces?",
        ),
        lambda v: (quotient(v.a, v.b), v.a // v.b),
    ),
    (
        (
            "{n} buys {a} {t}s for {b} coins each and a {u} for {c}. What does it cost?",
            "{a} carts bring {b} {t}s each, and {n} brings {c}. How many came?",
        ),
        _times_plus,
    ),
    (
        (
            "{n} is {a} years old and {m} is {b} years older. How old is {m}?",
            "It was {a} degrees and then got {b} degrees warmer. How warm is it?",
        ),
        lambda v: (f"{v.a}+{v.b}={v.a + v.b}", v.a + v.b),
    ),
    (
        (
            "{n} has {a} {t}s, {m} has {b}. How many more has {n}?",
            "A tower is {a} meters high, a house {b} meters. By how much is the tower higher?",
        ),
        lambda v: (f"{v.a}-{v.b}={v.a - v.b}", v.a - v.b),
    ),
    (
        (
            "A bag holds {a} {t}s and {b} {u}s. {n} takes {c} of them. How many does {n} take?",
            "{n} waits {a} minutes, then {b}. {m} waits {c}. How long does {m} wait?",
        ),
        lambda v: (f"{v.c}", v.c),
    ),
)


def problem(draw: random.Random) -> tuple[str, str]:
    """(prompt, completion), the answer alone or after its steps."""
    numbers = Numbers(number(draw), number(draw), number(draw))
    wordings, solve = draw.choice(STORIES)
    question = draw.choice(wordings).format(
        n=name(draw), m=name(draw), t=word(draw), u=word(draw), **numbers._asdict()
    )
    said, value = solve(numbers)
    if draw.random() < 0.3:
        return f"{question} -> ", f"Answer: {value}"
    return f"{question} -> ", f"Reason: {said}. Answer: {value}"
