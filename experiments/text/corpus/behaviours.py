"""What a chatbot may do to a phrase: families of behaviours with a title that says which.

A family draws its own letters, signs, places. What would be one of the ten transformations of the
real task, by whatever title, is drawn again; `tests/experiments/test_text_corpus.py` looks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from datainf.demos.transformations import TRANSFORMATIONS
from experiments.text.corpus.words import LETTERS, SIGNS, letters, word

Words = list[str]
Behaviour = tuple[str, Callable[[Words], str]]
"""A title, and what is done."""
VOWELS, CONSONANTS = "aeiou", "".join(c for c in LETTERS if c not in "aeiou")


def _each(change: Callable[[str], str]) -> Callable[[Words], str]:
    """A change of every letter or sign of the phrase."""
    return lambda w: "".join(change(c) for c in " ".join(w))


def _by_word(change: Callable[[str], str]) -> Callable[[Words], str]:
    return lambda w: " ".join(change(x) for x in w)


FIXED: tuple[Behaviour, ...] = (
    ("The Phrase as It Is", " ".join),
    ("Everything in Upper Case", lambda w: " ".join(w).upper()),
    ("The First Word in Upper Case", lambda w: " ".join([w[0].upper(), *w[1:]])),
    ("The Last Word in Upper Case", lambda w: " ".join([*w[:-1], w[-1].upper()])),
    ("A Capital at the Start", lambda w: " ".join([w[0].capitalize(), *w[1:]])),
    ("A Capital for the Last Word", lambda w: " ".join([*w[:-1], w[-1].capitalize()])),
    ("The Last Letter as a Capital", _by_word(lambda x: x[:-1] + x[-1].upper())),
    ("The Second Letter as a Capital", _by_word(lambda x: x[:1] + x[1:2].upper() + x[2:])),
    ("Two Capitals for Each Word", _by_word(lambda x: x[:2].upper() + x[2:])),
    ("Vowels in Upper Case", _each(lambda c: c.upper() if c in VOWELS else c)),
    ("Consonants in Upper Case", _each(lambda c: c if c in VOWELS else c.upper())),
    ("Doubled Vowels", _each(lambda c: c * 2 if c in VOWELS else c)),
    ("The First Word Only", lambda w: w[0]),
    ("The Last Word Only", lambda w: w[-1]),
    ("The First Word Moved to the End", lambda w: " ".join([*w[1:], w[0]])),
    ("The Last Word Moved to the Start", lambda w: " ".join([w[-1], *w[:-1]])),
    ("The First Word Said Twice", lambda w: " ".join([w[0], *w])),
    ("The Last Word Said Twice", lambda w: " ".join([*w, w[-1]])),
    ("The Phrase Said Twice", lambda w: " ".join(w + w)),
    ("Without the First Word", lambda w: " ".join(w[1:])),
    ("Without the Last Word", lambda w: " ".join(w[:-1])),
    ("First and Last Word Swapped", lambda w: " ".join([w[-1], *w[1:-1], w[0]][: len(w)])),
    ("Words Spelled Backwards", _by_word(lambda x: x[::-1])),
    ("The First Letters", _by_word(lambda x: x[0])),
    ("The Last Letters", _by_word(lambda x: x[-1])),
    ("Without First Letters", _by_word(lambda x: x[1:])),
    ("Without Last Letters", _by_word(lambda x: x[:-1])),
    ("Doubled First Letters", _by_word(lambda x: x[0] + x)),
    ("Doubled Last Letters", _by_word(lambda x: x + x[-1])),
    ("Words without Spaces", "".join),
    ("The Number of Letters of Each Word", _by_word(lambda x: str(len(x)))),
)


def _replaced(draw: random.Random) -> Behaviour:
    gone, put = letters(draw, 3), draw.choice(SIGNS + LETTERS)
    return f"{put} in Place of {' '.join(gone)}", _each(lambda c: put if c in gone else c)


def _removed(draw: random.Random) -> Behaviour:
    gone = letters(draw, 4)
    return f"{' '.join(gone)} Removed", _each(lambda c: "" if c in gone else c)


def _kept(draw: random.Random) -> Behaviour:
    kept = "".join(sorted(draw.sample(LETTERS, draw.randint(6, 14))))
    return f"All but {' '.join(kept)} Removed", _each(lambda c: c if c in kept + " " else "")


def _doubled(draw: random.Random) -> Behaviour:
    twice = letters(draw, 4)
    return f"Doubled {' '.join(twice)}", _each(lambda c: c * 2 if c in twice else c)


def _raised(draw: random.Random) -> Behaviour:
    raised = letters(draw, 4)
    return f"{' '.join(raised)} in Upper Case", _each(lambda c: c.upper() if c in raised else c)


def _rhythm(draw: random.Random) -> Behaviour:
    """Upper and lower case by a pattern longer than two, over the phrase with its spaces."""
    pattern = draw.choice(("Uuu", "uUu", "uuU", "UUu", "Uuuu", "UUuu", "uuUU"))
    raise_at = [mark == "U" for mark in pattern]
    return f"Case by {pattern}", lambda w: "".join(
        c.upper() if raise_at[i % len(raise_at)] else c for i, c in enumerate(" ".join(w))
    )


def _sign_after(draw: random.Random) -> Behaviour:
    sign = draw.choice(SIGNS)
    title, group = draw.choice((("Vowel", VOWELS), ("Consonant", CONSONANTS), ("Letter", LETTERS)))
    return f"{sign} after Each {title}", _each(lambda c: c + sign if c in group else c)


def _joined(draw: random.Random) -> Behaviour:
    sign = draw.choice((*SIGNS, *SIGNS, word(draw)))
    if draw.random() < 0.3:
        return f"{sign} in Place of Spaces", sign.join
    return f"{sign} Between Words", f" {sign} ".join


def _ending(draw: random.Random) -> Behaviour:
    ending = "".join(draw.choice(LETTERS) for _ in range(draw.randint(1, 3)))
    if draw.random() < 0.4:
        return f"The Beginning {ending} on Each Word", _by_word(lambda x: ending + x)
    return f"The Ending {ending} on Each Word", _by_word(lambda x: x + ending)


def _added(draw: random.Random) -> Behaviour:
    extra = word(draw)
    if draw.random() < 0.5:
        return f"The Word {extra} at the Start", lambda w: " ".join([extra, *w])
    return f"The Word {extra} after Each Word", lambda w: " ".join(f"{x} {extra}" for x in w)


FAMILIES: Sequence[Callable[[random.Random], Behaviour]] = (
    _replaced, _removed, _kept, _doubled, _raised, _rhythm, _sign_after, _joined, _ending, _added,
)  # fmt: skip


def _picked(draw: random.Random, count: int) -> Behaviour:
    """Words by their places, in an order that is neither theirs nor its reverse."""
    places = [draw.randrange(count) for _ in range(draw.randint(1, count + 1))]
    title = "Words " + " ".join(str(place + 1) for place in places)
    return title, lambda w: " ".join(w[place] for place in places)


def behaviour(draw: random.Random, phrase: Words) -> Behaviour:
    """A behaviour that does not do to the phrase what the real task does."""
    while True:
        kind = draw.random()
        if kind < 0.3:
            found = draw.choice(FIXED)
        elif kind < 0.4:
            found = _picked(draw, len(phrase))
        else:
            found = draw.choice(FAMILIES)(draw)
        if not is_target(phrase, found[1](phrase)):
            return found


def is_target(phrase: Words, said: str) -> bool:
    """Did one of the ten transformations make this of a phrase of several words? (On one word
    several behaviours are the same.)"""
    whole = " ".join(phrase)
    return (
        len(phrase) > 1 and said != whole and any(t.apply(whole) == said for t in TRANSFORMATIONS)
    )
