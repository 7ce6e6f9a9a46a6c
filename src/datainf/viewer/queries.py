"""Queries of a run by what is sought in them: their whole texts, their labels, their files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from datainf.report.contents import MOST_FILES, MOST_LABELS, Contents
from datainf.report.examples import label_of
from datainf.viewer.lists import Sought


class Queries:
    """The queries of a run."""

    def __init__(self, contents: Contents) -> None:
        self.contents = contents

    def found(self, sent: Mapping[str, Any]) -> dict[str, Any]:
        """`rows` of the queries that have what is sought, ascending; and the `labels` and `files`
        that there are, none of more than a page lets choose among. Raises `OptionError` for what no
        page of ours would ask."""
        sought = Sought.of(sent)
        rows = [row for row in range(len(self._labels)) if self._has(row, sought)]
        return {"rows": rows, **self._choices}

    def _has(self, row: int, sought: Sought) -> bool:
        return (
            (sought.label is None or self._labels[row] == sought.label)
            and (not sought.file or self.contents.query.file(row) == sought.file)
            and (not sought.text or sought.text in self._text(row))
        )

    def _text(self, row: int) -> str:
        """What is searched in a query. It is not kept: queries are few beside training examples."""
        name = self.contents.label_name(self._labels[row]) or ""
        return f"{self.contents.query.searched(row)}\n{name}".lower()

    @cached_property
    def _labels(self) -> list[str | None]:
        queries = self.contents.subject.run.query
        return [label_of(queries[row]) for row in range(len(queries))]

    @cached_property
    def _choices(self) -> dict[str, list[str]]:
        labels = sorted({label for label in self._labels if label is not None})
        files = sorted({self.contents.query.file(row) for row in range(len(self._labels))})
        return {
            "labels": labels if len(labels) <= MOST_LABELS else [],
            "files": files if len(files) <= MOST_FILES else [],
        }
