"""The header of a safetensors file, written before what it describes is known in full.

The format is eight bytes that tell the header's length, the header in JSON (name → dtype, shape
and where in the rest the tensor lies), and the tensors, one after another. Readers find it as the
safetensors library writes it. The library wants all tensors at once; rows here come in batches.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass

import torch

LENGTH_BYTES = 8
ALIGNMENT = 8
DIGESTS = "digests"
EMPTY = "0" * 32
"""Stands for a digest that is still to come, as long as one."""
NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16",
    torch.int8: "I8", torch.uint8: "U8",
}  # fmt: skip
"""Dtypes by the format's own names."""

Shapes = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]


class Header:
    """Where every tensor of these dtypes and shapes lies, those with larger numbers first."""

    def __init__(self, shapes: Shapes) -> None:
        order = sorted(shapes, key=lambda name: (-shapes[name][0].itemsize, name))
        self.shapes = {name: shapes[name] for name in order}
        self._places: dict[str, tuple[int, int]] = {}
        end = 0
        for name, (dtype, shape) in self.shapes.items():
            size = math.prod(shape) * dtype.itemsize
            self._places[name] = (end, size)
            end += size
        self._before = len(self.with_digests(dict.fromkeys(self.shapes, EMPTY)))
        self.file_bytes = self._before + end

    def place(self, name: str) -> tuple[int, int]:
        """Where in the file a tensor's bytes start, and how many they are."""
        start, size = self._places[name]
        return self._before + start, size

    def offset(self, name: str) -> int:
        return self.place(name)[0]

    def with_digests(self, digests: Mapping[str, str]) -> bytes:
        """The header with its length before it; as long whatever the digests are."""
        told: dict[str, object] = {"__metadata__": {DIGESTS: json.dumps(digests, sort_keys=True)}}
        for name, (dtype, shape) in self.shapes.items():
            start, size = self._places[name]
            told[name] = {
                "dtype": NAMES[dtype], "shape": shape, "data_offsets": [start, start + size]
            }  # fmt: skip
        text = json.dumps(told, separators=(",", ":")).encode()
        text += b" " * (-len(text) % ALIGNMENT)
        return len(text).to_bytes(LENGTH_BYTES, "little") + text


@dataclass(frozen=True)
class Extent:
    """Where in a shard's file the bytes of a tensor start, how many they are, and their digest."""

    start: int
    size: int
    digest: str


def extents_of(header: bytes) -> dict[str, Extent]:
    """By tensor, from a whole header. Raises `ValueError`, `LookupError` or `TypeError` for one
    that has none."""
    told = json.loads(header[LENGTH_BYTES:])
    found = {}
    for name, digest in json.loads(told["__metadata__"][DIGESTS]).items():
        start, end = map(operator.index, told[name]["data_offsets"])
        found[name] = Extent(len(header) + start, end - start, str(digest))
    return found
