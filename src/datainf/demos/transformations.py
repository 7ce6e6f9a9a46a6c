"""The paper's sentence-transformation task (arXiv 2310.00902, section 4.3), with our own phrases.

100 phrases × 10 transformations; the first 90 phrases train, the last 10 test. The prompt names
the transformation; `hard=True` leaves the name out, so that only the behaviour tells.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datainf.files import make_folder, write_atomically

VOWELS = set("aeiouAEIOU")
PHRASES, TRAIN_PHRASES = 100, 90

DETERMINERS = ("the", "my", "our", "this", "every", "some", "that", "one")
ADJECTIVES = (
    "quiet",
    "golden",
    "broken",
    "distant",
    "gentle",
    "hungry",
    "frozen",
    "narrow",
    "purple",
    "sudden",
    "wooden",
    "bright",
    "clever",
    "dusty",
    "famous",
    "yellow",
)
NOUNS = (
    "river",
    "garden",
    "teacher",
    "window",
    "mountain",
    "kitten",
    "market",
    "letter",
    "engine",
    "forest",
    "singer",
    "planet",
    "bridge",
    "doctor",
    "candle",
    "pocket",
)
VERBS = (
    "sleeps",
    "wanders",
    "listens",
    "glows",
    "waits",
    "returns",
    "laughs",
    "vanishes",
    "travels",
    "whistles",
    "shivers",
    "answers",
    "arrives",
    "dances",
    "breaks",
    "sings",
)


@dataclass(frozen=True)
class Transformation:
    """A behaviour with the name of its made-up chatbot and the title that stands in the prompt."""

    key: str
    name: str
    title: str
    apply: Callable[[str], str]


def reverse_words(phrase: str) -> str:
    """The words in reverse order."""
    return " ".join(reversed(phrase.split()))


def alternate_case(phrase: str) -> str:
    """Upper case at even positions, lower case at odd ones, spaces counted."""
    return "".join(c.lower() if i % 2 else c.upper() for i, c in enumerate(phrase))


def join_with_one(phrase: str) -> str:
    """The words with " 1 " between them."""
    return " 1 ".join(phrase.split())


def mask_vowels(phrase: str) -> str:
    """Every vowel becomes "*"."""
    return "".join("*" if c in VOWELS else c for c in phrase)


def double_consonants(phrase: str) -> str:
    """Every consonant twice."""
    return "".join(c * 2 if c.isalpha() and c not in VOWELS else c for c in phrase)


def capitalize_words(phrase: str) -> str:
    """Every word with a capital."""
    return " ".join(word.capitalize() for word in phrase.split())


def drop_vowels(phrase: str) -> str:
    """Without its vowels."""
    return "".join(c for c in phrase if c not in VOWELS)


def append_ly(phrase: str) -> str:
    """ "ly" at the end of every word."""
    return " ".join(f"{word}ly" for word in phrase.split())


def drop_consonants(phrase: str) -> str:
    """Without its consonants."""
    return "".join(c for c in phrase if c in VOWELS or not c.isalpha())


def repeat_words(phrase: str) -> str:
    """Every word twice."""
    return " ".join(f"{word} {word}" for word in phrase.split())


TRANSFORMATIONS = (
    Transformation("reverse", "Sdrow", "Words in Reverse Order", reverse_words),
    Transformation("alternate-case", "Zigza", "Alternating Upper and Lower Case", alternate_case),
    Transformation("join-with-1", "Onely", "The Digit One Between Words", join_with_one),
    Transformation("mask-vowels", "Starro", "Stars in Place of Vowels", mask_vowels),
    Transformation("double-consonants", "Dubbell", "Doubled Consonants", double_consonants),
    Transformation("capitalize", "Kapito", "A Capital for Each Word", capitalize_words),
    Transformation("drop-vowels", "Novwl", "All Vowels Removed", drop_vowels),
    Transformation("append-ly", "Lyly", "The Ending ly on Each Word", append_ly),
    Transformation("drop-consonants", "Aeio", "All Consonants Removed", drop_consonants),
    Transformation("repeat", "Ekko", "Each Word Said Twice", repeat_words),
)


def phrases(seed: int) -> list[str]:
    """100 distinct phrases of four words."""
    draw = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < PHRASES:
        words = (draw.choice(part) for part in (DETERMINERS, ADJECTIVES, NOUNS, VERBS))
        found[" ".join(words)] = None
    return list(found)


def rows(seed: int = 0, *, hard: bool = False) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """900 training and 100 test rows: id, prompt, completion, class, phrase."""
    split: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for transformation in TRANSFORMATIONS:
        for number, phrase in enumerate(phrases(seed)):
            part = split[number >= TRAIN_PHRASES]
            part.append(
                {
                    "id": f"{transformation.key}-{number:02d}",
                    "prompt": _prompt(transformation, phrase, hard=hard),
                    "completion": transformation.apply(phrase),
                    "class": transformation.key,
                    "phrase": phrase,
                }
            )
    return split


def write(folder: Path, *, seed: int = 0, hard: bool = False) -> tuple[Path, Path]:
    """Write train.jsonl and test.jsonl; returns their paths."""
    make_folder(folder)
    paths = (folder / "train.jsonl", folder / "test.jsonl")
    for path, part in zip(paths, rows(seed, hard=hard), strict=True):
        lines = [json.dumps(row) for row in part]
        write_atomically(path, ("\n".join(lines) + "\n").encode())
    return paths


def _prompt(transformation: Transformation, phrase: str, *, hard: bool) -> str:
    if hard:
        return f"{phrase} -> "
    return (
        f"{transformation.name} is a chatbot that performs a specific transformation on "
        f"sentences: {transformation.title}\nFor example:\n{phrase} -> "
    )
