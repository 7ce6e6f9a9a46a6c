"""Images that rows name: found from the data's folder, there, and what they say they are.

They are opened when a task needs them; here their headers alone are read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from datainf.errors import DataError
from datainf.fingerprint import digest, file_digest
from datainf.tasks.images import check_image


def inside(folder: Path, name: str, *, absolute: bool = True) -> str:
    """The path of an image that data in `folder` name; an absolute one as it is, unless `absolute`
    ones must lie in the folder too.

    Raises `DataError` for a path that leads out of the folder: data that someone else made have no
    business there.
    """
    if absolute and Path(name).is_absolute():
        return name
    base = os.path.abspath(folder)  # noqa: PTH100 - links in it stay as they are
    path = os.path.normpath(os.path.join(base, name))  # noqa: PTH118
    if os.path.commonpath([base, path]) != base:
        remedy = "a path inside it" + (", or an absolute one" if absolute else "")
        raise DataError(f"the image {name} lies outside {folder}", remedy=remedy)
    return path


def located(folder: Path | None, image: Any) -> Any:
    """An image as a row gives it, its path made absolute."""
    if folder is None:
        return image
    if isinstance(image, str):
        return inside(folder, image)
    if isinstance(image, Mapping) and not image.get("bytes") and isinstance(image.get("path"), str):
        return {**image, "path": inside(folder, image["path"])}
    return image


def placed(folder: Path, image: Any) -> Any:
    """An image as a row gives it, for a row that lies elsewhere: a path from `folder` on is made
    absolute, wherever it leads. A picture that is held itself, and a URL, stay."""
    if isinstance(image, Mapping):
        path = image.get("path")
        held = image.get("bytes") or not isinstance(path, str)
        return image if held else {**image, "path": placed(folder, path)}
    if not isinstance(image, str) or not image or "://" in image:
        return image
    return str((folder / image).absolute())


def check_picture(image: Any) -> None:
    """Raises `DataError` for an image that is not there, or whose header is none."""
    if image is None or image == "":
        raise DataError("image is missing", remedy="a path, or leave the row out")
    check_image(image)


def pictures_digest(images: Iterable[Any]) -> str:
    """Of the bytes of image files; images in the data itself are part of its own digest."""
    found = []
    for image in images:
        path = image.get("path") if isinstance(image, Mapping) else image
        held = isinstance(image, Mapping) and image.get("bytes")
        if isinstance(path, str) and not held:
            found.append(file_digest(Path(path)))
    return digest(found)
