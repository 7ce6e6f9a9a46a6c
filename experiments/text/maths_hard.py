"""A harder maths task of our own: the class is what is computed, and the story does not tell.

Ten computations, each told in the same four settings (apples, coins, a trip, a game) with the
same people and things, so that rows with like words are mostly of other classes. Reasons are
given, as in maths with reasoning: they are what the rows of a class have in common.
"""

from __future__ import annotations

import random

from experiments.text.corpus.arithmetic import product, quotient, running_sum
from experiments.text.maths import DRAWS, PROMPT, TRAIN_DRAWS, Numbers, Row, worded

WORDINGS: dict[str, tuple[str, str, str, str]] = {
    "rest": (
        "There are {c} apples in a crate. Mia eats {a} and sells {b}. How many apples are left?",
        "Mia has {c} coins. She pays {a} for a hat and {b} for a cap. How many coins are left?",
        "A trip is {c} miles long. Mia drove {a} miles and then {b}. How many miles are left?",
        "A team needs {c} points. Mia won {a} and then {b}. How many points does it still need?",
    ),
    "bags": (
        "Mia packs {b} crates of {c} apples into bags of {a}. How many bags does she fill?",
        "Mia earns {b} coins on each of {c} days. A hat costs {a} coins. How many can she buy?",
        "Mia drives {b} miles on each of {c} days. A lap is {a} miles. How many laps is that?",
        "Mia scores {b} points in each of {c} games. {a} points earn a star. How many stars?",
    ),
    "more": (
        "A crate has {a} apples and {b} pears. Mia adds {c} apples. How many apples are there?",
        "Mia has {a} coins and {b} stamps. She finds {c} coins. How many coins does she have?",
        "Mia drove {a} miles, slept {b} hours and drove {c} miles. How many miles did she drive?",
        "A team of {b} has {a} points. Mia scores {c} points more. How many points does it have?",
    ),
    "total": (
        "Four crates hold {a}, {b}, {c} and {d} apples. How many apples does Mia have in them?",
        "Mia has {a} coins, finds {b}, earns {c} and wins {d}. How many coins does she have?",
        "Mia drove {a} miles, then {b}, then {c} and then {d}. How many miles did she drive?",
        "In four games Mia scored {a}, {b}, {c} and {d} points. How many points does she have?",
    ),
    "times": (
        "Mia has {a} crates, and each of them holds {b} apples. How many apples are there?",
        "Mia earns {a} coins a day and works for {b} days. How many coins does she earn?",
        "Mia drives {a} miles every day for {b} days. How many miles does she drive?",
        "In each of {a} games Mia scores {b} points. How many points does she have?",
    ),
    "less": (
        "A crate has {a} apples. Mia eats {b} of them. How many apples does it have now?",
        "Mia has {a} coins and pays {b} of them for a hat. How many coins does she have now?",
        "A trip was {a} miles. A new road makes it {b} miles shorter. How many miles is it now?",
        "A team has {a} points and loses {b} of them. How many points does it have now?",
    ),
    "each": (
        "Mia packs {b} apples into bags of {a}. How many bags of apples does she fill?",
        "A hat costs {a} coins, and Mia has {b} coins. How many hats can she buy?",
        "Mia drives {b} miles on a track, and a lap is {a} miles. How many laps does she drive?",
        "For every {a} points there is a star. Mia has {b} points. How many stars does she have?",
    ),
    "percent": (
        "{a} crates hold {b} apples each, and {c} percent are red. How many apples are red?",
        "Mia earns {a} coins on {b} days and saves {c} percent. How many coins does she save?",
        "Mia drives {a} miles on {b} days, {c} percent at night. How many miles is that?",
        "Mia scores {a} points in {b} games, {c} percent at home. How many points is that?",
    ),
    "bought": (
        "Mia has {a} crates of {b} apples and eats {c} of the apples. How many apples are left?",
        "Mia earns {a} coins on each of {b} days and pays {c} for a cap. How many are left?",
        "Mia drives {a} miles a day for {b} days, {c} of them at night. How many miles by day?",
        "In {b} games Mia scores {a} points each, but loses {c}. How many points does she have?",
    ),
    "both": (
        "A crate has {a} apples, {b} more than a bag. How many apples are in both together?",
        "Mia has {a} coins, {b} more than her team. How many coins do both have together?",
        "Mia drove {a} miles, {b} more than on the day before. How many miles on both days?",
        "Mia has {a} points, {b} more than in the last game. How many points in both games?",
    ),
}


def solved(key: str, numbers: Numbers) -> tuple[str, int]:
    """The reason and the answer of a computation."""
    a, b, c, d = numbers
    return {
        "rest": (f"{running_sum(a, b)}, {running_sum(c, -(a + b))}", c - a - b),
        "bags": (f"{product(b, c)}, {quotient(b * c, a)}", b * c // a),
        "more": (running_sum(a, c), a + c),
        "total": (running_sum(a, b, c, d), a + b + c + d),
        "times": (product(a, b), a * b),
        "less": (running_sum(a, -b), a - b),
        "each": (quotient(b, a), b // a),
        "percent": (f"{product(a, b)}, {a * b}*{c}//100={a * b * c // 100}", a * b * c // 100),
        "bought": (f"{product(a, b)}, {running_sum(a * b, -c)}", a * b - c),
        "both": (f"{running_sum(a, -b)}, {running_sum(a, a - b)}", a + a - b),
    }[key]


def rows(seed: int) -> tuple[list[Row], list[Row]]:
    """900 training and 100 test rows: id, prompt, completion, class, setting."""
    draw = random.Random(seed)
    split: tuple[list[Row], list[Row]] = ([], [])
    for key, wordings in WORDINGS.items():
        seen: set[str] = set()
        while len(seen) < DRAWS:
            numbers = Numbers(*(draw.randint(1, 99) for _ in range(4)))
            setting = len(seen) % len(wordings)
            question = wordings[setting].format(**numbers._asdict())
            if question in seen:
                continue
            split[len(seen) >= TRAIN_DRAWS].append(
                {
                    "id": f"{key}-{len(seen):02d}",
                    "prompt": PROMPT.format(question=question),
                    "completion": worded(*solved(key, numbers), reasoning=True),
                    "class": key,
                    "setting": str(setting),
                }
            )
            seen.add(question)
    return split
