"""Opening images: files, bytes, PIL images, and what `datasets` gives.

Pillow is needed for images alone, and imported where it is used.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from datainf.errors import DataError, DatainfError, InputError

FORMATS = (
    "PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO",
    "TGA",
)  # fmt: skip
"""Pillow's names of pictures made of pixels: for others, such as PostScript, it would start another
program on the file."""
MOST_PIXELS, MOST_RATIO = 150_000_000, 200
"""Of a picture: no camera's has more, and half a gigabyte holds it."""


def open_image(value: Any) -> Any:
    """An upright RGB image (`PIL.Image.Image`) from a path, bytes, a PIL image, or a mapping with
    `bytes` or `path` as in `datasets`.

    Raises `DataError` for what cannot be read, `InputError` where pillow is not installed.
    """
    with _readable(value) as image:
        return _pillow().ImageOps.exif_transpose(image).convert("RGB")


def check_image(value: Any) -> None:
    """Whether an image is there and its header is one, without decoding it.

    Raises `DataError` and `InputError` as `open_image` does.
    """
    with _readable(value):
        pass


@contextmanager
def _readable(value: Any) -> Iterator[Any]:
    try:
        with _opened(value) as image:
            _require_size(image)
            yield image
    except DatainfError:
        raise
    except Exception as error:  # whatever a file brings about in pillow's many readers
        raise _unreadable(value, error) from None


def _require_size(image: Any) -> None:
    """Raises `ValueError` for a picture that a few bytes can claim to be, and no memory holds: as
    it is, or resized by its shorter side."""
    width, height = image.size
    if width * height > MOST_PIXELS or max(width, height) > MOST_RATIO * min(width, height):
        raise ValueError(
            f"it has {width:,} x {height:,} pixels; at most {MOST_PIXELS:,} are read, and one side "
            f"{MOST_RATIO} times the other"
        )


def image_name(value: Any) -> str | None:
    """The path that an image came from, if it is known."""
    if isinstance(value, Mapping):
        value = value.get("path")
    name = getattr(value, "filename", value)
    return str(name) if isinstance(name, str | Path) and str(name) else None


def _opened(value: Any) -> Any:
    """A context that gives the image; a person's own stays open afterwards."""
    pillow = _pillow()
    if isinstance(value, pillow.Image.Image):
        return _Kept(value)
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return pillow.Image.open(io.BytesIO(value), formats=_formats())
    if isinstance(value, str | Path):
        if not Path(value).is_file():
            raise FileNotFoundError("there is no such file")
        return pillow.Image.open(value, formats=_formats())
    raise ValueError(f"it is of type {type(value).__name__}")


@cache
def _formats() -> list[str]:
    """Those of `FORMATS` that this pillow can read."""
    pillow = _pillow()
    pillow.Image.init()
    return [name for name in FORMATS if name in pillow.Image.OPEN]


class _Kept:
    """Hands out an image, and leaves it alone."""

    def __init__(self, image: Any) -> None:
        self.image = image

    def __enter__(self) -> Any:
        return self.image

    def __exit__(self, *_: object) -> None:
        pass


def _pillow() -> Any:
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError:
        raise InputError(
            "reading images needs pillow", remedy="pip install 'datainf[diffusion]'"
        ) from None
    return PIL


def _unreadable(value: Any, error: Exception) -> DataError:
    name = image_name(value)
    return DataError(
        f"the image {'in the row' if name is None else name} cannot be read: {error}",
        remedy="a whole PNG, JPEG or other file that pillow reads, or leave the row out",
    )
