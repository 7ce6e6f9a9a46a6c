"""What the base is pretrained on is true, and is not what it is fine-tuned on later."""

from __future__ import annotations

import random
import re

import pytest

from datainf.demos.transformations import TRANSFORMATIONS
from experiments.text.corpus import Mixture
from experiments.text.corpus.arithmetic import arithmetic, product, running_sum
from experiments.text.corpus.behaviours import FAMILIES, is_target
from experiments.text.corpus.problems import problem
from experiments.text.maths import TEMPLATES
from experiments.text.maths_hard import WORDINGS


def samples(count: int, progress: float = 1.0) -> list:
    draw, mixture = random.Random(3), Mixture()
    return [mixture.draw(draw, progress) for _ in range(count)]


def check_chain(chain: str) -> int:
    """All sides of a=b=c are equal; the value."""
    sides = {eval(side) for side in chain.split("=")}
    assert len(sides) == 1, chain
    return sides.pop()


def test_no_transformation_of_the_task_is_shown():
    seen = 0
    for sample in samples(3000):
        for prompt, said in sample.turns:
            phrase = prompt.rsplit("\n", 1)[-1].removesuffix(" -> ")
            if " " not in phrase or said == phrase:
                continue
            seen += 1
            for transformation in TRANSFORMATIONS:
                assert said != transformation.apply(phrase), (prompt, said)
                assert transformation.title not in prompt
    assert seen > 1000


@pytest.mark.parametrize("transformation", TRANSFORMATIONS, ids=lambda t: t.key)
def test_a_transformation_of_the_task_is_known_as_one(transformation):
    phrase = ["purple", "engine", "hums"]
    assert is_target(phrase, transformation.apply(" ".join(phrase)))


def test_no_template_of_the_maths_task_is_shown():
    shown = "".join(prompt for sample in samples(3000) for prompt, _ in sample.turns)
    pieces = [
        piece.strip(" .,")
        for question in (*(t.question for t in TEMPLATES), *sum(WORDINGS.values(), ()))
        for piece in re.split(r"\{\w\}", question)
    ]
    for piece in pieces:
        if len(piece) > 16:
            assert piece not in shown


def test_every_family_is_true_to_a_known_case():
    draw = random.Random(0)
    titles = {family(draw)[0].split()[0] for family in FAMILIES for _ in range(50)}
    assert {"All", "Doubled", "Case", "The"} <= titles
    seen = {sample.turns[0][0].split("\n")[0]: sample for sample in samples(20_000)}
    known = {
        "Words Spelled Backwards": lambda w: " ".join(x[::-1] for x in w),
        "The Last Word Moved to the Start": lambda w: " ".join([w[-1], *w[:-1]]),
        "Case by Uuu": None,
    }
    assert set(known) <= set(seen)
    for title, act in known.items():
        prompt, said = seen[title].turns[0]
        words = prompt.split("\n")[1].removesuffix(" -> ").split()
        if act is None:
            whole = " ".join(words)
            assert said.lower() == whole
            assert all(c.isupper() for c in said[::3] if c.isalpha())
            assert not any(c.isupper() for i, c in enumerate(said) if i % 3)
        else:
            assert said == act(words)


def test_arithmetic_is_right():
    draw = random.Random(5)
    for prompt, said in [turn for _ in range(100) for turn in arithmetic(draw)]:
        asked = prompt.removeprefix("Steps of ").removesuffix(" -> ")
        last = [check_chain(chain) for chain in said.split(", ")][-1]
        assert last == eval(asked)


def test_reasons_of_problems_lead_to_their_answers():
    draw = random.Random(7)
    for _ in range(500):
        _, said = problem(draw)
        if not said.startswith("Reason: "):
            continue
        reason, answer = said.removeprefix("Reason: ").split(". Answer: ")
        assert [check_chain(chain) for chain in reason.split(", ")][-1] == int(answer)


def test_steps_written_out():
    assert product(37, 24) == "37*24=37*20+37*4=740+148=888"
    assert product(37, 20) == "37*20=740"
    assert running_sum(9, -22, 3) == "9-22=-13, -13+3=-10"


def test_long_prompts_come_late():
    early = [len(sample) for sample in samples(300, progress=0.0)]
    late = [len(sample) for sample in samples(300, progress=1.0)]
    assert max(early) < max(late)
    assert not any(" is a chatbot " in s.turns[0][0] for s in samples(300, progress=0.5))
    assert any(" is a chatbot " in s.turns[0][0] for s in samples(300, progress=1.0))
