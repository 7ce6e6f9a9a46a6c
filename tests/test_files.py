"""Whole files or none."""

from __future__ import annotations

import errno
import os

import pytest

from datainf.errors import WriteError
from datainf.files import make_folder, write_atomically, writing


def test_a_write_replaces_the_whole_file(tmp_path):
    path = tmp_path / "file"
    for content in (b"a long first version", b"short"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_failed_write_leaves_the_old_file_and_nothing_aside(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match=r"No space left on device.*is kept") as caught:
        write_atomically(path, b"new")
    assert "goes on from here" in caught.value.remedy
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(WriteError, match="cannot write") as caught:
            make_folder(folder)
        assert "a file stands in its place" in caught.value.remedy


def test_refusals_say_what_to_do(tmp_path):
    for code in (errno.EACCES, errno.EROFS):
        with pytest.raises(WriteError) as caught, writing(tmp_path):
            raise OSError(code, os.strerror(code))
        assert caught.value.remedy
