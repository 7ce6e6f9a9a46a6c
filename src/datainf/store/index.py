"""index.json: what a gradient store holds, and of what it was made."""

from __future__ import annotations

import bisect
import errno
import json
import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import accumulate
from math import prod
from pathlib import Path
from typing import Any, Self

import torch

from datainf.errors import StoreCorruptError, StoreError
from datainf.files import read_file, write_atomically
from datainf.fingerprint import bytes_digest
from datainf.store.encoding import DTYPES
from datainf.store.index_values import check_values

SCHEMA = 2
INDEX, CHECKSUM = "index.json", "checksum"
SHARD_NAME = re.compile(r"[\w-]{1,100}\.safetensors", re.ASCII)
"""A file in the store's own folder."""
NO_FILE = {errno.EISDIR, errno.ELOOP}
"""What the system says of what stands in a file's place, and not of why it cannot be read now."""


@dataclass(frozen=True)
class Block:
    """One trainable tensor: its name in `model.named_parameters()`, its shape, and the module
    whose tensors are taken together under `blocks="module"`. `kept` is how many numbers a row of
    it has where the store is projected."""

    name: str
    shape: tuple[int, ...]
    module: str
    kept: int | None = None

    @property
    def width(self) -> int:
        """d_l, the number of entries."""
        return prod(self.shape)

    @property
    def columns(self) -> int:
        """Numbers in a stored row."""
        return self.width if self.kept is None else self.kept


def difference(blocks: Sequence[Block], others: Sequence[Block], most: int = 3) -> str:
    """Where two tables of blocks differ, in words: the first of their names, with both shapes."""
    tables = [{block.name: block for block in table} for table in (blocks, others)]
    odd = [name for name in tables[0] | tables[1] if tables[0].get(name) != tables[1].get(name)]
    if not odd:
        return "their order"
    shown = []
    for name in odd[:most]:
        shapes = [str(list(table[name].shape)) if name in table else "none" for table in tables]
        shown.append(f"{name} ({' and '.join(shapes)})")
    return ", ".join(shown) + (f" and {len(odd) - most} more" if len(odd) > most else "")


def projected_by(projection: Mapping[str, Any] | None) -> str:
    """By what rows were made smaller, as `--project` is said: "none", "16", "16 in the metric
    adam"."""
    if projection is None:
        return "none"
    metric, seed = projection["metric"], projection["seed"]
    more = ["" if metric == "none" else f" in the metric {metric}", f" by seed {seed}" * bool(seed)]
    return str(projection["ratio"]) + "".join(more)


@dataclass(frozen=True)
class Shard:
    """Rows start … start+rows-1 of the store, in one file; the checksum is its header's, which
    holds those of its tensors. `skipped` are those of its rows, counted from its start, whose
    losses or gradients were not finite, each with what was not: they are stored as zeros."""

    file: str
    start: int
    rows: int
    bytes: int
    checksum: str
    skipped: tuple[tuple[int, str], ...] = ()

    def plain(self) -> dict[str, Any]:
        """As JSON has it; without `skipped` where nothing was."""
        return {name: value for name, value in asdict(self).items() if name != "skipped" or value}

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Self:
        """From `plain`. Raises `TypeError` or `ValueError` for anything else."""
        skipped = tuple((operator.index(place), str(why)) for place, why in raw.get("skipped", ()))
        shard = cls(**{**raw, "skipped": skipped})
        if any(not 0 <= place < shard.rows for place, _ in skipped):
            raise ValueError(f"shard {shard.file!r} has no such rows as it skipped")
        return shard


@dataclass(frozen=True)
class Part:
    """Rows that came to a store at one time: how many, the fingerprint of the data that they came
    with, where those were, the versions that took them, and whether their ids are the numbers of
    their rows in the store."""

    rows: int
    data: str
    source: str | None = None
    made_by: dict[str, str] | None = None
    counted: bool = False


def _checksum(content: Mapping[str, Any]) -> str:
    """Of what an index holds, however it is laid out."""
    return bytes_digest(json.dumps(content, sort_keys=True).encode())


@dataclass
class Index:
    """What index.json holds. `fingerprints` tells base, adapter, data and task; `projection` by
    what the rows were made smaller, see `datainf.projection`; `task` and `notes` are plain JSON
    values for people and for opening the store again; `parts`, of a store that has grown, are its
    rows as they came."""

    n: int
    dtype: str
    blocks: list[Block]
    fingerprints: dict[str, str]
    shard_rows: int
    projection: dict[str, Any] | None = None
    task: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    shards: list[Shard] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    schema: int = SCHEMA

    @property
    def rows_done(self) -> int:
        return sum(shard.rows for shard in self.shards)

    def done(self) -> Iterator[range]:
        """The rows of each shard that is there, in order."""
        for shard in self.shards:
            yield range(shard.start, shard.start + shard.rows)

    def skipped(self) -> dict[int, str]:
        """The rows that were skipped, and what of each was not finite."""
        return {shard.start + place: why for shard in self.shards for place, why in shard.skipped}

    def gaps(self) -> Iterator[range]:
        """The rows that no shard has, in order: those at the end, and those that are gone from
        between others."""
        start = 0
        for rows in [*self.done(), range(self.n, self.n)]:
            if start < rows.start:
                yield range(start, rows.start)
            start = rows.stop

    def missing(self) -> Iterator[range]:
        """The rows of each shard still to be written, in order. None has rows that came at
        different times."""
        ends = [*accumulate(part.rows for part in self.parts), self.n]
        for gap in self.gaps():
            start = gap.start
            while start < gap.stop:
                own = ends[bisect.bisect(ends, start)]
                stop = min(gap.stop, own, start + self.shard_rows)
                yield range(start, stop)
                start = stop

    def number(self, rows: range) -> int:
        """Where the shard of these rows stands among all, those that are still to come counted."""
        starts = [shard.start for shard in self.shards] + [some.start for some in self.missing()]
        return sum(start < rows.start for start in starts)

    @property
    def came(self) -> list[Part]:
        """All rows as they came: those of a store that has not grown at once."""
        notes = self.notes
        whole = Part(self.n, self.fingerprints["data"], notes.get("source"), notes.get("made_by"))
        return self.parts or [whole]

    def how_to_finish(self, before: int | None = None) -> str:
        """A remedy, where rows are missing, of those before one."""
        came, end = self.came, self.n if before is None else before
        ends = [*accumulate(part.rows for part in came)]
        lacking = set[int]()
        for gap in self.gaps():  # of which there are few, however many rows an index claims to have
            if gap.start < end:
                last = bisect.bisect(ends, min(gap.stop, end) - 1)
                lacking.update(range(bisect.bisect(ends, gap.start), last + 1))
        if len(came) == 1 or (before is not None and before <= ends[0]):
            return "run the same command again: it goes on from there"
        told = [came[place].source or f"the data that came as number {place + 1}"
                for place in sorted(lacking) if came[place].rows]  # fmt: skip
        return (
            f"datainf collect --append again, of {' and of '.join(told)}: it takes what is missing"
        )

    def grown(self, wanted: Index) -> Index:
        """This index with room for the rows that `wanted` adds to it; itself if that adds none."""
        if not wanted.parts or self.came != wanted.parts[:-1]:
            return self
        return replace(
            self, n=wanted.n, parts=wanted.parts, notes=self.notes | wanted.notes,
            fingerprints=self.fingerprints | {"data": wanted.fingerprints["data"]},
        )  # fmt: skip

    def has_room(self, shard: Shard) -> bool:
        """Whether a shard's rows are among those of the store that no other has."""
        end = shard.start + shard.rows
        alone = all(end <= one.start or one.start + one.rows <= shard.start for one in self.shards)
        return alone and shard.rows > 0 and end <= self.n

    def add(self, shard: Shard) -> None:
        """Enter a shard, in the order of the rows."""
        bisect.insort(self.shards, shard, key=lambda one: one.start)

    @property
    def is_smaller(self) -> bool:
        """Whether rows are stored by less than float32 has."""
        return self.torch_dtype.itemsize < 4 or self.projection is not None

    @property
    def row_bytes(self) -> int:
        """Of one example's gradients, as stored."""
        return self.torch_dtype.itemsize * sum(block.columns for block in self.blocks)

    @property
    def torch_dtype(self) -> torch.dtype:
        """Of the stored rows."""
        return DTYPES[self.dtype]

    @property
    def checksum(self) -> str:
        """Of all that it says, the shards' checksums among it: it stands for the store's bytes."""
        return _checksum(self._content())

    def save(self, folder: Path) -> None:
        content = self._content()
        text = json.dumps(content | {CHECKSUM: _checksum(content)}, indent=1)
        write_atomically(folder / INDEX, text.encode())

    def _content(self) -> dict[str, Any]:
        """As it will be read."""
        plain = asdict(self) | {"shards": [shard.plain() for shard in self.shards]}
        if not self.parts:
            del plain["parts"]
        content: dict[str, Any] = json.loads(json.dumps(plain))
        return content

    @classmethod
    def load(cls, folder: Path) -> Self:
        path = folder / INDEX
        try:
            raw = json.loads(read_file(path).decode())
        except (FileNotFoundError, NotADirectoryError):
            raise StoreError(
                f"{folder} is not a gradient store: it has no {INDEX}",
                remedy="datainf collect makes one; check the path",
            ) from None
        except PermissionError as error:  # what it holds may be sound
            raise StoreError(
                f"{path} cannot be read: {error.strerror}", remedy="leave to read the file"
            ) from None
        except OSError as error:  # a passing one too: too many open files, a disk that is away
            kind = StoreCorruptError if error.errno in NO_FILE else StoreError
            raise kind(f"{path} cannot be read: {error.strerror or error}") from None
        except (ValueError, RecursionError) as error:  # JSON, UTF-8, numbers of 5,000 digits
            raise StoreCorruptError(f"{path} cannot be read: {error}") from None
        if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
            found = raw.get("schema") if isinstance(raw, dict) else None
            raise StoreError(
                f"{path} has schema {found!r}; this version of datainf reads schema {SCHEMA}",
                remedy="collect the store again, or use the version of datainf that made it",
            )
        # Stores of older versions have none.
        if raw.pop(CHECKSUM, None) not in (None, _checksum(raw)):
            raise StoreCorruptError(
                f"{path}: the content is not what was written (its checksum differs)",
                remedy="collect the store again, in another folder",
            )
        try:
            check_values(raw)
            raw["blocks"] = [
                Block(**block | {"shape": tuple(block["shape"])}) for block in raw["blocks"]
            ]
            raw["shards"] = [Shard.read(shard) for shard in raw["shards"]]
            raw["parts"] = [Part(**part) for part in raw.get("parts", [])]
            index = cls(**{name.name: raw[name.name] for name in fields(cls)})
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise StoreCorruptError(f"{path} is damaged: {error}") from None
        index._check(path)
        return index

    def _check(self, path: Path) -> None:
        if self.dtype not in DTYPES:
            raise StoreCorruptError(f"{path} is damaged: an unknown dtype, {self.dtype!r}")
        start = 0
        for shard in self.shards:
            if shard.start < start or not SHARD_NAME.fullmatch(shard.file):
                raise StoreCorruptError(f"{path} is damaged: shard {shard.file!r} is out of place")
            start = shard.start + shard.rows
        if self.parts and sum(part.rows for part in self.parts) != self.n:
            raise StoreCorruptError(f"{path} is damaged: its parts have not {self.n} rows")
        if start > self.n:
            raise StoreCorruptError(f"{path} is damaged: {start} rows, {self.n} expected")
