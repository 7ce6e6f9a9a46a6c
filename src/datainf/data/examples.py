"""Examples: the rows of a data set under canonical column names, each knowing where it stands."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice, repeat
from pathlib import Path
from types import MappingProxyType
from typing import Any, overload

import numpy as np

from datainf.columns import Candidates, Columns, Decision, TaskName, decide
from datainf.data.alike import alike
from datainf.data.formats import Table
from datainf.data.pictures import check_picture, located, pictures_digest
from datainf.data.read import read
from datainf.data.rows import check_row, require_letters
from datainf.data.write import write_part
from datainf.errors import DataError, OptionError
from datainf.fingerprint import digest, file_digest
from datainf.redaction import noted
from datainf.repositories import pinned
from datainf.words import count

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
"""A number as a text; assets/suspect.js reads the same ones."""


class Examples(Sequence[dict[str, Any]]):
    """Rows of one source, checked. Get one from `load`.

    `task` is the task that the rows are for and `why` says how that is known, `columns` says
    which column plays which part, `ids` are the id column's values or the row numbers.
    """

    def __init__(self, source: str, table: Table, found: Decision, limit: int | None) -> None:
        self.source = noted(source)
        self.task, self.columns, self.why = found.task, found.columns, found.why
        self._table = table
        self._length = len(table.rows) if limit is None else min(limit, len(table.rows))
        self.ids = self._check()

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(self._length))]
        if not -self._length <= index < self._length:
            raise IndexError(f"row {index} of {self._length}")
        raw = self._table.rows[index % self._length]
        row = {part: raw.get(column) for part, column in self.columns.items() if part != "id"}
        if "image" in row:
            row["image"] = located(self._table.folder, row["image"])
        return row

    @property
    def pinned(self) -> str:
        """The source; of a hub data set with the commit that was taken, if it is known."""
        return (
            self.source if Path(self.source).exists() else pinned(self.source, self._table.commit)
        )

    @property
    def split(self) -> str | None:
        """Which of its source's splits this is, if that has some."""
        return self._table.split

    @cached_property
    def labels(self) -> list[Any]:
        """What each row has for a label, None where it has none; no picture is read."""
        return list(islice(self._each_label(), self._length))

    def _each_label(self) -> Iterator[Any]:
        """The same of the rows beyond a limit too."""
        column, rows = self.columns.get("label"), self._table.rows
        if column is None:
            return repeat(None, self.whole)
        if hasattr(rows, "select_columns"):  # which else reads whole ones
            rows = rows.select_columns([column])
        return (row.get(column) for row in rows)

    @property
    def whole(self) -> int:
        """How many rows the source has, those beyond a limit counted."""
        return len(self._table.rows)

    def raw(self, row: int) -> dict[str, Any]:
        """A row as it came, all columns."""
        return dict(self._table.rows[row])

    def where(self, row: int) -> str:
        """A row in words, such as "train.jsonl, row 17 (line 18)"; rows count from 0. A row of a
        folder of images is named by its image too."""
        name = Path(self.source).name or self.source
        if Path(self.source).is_dir() and (file := self._picture(row)) is not None:
            name = f"{name}/{file}"
        line = "" if self._table.lines is None else f" (line {self._table.lines[row]})"
        return f"{name}, row {row}{line}"

    def _picture(self, row: int) -> str | None:
        image = self._table.rows[row].get(self.columns.get("image", ""))
        path = image.get("path") if isinstance(image, Mapping) else image
        if not isinstance(path, str):
            return None
        return os.path.relpath(path, self.source) if Path(path).is_absolute() else path

    def write(
        self, rows: Sequence[int], folder: Path, labels: Mapping[int, str] = MappingProxyType({})
    ) -> Path:
        """Write some rows into a folder, all their columns, in the form that they came in; returns
        the path. See `datainf.data.write`. `labels`: other ones than they have, by row, in words;
        they are written as what labels are there, numbers or names.

        Raises `OptionError` for a row that is not there, `DataError` for a label that no row has,
        and of whose classes the data know no such name, and for what cannot be read by now.
        """
        self._require_rows([*rows, *labels])
        changed = {
            row: {self.columns["label"]: self.as_label(row, text)} for row, text in labels.items()
        }
        return write_part(
            self.source, self._table, rows, folder, self.columns.get("image"), changed
        )

    def _require_rows(self, rows: Iterable[int]) -> None:
        """Rows count from 0, those beyond a limit too. From the end they do not: of some forms -1
        would be the last, and of others none."""
        for row in rows:
            if not 0 <= row < self.whole:
                raise OptionError(
                    f"{self.source} has {count(self.whole, 'row')}, and no row {row}",
                    remedy=f"rows from 0 to {self.whole - 1}",
                )

    def as_label(self, row: int, text: str) -> Any:
        """Another label for a row, said in words, as labels are there. Raises as `write`."""
        if "label" not in self.columns:
            raise DataError(f"{self.source} has no label that could be another")
        own = self._table.rows[row][self.columns["label"]]
        label = None if isinstance(own, list) else self._read_label(own, text)
        if label is None:
            known = range(len(self._class_names)) if self._class_names else self._labels
            numbers = "" if self.largest_label is None else "a number, such as "
            raise DataError(
                f"{self.where(row)}: the label is {own!r}, and {text!r} is none of the data's",
                remedy=numbers + f"one of {', '.join(map(str, list(known)[:20]))}",
            )
        return label

    def _read_label(self, own: Any, text: str) -> Any:
        """The label that a text says, of the kind of the row's own where it can be; None if the
        data have none such."""
        names = self._class_names
        known: Sequence[Any] = range(len(names)) if names else self._labels
        try:
            label = alike(own, text)  # pages show indices, so a name that is a number comes after
        except ValueError:
            label = None
        if label is not None and label in known:
            return label
        if names:
            return names.index(text) if text in names else None
        same = (one for one in known if str(one) == text)  # of another kind, in a file of JSON
        return next(same, self._number(own, text))

    def _number(self, own: Any, text: str) -> float | str | None:
        """A number that is a label where labels are numbers, as a text where they are texts."""
        if self.largest_label is None or not NUMBER.fullmatch(plain := text.strip()):
            return None
        if abs(float(plain)) > self.largest_label:
            return None
        return plain if isinstance(own, str) else float(plain)

    @cached_property
    def _labels(self) -> list[Any]:
        """What the rows have for labels, each once; none where they are lists."""
        plain = (one for one in self._each_label() if isinstance(one, str | int | float))
        return list({(type(one), one): one for one in plain}.values())  # 1, 1.0 and true are three

    @cached_property
    def largest_label(self) -> float | None:
        """Where labels are numbers, as of a regression, the largest that the column can hold; None
        where they are classes. Numbers they are if all can be read as such and one is a float, or a
        text that no class index is: with a point or an exponent."""
        if "label" not in self.columns or self._class_names:
            return None
        labels = self._labels
        if not all(map(_is_number, labels)) or not any(map(_is_no_index, labels)):
            return None
        feature = getattr(self._table.rows, "features", {}).get(self.columns["label"])
        kind = str(getattr(feature, "dtype", ""))
        return float(np.finfo(kind if kind in ("float16", "float32") else "float64").max)

    @property
    def _class_names(self) -> list[str]:
        """Of labels that are indices of classes whose names the data know."""
        feature = getattr(self._table.rows, "features", {}).get(self.columns["label"])
        return list(getattr(feature, "names", None) or [])

    @cached_property
    def digest(self) -> str:
        """A fingerprint of the source's bytes, and of those of the images that it names; of a hub
        data set the one that `datasets` has for it."""
        path, files = Path(self.source), self._table.files
        if path.is_file():
            own = file_digest(path)
        else:
            own = digest([*map(file_digest, files)] if files else self._table.fingerprint)
        if "image" not in self.columns:
            return own
        return digest([own, pictures_digest(row["image"] for row in self)])

    def _check(self) -> list[int | str]:
        ids, seen = list[int | str](), dict[str, int]()  # tables and --query know ids as texts
        for row in range(self._length):
            try:
                example = self[row]
                check_row(example)
                if "image" in example:
                    check_picture(example["image"])
                identifier = self._identifier(row)
            except DataError as error:
                raise DataError(
                    f"{self.where(row)}: {error.message}", remedy=error.remedy
                ) from None
            if (before := seen.setdefault(str(identifier), row)) != row:
                like = "" if ids[before] == identifier else f", as {ids[before]!r}"
                raise DataError(
                    f"{self.where(row)}: the id {identifier!r} stands at {self.where(before)} too"
                    f"{like}",
                    remedy="--id-column with unique values, or no id column: rows are then counted",
                )
            ids.append(identifier)
        return ids

    def _identifier(self, row: int) -> int | str:
        if "id" not in self.columns:
            return row
        value = self._table.rows[row].get(self.columns["id"])
        if not isinstance(value, int | str) or value == "":
            raise DataError(f"the id is {value!r}", remedy="a number or a text in every row")
        require_letters("the id", str(value))
        return value


def _is_number(label: str | int | float) -> bool:
    if isinstance(label, str):
        return NUMBER.fullmatch(label.strip()) is not None
    return not isinstance(label, bool)


def _is_no_index(label: str | int | float) -> bool:
    if isinstance(label, str):
        return not label.strip().lstrip("+-").isdecimal()
    return isinstance(label, float)


def load(
    source: str | Path,
    task: TaskName | None = None,
    *,
    model: Candidates | None = None,
    columns: Columns = Columns(),  # noqa: B008 - frozen
    split: str | None = None,
    limit: int | None = None,
    role: str | None = None,
) -> Examples:
    """Read a `.jsonl`, `.json`, `.csv`, `.tsv` or `.parquet` file, a folder saved by `datasets` or
    of images, or a hub data set (`org/name` or `org/name:split`).

    Args:
        source: Path or hub id.
        task: What the rows are for; found from the model and the columns if None.
        model: What the model says of its task, if there is one and it says anything.
        columns: A person's own column names.
        split: Of a folder or hub data set with several.
        limit: Take the first rows only.
        role: What the rows are to a run, such as "training data", to say so where there are none.

    Raises:
        DataError: no such source, a malformed line, a missing column, an unusable row, an image
            that is not there; the message names file, row and line.
        OptionError: an unknown task, or a limit below 1.
    """
    if limit is not None and limit < 1:
        raise OptionError(f"the limit must be at least 1, got {limit}")
    source = str(source)
    table = read(source, split)
    if not len(table.rows):
        named = source if role is None else f"{source}, the {role},"
        raise DataError(f"{named} holds no row", remedy="at least one example")
    found = decide(_names(table, limit), columns, task=task, model=model, source=source)
    return Examples(source, table, found, limit)


def _names(table: Table, limit: int | None) -> list[str]:
    """All column names in order; a JSON row may lack a column that others have."""
    known = getattr(table.rows, "column_names", None)
    if known is not None:
        return list(known)
    names: dict[str, None] = {}
    for row in table.rows[:limit]:
        names.update(dict.fromkeys(row))
    return list(names)
