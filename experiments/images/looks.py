"""Looks and places: one picture → many, as the base of the desk scale is pretrained on.

A *look* changes colours and edges (grey, negative, …), a *place* is a background, a position, a
size, a turn. Together they hide the styles that are learned later, and name what they did in the
caption, so that the words of a prompt come to mean something.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

BACKGROUNDS = {
    "white": (255, 255, 255), "grey": (190, 190, 190), "black": (25, 25, 25),
    "red": (225, 90, 85), "orange": (245, 175, 90), "yellow": (245, 230, 130),
    "green": (120, 190, 120), "blue": (110, 160, 225), "purple": (175, 130, 210),
    "pink": (245, 180, 205), "brown": (150, 110, 80),
}  # fmt: skip
NEARLY_WHITE = 12
"""Pixels this near to white, and joined to a corner, are background."""
HUES = 256


def mask_of(picture: Image.Image) -> Image.Image:
    """255 where a picture on white has its subject, 0 around it; white inside it is kept."""
    framed = ImageOps.expand(picture.convert("RGB"), 1, (255, 255, 255))
    marker = (255, 0, 255)
    ImageDraw.floodfill(framed, (0, 0), marker, thresh=NEARLY_WHITE)
    distance = ImageChops.difference(framed, Image.new("RGB", framed.size, marker)).convert("L")
    mask = distance.point(lambda value: 255 if value else 0)
    return ImageOps.crop(mask, 1)


def turn_hue(picture: Image.Image, by: int) -> Image.Image:
    """All hues moved by as much, of 256."""
    hue, saturation, value = picture.convert("HSV").split()
    turned = hue.point(lambda h: (h + by) % HUES)
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


def _grey(picture: Image.Image, _: random.Random) -> Image.Image:
    return picture.convert("L").convert("RGB")


def _negative(picture: Image.Image, _: random.Random) -> Image.Image:
    return ImageOps.invert(picture)


def _blurred(picture: Image.Image, draw: random.Random) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(picture.width * draw.uniform(0.03, 0.06)))


def _poster(picture: Image.Image, draw: random.Random) -> Image.Image:
    return ImageOps.posterize(turn_hue(picture, draw.randrange(HUES)), 1)


def _tinted(picture: Image.Image, draw: random.Random) -> Image.Image:
    dark, light = draw.sample(sorted(BACKGROUNDS), 2)
    return ImageOps.colorize(picture.convert("L"), BACKGROUNDS[dark], BACKGROUNDS[light])


def _pale(picture: Image.Image, _: random.Random) -> Image.Image:
    return Image.blend(picture, Image.new("RGB", picture.size, (255, 255, 255)), 0.6)


def _recoloured(picture: Image.Image, draw: random.Random) -> Image.Image:
    return turn_hue(picture, draw.randrange(HUES // 8, HUES - HUES // 8))


LOOKS: dict[str, Callable[[Image.Image, random.Random], Image.Image]] = {
    "grey": _grey, "negative": _negative, "blurred": _blurred, "poster": _poster,
    "tinted": _tinted, "pale": _pale, "recoloured": _recoloured,
}  # fmt: skip


def cut_out(picture: Image.Image) -> Image.Image:
    """RGBA: a picture on white, without the white."""
    subject = picture.convert("RGBA")
    subject.putalpha(mask_of(picture))
    return subject


def seen_as(subject: Image.Image, look: str, draw: random.Random) -> Image.Image:
    """A cut-out in another look; what is cut out stays."""
    changed = LOOKS[look](subject.convert("RGB"), draw).convert("RGBA")
    changed.putalpha(subject.getchannel("A"))
    return changed


def on(subject: Image.Image, background: str) -> Image.Image:
    """A cut-out as it is, with a colour around it."""
    scene = Image.new("RGB", subject.size, BACKGROUNDS[background])
    scene.paste(subject, (0, 0), subject)
    return scene


def moved(subject: Image.Image, draw: random.Random, smallest: float = 0.5) -> Image.Image:
    """A cut-out smaller, elsewhere, turned and perhaps mirrored, within the same frame."""
    side = subject.width
    if draw.random() < 0.5:
        subject = ImageOps.mirror(subject)
    within = round(side * draw.uniform(smallest, 0.95))
    subject = subject.resize((within, within), Image.Resampling.LANCZOS)
    subject = subject.rotate(draw.uniform(-25, 25), Image.Resampling.BICUBIC)
    frame = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    frame.paste(subject, (draw.randint(0, side - within), draw.randint(0, side - within)))
    return frame
