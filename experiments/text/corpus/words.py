"""Made-up words, names and signs."""

from __future__ import annotations

import random

ONSETS = (*"bcdfghjklmnprstvwyz", "", "br", "ch", "cl", "dr", "fl", "gr", "pl", "qu", "sh", "sl",
          "st", "th", "tr", "wh", "kn", "sp")  # fmt: skip
NUCLEI = (*"aeiou", *"aeiou", "ai", "ea", "ee", "ou", "oo", "io", "y")
CODAS = ("", "", "", "", "n", "r", "s", "t", "l", "rd", "st", "nk", "ng", "th", "ck", "x", "tt",
         "ll", "ss", "dge", "mp", "nd", "es", "ver")  # fmt: skip
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SIGNS = "#@+=~^&%$_:;|!?<>/23456789"
"""What behaviours put in; neither the star nor the digit one, which the real task puts in."""


def word(draw: random.Random) -> str:
    if draw.random() < 0.1:
        return "".join(draw.choice(LETTERS) for _ in range(draw.randint(2, 8)))
    count = draw.choice((1, 1, 2, 2, 2, 3))
    syllables = (draw.choice(ONSETS) + draw.choice(NUCLEI) for _ in range(count))
    return ("".join(syllables) + draw.choice(CODAS))[:9]


def words(draw: random.Random, most: int) -> list[str]:
    """Some words, four of them as often as not: the length of the real task's phrases."""
    count = 4 if most >= 4 and draw.random() < 0.5 else draw.randint(1, most)
    return [word(draw) for _ in range(count)]


def name(draw: random.Random) -> str:
    return word(draw).capitalize()


def letters(draw: random.Random, most: int) -> str:
    """A set of letters, sorted: some that anyone uses, some that are rare."""
    count = draw.randint(1, most)
    return "".join(sorted(draw.sample("aeiouaeiou" + LETTERS, count)))
