"""The mean gradient of a set of queries as a store of one query.

The influence on a mean validation loss is the score of this one query: scores are linear in the
query's gradient.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import datainf
from datainf.fingerprint import digest
from datainf.store.writer import writer


def mean_query(query: datainf.GradientStore, out: Path) -> datainf.GradientStore:
    """A store at `out` whose one row, "mean", is the mean of all rows of `query`."""
    found = query.index
    of = digest(["mean", found.fingerprints["data"]])
    index = replace(
        found, n=1, shard_rows=1, shards=[], fingerprints=found.fingerprints | {"data": of}
    )
    with writer(out, index) as store:
        if store.index.rows_done == 0:
            gradients = {
                name: G.to_dense().double().mean(dim=0, keepdim=True)
                for name, G in query.blocks.items()
            }
            store.append(gradients, ["mean"], query.losses.mean(dim=0, keepdim=True))
    return datainf.GradientStore.open(out)
