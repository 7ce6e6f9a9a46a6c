"""Pictures on a page: no larger than they must be, and small ones without a loss."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from datainf.report.pictures import thumbnail
from datainf.report.report import SIZES


def noise(side):
    """What a photo is, and more: neither a PNG nor a JPEG can make much less of it."""
    pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def held(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_a_photo_has_fewer_bytes_from_size_to_size():
    photo = noise(300)
    found = [thumbnail(photo, side) for _, side in SIZES]
    assert [held(uri).size for uri in found] == [(side, side) for _, side in SIZES]
    sizes = list(map(len, found))
    assert sizes == sorted(set(sizes), reverse=True)


@pytest.mark.parametrize("side", [8, 32, 96])
def test_a_small_picture_is_kept_to_the_pixel(side):
    picture = noise(side)
    assert np.array_equal(held(thumbnail(picture, 160)), picture)
