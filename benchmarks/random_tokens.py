"""Rows of random tokens, and a tokenizer that is asked for no more than its padding."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers

from datainf import demos

FIRST = 3
"""Smaller ids are special tokens."""


def tokenizer() -> transformers.PreTrainedTokenizerFast:
    """The demo's; rows are token ids already."""
    made = transformers.AutoTokenizer.from_pretrained(Path(demos.__file__).parent / "base")
    made.model_max_length = 2048
    return made


def rows(count: int, length: int, vocabulary: int, seed: int = 0) -> list[dict[str, list[int]]]:
    """All of one length, every token supervised."""
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randint(FIRST, vocabulary, (count, length), generator=draw)
    return [{"input_ids": row} for row in tokens.tolist()]
