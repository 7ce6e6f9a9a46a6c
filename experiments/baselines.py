"""What attribution has to beat: lexical likeness and chance.

The likeness of representations is `datainf.evaluation.representations` and `similarity`.
"""

from __future__ import annotations

from collections.abc import Sequence

import bm25s
import torch
from torch import Tensor


def bm25(queries: Sequence[str], corpus: Sequence[str]) -> Tensor:
    """BM25 [m, n] of every query text against every training text (Lucene's form, k1 1.5, b .75).

    Words are what bm25s takes for words, lower case, with no stop words left out: the
    texts are short, and "not" counts.
    """
    split = [
        bm25s.tokenize(list(texts), stopwords=None, return_ids=False, show_progress=False)
        for texts in (corpus, queries)
    ]
    index = bm25s.BM25()
    index.index(split[0], show_progress=False)
    return torch.stack([torch.from_numpy(index.get_scores(words).copy()) for words in split[1]])


def chance(m: int, n: int, seed: int) -> Tensor:
    """Scores [m, n] that know nothing."""
    return torch.rand((m, n), generator=torch.Generator().manual_seed(seed))
