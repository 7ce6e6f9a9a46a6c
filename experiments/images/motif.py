"""What a picture shows, apart from how it is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image


@dataclass(frozen=True)
class Motif:
    """One thing: its name, its caption, and its picture on white in each style."""

    code: str
    caption: str
    pictures: Mapping[str, Path | Image.Image]

    def picture(self, style: str) -> Image.Image:
        found = self.pictures[style]
        return found if isinstance(found, Image.Image) else Image.open(found).convert("RGB")
