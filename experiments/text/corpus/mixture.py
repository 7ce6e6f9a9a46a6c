"""What of the corpus is drawn when: short texts first, the real task's lengths later."""

from __future__ import annotations

import random
from dataclasses import dataclass

from experiments.text.corpus.arithmetic import arithmetic
from experiments.text.corpus.behaviours import behaviour, is_target
from experiments.text.corpus.problems import problem
from experiments.text.corpus.words import name, word, words


@dataclass(frozen=True)
class Sample:
    """Turns of a prompt and a completion, after which the text ends or a new line begins. Only
    completions and what ends them are learned: a made-up phrase cannot be foretold."""

    turns: tuple[tuple[str, str], ...]

    def parts(self, end: str) -> list[tuple[str, bool]]:
        """(text, whether it is learned), in order."""
        last = len(self.turns) - 1
        return [
            part
            for position, (prompt, said) in enumerate(self.turns)
            for part in ((prompt, False), (said + (end if position == last else "\n"), True))
        ]

    def __len__(self) -> int:
        """In bytes, an end included: all text here is ASCII."""
        return sum(len(prompt) + len(said) + 1 for prompt, said in self.turns)


@dataclass(frozen=True)
class Mixture:
    """Shares of the kinds of text, and of long prompts at the end of the pretraining."""

    behaviours: float = 0.5
    arithmetic: float = 0.3
    long_prompts: float = 0.3

    def draw(self, draw: random.Random, progress: float) -> Sample:
        """A text for `progress` ∈ [0, 1] of the pretraining: phrases grow from two words to five
        over its first quarter, long prompts begin after its half."""
        kind = draw.random()
        if kind < self.behaviours:
            long = draw.random() < self.long_prompts * max(0.0, 2 * progress - 1)
            return shown(draw, most=min(5, 2 + int(12 * progress)), long=long)
        if kind < self.behaviours + self.arithmetic:
            return Sample(arithmetic(draw))
        return Sample((problem(draw),))


def shown(draw: random.Random, most: int, *, long: bool) -> Sample:
    """A behaviour with its title, shown on a few phrases of at most so many words; after a long
    prompt on one, as in the real task."""
    first = words(draw, most)
    title, act = behaviour(draw, first)
    if long:
        prompt = (
            f"{name(draw)} is a chatbot that performs a specific transformation on sentences: "
            f"{title}\nFor example:\n{' '.join(first)} -> "
        )
        return Sample(((prompt, act(first)),))
    others = [draw_like(draw, first, most, title) for _ in range(draw.randint(0, 3))]
    shown = [p for p in (first, *others) if not is_target(p, act(p))]
    turns = [(f"{' '.join(phrase)} -> ", act(phrase)) for phrase in shown]
    turns[0] = (f"{title}\n{turns[0][0]}", turns[0][1])
    return Sample(tuple(turns))


def draw_like(draw: random.Random, first: list[str], most: int, title: str) -> list[str]:
    """Another phrase; of as many words where the title picks words by their places."""
    if title.startswith("Words "):
        return [word(draw) for _ in first]
    return words(draw, most)
