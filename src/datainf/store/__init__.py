"""GradientStore: per-example gradients on disk, in append-only shards with an index.

    store/
    ├── index.json               schema, block table, fingerprints; each shard's rows and checksum
    ├── shard-00000.safetensors  a tensor [rows, columns] a block, ids, losses, squared norms
    ├── …
    └── sample/                  of a store of smaller rows: some of them in full

A shard is written aside, synced, renamed, then entered in the index, which is itself replaced in
one step: a kill at any moment loses at most the shards in hand. Rows stand in the order of the
data set. Opening reads the index alone; shards are mapped into memory while they are read, and
every tensor's checksum is checked when it is first read.
"""

from datainf.store.gradient_store import SAMPLE, GradientStore
from datainf.store.index import Block, Index, Part, Shard
from datainf.store.joined import joined

__all__ = ["SAMPLE", "Block", "GradientStore", "Index", "Part", "Shard", "joined"]
