"""Pictures small enough for a page, as the data URIs that hold them."""

from __future__ import annotations

import base64
import io
from typing import Any

from datainf.errors import DatainfError
from datainf.tasks.images import open_image

JPEG_QUALITY = 80
LOSSLESS_SIDE = 96
"""Pictures that come with no more pixels a side lose nothing: drawings, digits, icons. Of a photo
that is made so small a PNG would have several times the bytes of a JPEG."""


def thumbnail(image: Any, side: int) -> str | None:
    """A picture of at most `side` pixels a side; None for one that cannot be read any more."""
    try:
        picture = open_image(image)
    except DatainfError:
        return None
    kind = "PNG" if max(picture.size) <= LOSSLESS_SIDE else "JPEG"
    picture.thumbnail((side, side))
    out = io.BytesIO()
    picture.save(out, kind, **({"quality": JPEG_QUALITY} if kind == "JPEG" else {"optimize": True}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(out.getvalue()).decode()}"
