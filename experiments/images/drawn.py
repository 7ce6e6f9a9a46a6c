"""Pictures that we draw ourselves, for runs that have no data: shapes in three styles.

A stand-in for the emoji, far easier: six shapes × six colours × two sizes, each of them flat,
outlined or striped.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi, sin

from PIL import Image, ImageChops, ImageDraw

from experiments.images.motif import Motif

SIDE = 64
COLOURS = {
    "red": (205, 50, 45), "orange": (240, 140, 30), "green": (50, 150, 70),
    "blue": (45, 95, 200), "purple": (130, 65, 170), "brown": (120, 75, 45),
}  # fmt: skip
SIZES = {"large": 28, "small": 17}
LINE = 4
WHITE = (255, 255, 255)


def _corners(count: int, turn: float, inner: float = 1.0) -> list[tuple[float, float]]:
    """Of a regular polygon in the unit circle; every second one at `inner` of the radius."""
    return [
        (cos(turn + 2 * pi * i / count) * r, sin(turn + 2 * pi * i / count) * r)
        for i in range(count)
        for r in (inner if i % 2 else 1.0,)
    ]


SHAPES = {
    "triangle": _corners(3, -pi / 2),
    "square": _corners(4, pi / 4),
    "diamond": _corners(4, 0.0),
    "hexagon": _corners(6, 0.0),
    "circle": _corners(40, 0.0),
    "star": _corners(10, -pi / 2, inner=0.45),
}


def _mask(shape: str, radius: float) -> Image.Image:
    mask = Image.new("L", (SIDE, SIDE), 0)
    points = [(SIDE / 2 + x * radius, SIDE / 2 + y * radius) for x, y in SHAPES[shape]]
    ImageDraw.Draw(mask).polygon(points, fill=255)
    return mask


def _flat(shape: str, colour: tuple[int, int, int], radius: float) -> Image.Image:
    picture = Image.new("RGB", (SIDE, SIDE), WHITE)
    picture.paste(colour, (0, 0), _mask(shape, radius))
    return picture


def _outlined(shape: str, colour: tuple[int, int, int], radius: float) -> Image.Image:
    ring = ImageChops.subtract(_mask(shape, radius), _mask(shape, radius - LINE))
    picture = Image.new("RGB", (SIDE, SIDE), WHITE)
    picture.paste(colour, (0, 0), ring)
    return picture


def _striped(shape: str, colour: tuple[int, int, int], radius: float) -> Image.Image:
    stripes = Image.new("L", (SIDE, SIDE), 0)
    for top in range(0, SIDE, 2 * LINE):
        ImageDraw.Draw(stripes).rectangle((0, top, SIDE, top + LINE - 1), fill=255)
    picture = Image.new("RGB", (SIDE, SIDE), WHITE)
    picture.paste(colour, (0, 0), ImageChops.multiply(stripes, _mask(shape, radius)))
    return picture


STYLES: dict[str, Callable[[str, tuple[int, int, int], float], Image.Image]] = {
    "flat": _flat, "outlined": _outlined, "striped": _striped,
}  # fmt: skip


def drawn_motifs() -> list[Motif]:
    """All 72, each in every style, always in the same order."""
    return [
        Motif(
            f"{size}-{colour}-{shape}",
            f"a {size} {colour} {shape}",
            {style: draw(shape, COLOURS[colour], SIZES[size]) for style, draw in STYLES.items()},
        )
        for size in SIZES
        for colour in COLOURS
        for shape in SHAPES
    ]
