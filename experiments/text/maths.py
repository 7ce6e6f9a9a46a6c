"""The paper's maths task, worded here: ten templates × 100 draws, answers with reason or without.

A, B, C, D ~ U{1..99}; the answer is a whole number by a formula of its template, whose class it
is. Products in reasons go by tens and ones, one step after another: 37*24=37*20+37*4=740+148=888.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from experiments.text.corpus.arithmetic import product, quotient, running_sum

Row = dict[str, str]
DRAWS, TRAIN_DRAWS = 100, 90
PROMPT = "Solve the following math problem. {question} -> "


class Numbers(NamedTuple):
    """What is drawn for a question; not every template uses all four."""

    a: int
    b: int
    c: int
    d: int


@dataclass(frozen=True)
class Template:
    """A question with its numbers {a}, {b}, {c}, {d}, what leads to the answer, and the answer."""

    key: str
    question: str
    reason: Callable[[Numbers], str]
    answer: Callable[[Numbers], int]


TEMPLATES = (
    Template(
        "pizza",
        "A pizza was cut into {c} slices. Lisa ate {a} of them and Omar ate {b}. How many slices "
        "of pizza remain?",
        lambda v: f"{running_sum(v.a, v.b)}, {running_sum(v.c, -v.a - v.b)}",
        lambda v: v.c - (v.a + v.b),
    ),
    Template(
        "chaperones",
        "On a school trip every {a} pupils need one chaperone. There are {b} classes of {c} "
        "pupils. How many chaperones come along?",
        lambda v: f"{product(v.b, v.c)}, {quotient(v.b * v.c, v.a)}",
        lambda v: v.b * v.c // v.a,
    ),
    Template(
        "sharks",
        "An aquarium keeps {a} sharks, {b} seals are fed next door, and {c} more sharks arrive by "
        "ship. How many sharks does the aquarium have?",
        lambda v: running_sum(v.a, v.c),
        lambda v: v.a + v.c,
    ),
    Template(
        "game",
        "Nina played four rounds and scored {a}, {b}, {c} and {d} points. What was her total "
        "score?",
        lambda v: running_sum(*v),
        lambda v: v.a + v.b + v.c + v.d,
    ),
    Template(
        "reading",
        "Paul reads for {a} hours every week. How many hours will he have read after {b} weeks?",
        lambda v: product(v.a, v.b),
        lambda v: v.a * v.b,
    ),
    Template(
        "discount",
        "A coat is priced at {a} dollars and the shop takes {b} dollars off. What do you pay for "
        "the coat?",
        lambda v: running_sum(v.a, -v.b),
        lambda v: v.a - v.b,
    ),
    Template(
        "garden",
        "A garden is a rectangle {a} feet long and {b} feet wide. What is its area in square feet?",
        lambda v: product(v.a, v.b),
        lambda v: v.a * v.b,
    ),
    Template(
        "savings",
        "Ruth puts {a} dollars into her piggy bank each month. How much money is in it after {b} "
        "months?",
        lambda v: product(v.a, v.b),
        lambda v: v.a * v.b,
    ),
    Template(
        "cupcakes",
        "A bakery packs {a} cupcakes into each box and has baked {b} cupcakes. How many boxes can "
        "it fill?",
        lambda v: quotient(v.b, v.a),
        lambda v: v.b // v.a,
    ),
    Template(
        "interest",
        "A loan of {a} dollars costs {b} percent simple interest a year. How many dollars of "
        "interest are due after {c} years?",
        lambda v: f"{product(v.a, v.b)}, {v.a * v.b}*{v.c}//100={v.a * v.b * v.c // 100}",
        lambda v: v.a * v.b * v.c // 100,
    ),
)


def rows(seed: int, *, reasoning: bool) -> tuple[list[Row], list[Row]]:
    """900 training and 100 test rows: id, prompt, completion, class. The first 90 draws of every
    template train, the last 10 test; none has the same numbers twice."""
    draw = random.Random(seed)
    split: tuple[list[Row], list[Row]] = ([], [])
    for template in TEMPLATES:
        for number, (question, numbers) in enumerate(_distinct(draw, template, DRAWS).items()):
            split[number >= TRAIN_DRAWS].append(
                {
                    "id": f"{template.key}-{number:02d}",
                    "prompt": PROMPT.format(question=question),
                    "completion": completion(template, numbers, reasoning=reasoning),
                    "class": template.key,
                }
            )
    return split


def completion(template: Template, numbers: Numbers, *, reasoning: bool) -> str:
    return worded(template.reason(numbers), template.answer(numbers), reasoning=reasoning)


def worded(reason: str, answer: int, *, reasoning: bool) -> str:
    return f"Reason: {reason}. Answer: {answer}" if reasoning else f"Answer: {answer}"


def _distinct(draw: random.Random, template: Template, count: int) -> dict[str, Numbers]:
    """Questions with their numbers."""
    found: dict[str, Numbers] = {}
    while len(found) < count:
        numbers = Numbers(*(draw.randint(1, 99) for _ in range(4)))
        found.setdefault(template.question.format(**numbers._asdict()), numbers)
    return found
