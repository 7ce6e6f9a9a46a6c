"""Numbers as people read them."""

from __future__ import annotations

import pytest

from datainf import words


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (812, "812 bytes"), (999.6, "1.0 kB"), (65_536, "65.5 kB"), (131e6, "131 MB"),
     (999.9e6, "1.0 GB"), (41.23e9, "41.2 GB"), (3e12, "3.0 TB"), (5e18, "5,000 PB")],
)  # fmt: skip
def test_sizes(count, text):
    assert words.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.9, "9.9 s"), (48.2, "48 s"), (119, "119 s"), (200, "3.3 min"),
     (720, "12 min"), (7100, "118 min"), (3 * 3600, "3.0 hours"), (47 * 3600, "47 hours"),
     (2 * 86400, "2.0 days"), (30 * 86400, "30 days")],
)  # fmt: skip
def test_durations(seconds, text):
    assert words.duration(seconds) == text


def test_counts():
    assert words.count(1, "tensor") == "1 tensor"
    assert words.count(1024, "tensor") == "1,024 tensors"
    assert words.count(2, "batch", "batches") == "2 batches"


def test_rows():
    assert words.rows(range(1)) == "row 0"
    assert words.rows(range(2, 1026)) == "rows 2 to 1,025"


def test_lists():
    assert [words.listed(list("abc")[:k]) for k in (1, 2, 3)] == ["a", "a and b", "a, b and c"]


def test_settings():
    values = {"damping": "rows:2.2222222222222223", "metric": "none", "steps": 3, "other": "a:b"}
    assert words.settings(values) == "damping rows:2.222, metric none, steps 3, other a:b"
    assert words.settings({}) == ""
