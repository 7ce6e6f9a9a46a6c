"""Sums, products and quotients, at once or in steps.

Steps are written as the maths task's reasons write them: 37*24=37*20+37*4=740+148=888.
"""

from __future__ import annotations

import random


def number(draw: random.Random) -> int:
    return draw.randint(1, 99)


def product(a: int, b: int) -> str:
    """a·b by the tens and ones of b; at once where b has one digit that counts."""
    tens, ones = b // 10 * 10, b % 10
    if not tens or not ones:
        return f"{a}*{b}={a * b}"
    return f"{a}*{b}={a}*{tens}+{a}*{ones}={a * tens}+{a * ones}={a * b}"


def quotient(a: int, b: int) -> str:
    return f"{a}//{b}={a // b}"


def running_sum(first: int, *others: int) -> str:
    """One after another; what is taken away comes as a negative number."""
    steps, total = [], first
    for other in others:
        steps.append(f"{total}{other:+d}={total + other}")
        total += other
    return ", ".join(steps)


def expression(draw: random.Random) -> tuple[str, str]:
    """(what is asked, its value), such as 12+34 and 46; products only of few digits."""
    a, b, c = number(draw), number(draw), number(draw)
    small = draw.randint(1, 9)
    kinds = (
        *[(f"{a}+{b}", a + b)] * 4,
        *[(f"{a}-{b}", a - b)] * 4,
        (f"{a}+{b}+{c}", a + b + c),
        (f"{a}+{b}-{c}", a + b - c),
        *[(f"{a * 10}+{b * small}", a * 10 + b * small)] * 2,
        *[(f"{a}*{small}", a * small)] * 2,
        (f"{a}*{small * 10}", a * small * 10),
        (f"{a}*{b}", a * b),
        *[(f"{a}//{b}", a // b)] * 2,
    )
    asked, value = draw.choice(kinds)
    return asked, str(value)


def steps(draw: random.Random) -> tuple[str, str]:
    """(what is asked, the steps to its value)."""
    a, b, c = number(draw), number(draw), number(draw)
    return draw.choice(
        (
            (f"{a}*{b}", product(a, b)),
            (f"{a}*{b}", product(a, b)),
            (f"{a}+{b}+{c}", running_sum(a, b, c)),
            (f"{a}+{b}-{c}", running_sum(a, b, -c)),
            (f"{a}-{b}-{c}", running_sum(a, -b, -c)),
        )
    )


def arithmetic(draw: random.Random) -> tuple[tuple[str, str], ...]:
    """Turns of (prompt, completion): many, for each is short, and there is much to learn by
    heart."""
    return tuple(_asked(draw) for _ in range(draw.randint(4, 10)))


def _asked(draw: random.Random) -> tuple[str, str]:
    if draw.random() < 0.3:
        asked, said = steps(draw)
        return f"Steps of {asked} -> ", said
    asked, said = expression(draw)
    return f"{asked} -> ", said
