"""Fingerprints: short digests by which a store knows what it was made of.

They guard against mistakes, not against an adversary, so the hash is xxh3-128, which runs at
memory speed: hashing all weights of a 7B model takes seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor

READ_BYTES = 4 * 2**20


def digest(value: Any) -> str:
    """Of plain data: None, numbers, strings, bytes, tensors, arrays, and sequences and mappings
    of them. Order in a mapping does not matter. Draws are seeded by it, and kept trainings found:
    the same value has the same digest in every version.

    Raises `TypeError` for anything else: an object's memory address is not a fingerprint.
    """
    state = xxhash.xxh3_128()
    _update(state, value)
    return state.hexdigest()


def tensors_digest(named: Iterable[tuple[str, Tensor]]) -> str:
    """Of tensors with their names, shapes and dtypes."""
    state = xxhash.xxh3_128()
    for name, tensor in named:
        state.update(name.encode())
        _update(state, tensor)
    return state.hexdigest()


def file_digest(path: Path) -> str:
    """Of a file's bytes."""
    state = xxhash.xxh3_128()
    with path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            state.update(piece)
    return state.hexdigest()


def bytes_digest(data: bytes | memoryview) -> str:
    """Of bytes in memory; equal to `file_digest` of a file that holds them."""
    return xxhash.xxh3_128(data).hexdigest()


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous CPU tensor, not copied."""
    array: Any = tensor.reshape(-1).view(torch.uint8).numpy()
    return memoryview(array)


def tokenizer_digest(tokenizer: Any) -> str:
    """Of what a tokenizer does to a text: its vocabulary, rules, special tokens, chat template."""
    fast: Any = getattr(tokenizer, "backend_tokenizer", None)
    if fast is None:
        rules: Any = sorted(tokenizer.get_vocab().items())
    else:
        # Before its rules stand truncation and padding: the state of the last call, not a property
        # of the tokenizer. A vocabulary of 100,000 words is not parsed to leave them out.
        written = fast.to_str()
        rules = written[max(0, written.find('"added_tokens":')) :]
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    return digest([rules, special, getattr(tokenizer, "chat_template", None)])


def _update(state: xxhash.xxh3_128, value: Any) -> None:
    # Each kind starts with a tag and its length, so that no two values share their bytes; first
    # those that every example has many of.
    if value is None or isinstance(value, (str, int, float)):
        text = json.dumps(value).encode()
        state.update(b"j%d:%b" % (len(text), text))
    elif isinstance(value, (list, tuple)):
        state.update(b"l%d:" % len(value))
        if set(map(type, value)) == {int}:  # token ids: many, and so at one time
            state.update(b"".join(map(_integer, value)))
            return
        for item in value:
            _update(state, item)
    elif isinstance(value, Mapping):
        state.update(b"m%d:" % len(value))
        for key in sorted(value, key=str):
            _update(state, str(key))
            _update(state, value[key])
    elif isinstance(value, Tensor) and hasattr(value, "__tensor_flatten__"):  # quantised, say
        names, context = value.__tensor_flatten__()
        state.update(f"q{type(value).__name__}{tuple(value.shape)}{context}".encode())
        for name in names:
            _update(state, getattr(value, name))
    elif isinstance(value, Tensor):
        state.update(f"t{value.dtype}{tuple(value.shape)}".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        state.update(tensor_bytes(flat))
    elif isinstance(value, bytes):
        state.update(b"b%d:" % len(value))
        state.update(value)
    elif hasattr(value, "__array__") or hasattr(value, "tobytes"):  # numpy, PIL
        state.update(f"a{getattr(value, 'shape', getattr(value, 'size', ''))}".encode())
        state.update(value.tobytes())
    else:
        raise TypeError(f"no fingerprint for an object of type {type(value).__qualname__}")


@lru_cache(2**15)
def _integer(value: int) -> bytes:
    """As `_update` takes it by itself."""
    text = b"%d" % value
    return b"j%d:%b" % (len(text), text)
