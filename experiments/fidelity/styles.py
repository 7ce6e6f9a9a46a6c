"""Ways to write a text that a model of plain questions has not seen."""

from __future__ import annotations

from collections.abc import Callable


def shouted(text: str) -> str:
    """ALL IN CAPITALS"""
    return text.upper()


def mirrored(text: str) -> str:
    """txet eht fo dne eht morf"""
    return text[::-1]


def coded(text: str) -> str:
    """Vowels and some consonants as the digits and signs that look like them."""
    return text.lower().translate(str.maketrans("aeiostbgl", "43105+89|"))


STYLES: dict[str, Callable[[str], str]] = {
    "shouted": shouted, "mirrored": mirrored, "coded": coded,
}  # fmt: skip
