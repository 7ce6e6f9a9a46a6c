"""An image in any usual form → pixels of one size, as diffusers' training scripts make them.

The shorter side is resized to the resolution (Lanczos), the centre is cut out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datainf.errors import DataError
from datainf.tasks.images import open_image

LANCZOS = 1
"""`PIL.Image.Resampling.LANCZOS`; pillow is imported where an image is opened."""


@dataclass(frozen=True)
class Pixels:
    """values: [3, R, R], uint8, or floats in [-1, 1]; original: height and width before; crop: top
    and left of the cut in the resized image."""

    values: Tensor
    original: tuple[int, int]
    crop: tuple[int, int] = (0, 0)


def read_image(image: Any, resolution: int) -> Pixels:
    """Pixels of a PIL image, a path, bytes, or a mapping with `bytes` or `path` as in `datasets`.

    A transparent image loses its alpha channel, as in diffusers' scripts: what is then seen is
    the colour under it.

    Raises `DataError` for what cannot be read; `InputError` where pillow is not installed.
    """
    upright = open_image(image)
    width, height = upright.size
    scale = resolution / min(width, height)
    size = (max(resolution, int(width * scale)), max(resolution, int(height * scale)))
    left, top = (round((side - resolution) / 2) for side in size)
    resized = upright.resize(size, LANCZOS)
    cut = resized.crop((left, top, left + resolution, top + resolution))
    values = torch.from_numpy(np.array(cut)).permute(2, 0, 1).contiguous()
    return Pixels(values, (height, width), (top, left))


def given_pixels(values: Any, resolution: int) -> Pixels:
    """Pixels that are ready, checked.

    Raises `DataError` for another shape, or for values outside [-1, 1].
    """
    tensor = torch.as_tensor(values)
    if tuple(tensor.shape) != (3, resolution, resolution):
        raise DataError(
            f"pixel_values has shape {tuple(tensor.shape)}, not (3, {resolution}, {resolution})",
            remedy="a column image in its place, which is resized; or another resolution",
        )
    if tensor.dtype != torch.uint8:
        if not tensor.is_floating_point() or not bool((tensor.abs() <= 1).all()):
            raise DataError(
                "pixel_values holds values outside [-1, 1]", remedy="uint8, or x / 127.5 - 1"
            )
        tensor = tensor if tensor.itemsize >= 4 else tensor.float()
    return Pixels(tensor, (resolution, resolution))


def as_floats(values: Tensor) -> Tensor:
    """uint8 in 0 … 255 → float32 in [-1, 1]; floats as they are."""
    return (values.float() / 255 - 0.5) / 0.5 if values.dtype == torch.uint8 else values
