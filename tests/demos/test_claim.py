"""Whose a demo's folder is."""

from __future__ import annotations

import pytest

from datainf.demos.claim import MARKER, claim
from datainf.errors import OptionError


def test_an_empty_folder_and_its_own_are_taken(tmp_path):
    for _ in range(2):
        claim(tmp_path / "new", {"seed": 1})
    with pytest.raises(OptionError, match="other settings"):
        claim(tmp_path / "new", {"seed": 2})


@pytest.mark.parametrize("data", [b"{bad", b"", b"\xff\xfe{}", b"[" * 100_000, b"null", b"[1]"])
def test_a_damaged_marker_is_none(tmp_path, data):
    (tmp_path / MARKER).write_bytes(data)
    with pytest.raises(OptionError, match="not a demo's folder"):
        claim(tmp_path, {"seed": 1})
    assert (tmp_path / MARKER).read_bytes() == data


def test_a_folder_in_the_marker_s_place_is_none(tmp_path):
    (tmp_path / MARKER).mkdir()
    with pytest.raises(OptionError, match="not a demo's folder"):
        claim(tmp_path, {"seed": 1})
