"""What people give for a store's folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from datainf.errors import OptionError
from datainf.files import make_folder
from datainf.remote import forbid_url, is_remote, place
from datainf.remote.tries import LONGEST, refused

pytest_plugins = ["object_storage"]


@pytest.mark.parametrize(
    "given", ["run/train", "/run/train", Path("run"), "C:/x", "a:b", "ab::cd", "ab:c::d"]
)
def test_a_folder_is_its_path(given):
    assert place(given) == Path(given)
    assert not is_remote(place(given))


def test_a_file_url_is_its_path(tmp_path):
    assert place(f"file://{tmp_path}") == tmp_path
    assert place(f"file://localhost{tmp_path}/") == tmp_path


def test_a_url_goes_on_as_paths_do(memory):
    found = place(f"{memory}/train/")
    assert is_remote(found)
    assert str(found / "index.json") == f"{memory}/train/index.json"
    assert place(found) == found


def test_an_entry_of_a_folder_is_its_path(tmp_path):
    (tmp_path / "train").mkdir()
    with os.scandir(tmp_path) as entries:
        found = [place(entry) for entry in entries]
    assert found == [tmp_path / "train"]
    assert not is_remote(found[0])
    with pytest.raises(TypeError):
        place(None)


def test_an_empty_path_is_not_the_folder_that_one_stands_in():
    with pytest.raises(OptionError, match="a path is empty"):
        place("")
    assert place(".") == Path()


def test_a_person_s_own_upath_goes_by_its_url(memory, tmp_path):
    upath = pytest.importorskip("upath")
    assert place(upath.UPath(f"file://{tmp_path}")) == tmp_path
    assert not is_remote(place(upath.UPath(f"file://{tmp_path}")))
    found = place(upath.UPath(f"{memory}/train"))
    assert found.storage_options["use_listings_cache"] is False
    with pytest.raises(OptionError, match="a query"):
        place(upath.UPath(f"{memory}/train?signature=hidden"))
    with pytest.raises(OptionError, match="options of its own: endpoint_url"):
        place(upath.UPath(f"{memory}/train", endpoint_url="http://elsewhere"))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://key:hidden@bucket/run", "s3://bucket/…"),
        ("s3://hidden@bucket/run", "s3://bucket/…"),
        ("https://user:hidden@host/run", "https://host/…"),
        ("s3://bucket/run?X-Amz-Signature=hidden", "s3://bucket/run"),
        ("abfs://box:hidden@account/run", "abfs://account/…"),
    ],
)
def test_secrets_in_a_url_are_refused_and_not_repeated(url, shown):
    with pytest.raises(OptionError) as caught:
        place(url)
    assert "hidden" not in str(caught.value)
    assert shown in str(caught.value)
    assert "AWS_ACCESS_KEY_ID" in caught.value.remedy
    with pytest.raises(OptionError) as caught:
        forbid_url(url, "a run")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "simplecache::s3://key:hidden@bucket/run",
        "blockcache::simplecache::s3://key:hidden@bucket/run",
        "zip://a.zip::s3://key:hidden@bucket/run",
        "simplecache::s3:/key:hidden@bucket/run",
    ],
)
def test_a_chain_of_protocols_is_no_folder(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for refusing in (place, make_folder, lambda url: forbid_url(url, "a run")):
        with pytest.raises(OptionError, match="several protocols") as caught:
            refusing(url if refusing is not make_folder else Path(url))
        assert "hidden" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_container_s_name_is_no_secret(monkeypatch):
    monkeypatch.setitem(sys.modules, "upath", None)
    with pytest.raises(OptionError, match="not installed"):
        place("abfs://box@account.dfs.core.windows.net/run")


def test_without_the_libraries_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "upath", None)
    with pytest.raises(OptionError, match=r"s3://bucket/run: .*not installed") as caught:
        place("s3://bucket/run")
    assert "datainf[remote]" in caught.value.remedy


@pytest.mark.parametrize("url", ["s3://", "nothing-such://bucket/run"])
def test_a_url_that_names_nothing(url):
    pytest.importorskip("upath")
    with pytest.raises(OptionError, match=url):
        place(url)


def test_a_path_made_of_a_url_is_not_taken_for_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for refusing in (place, make_folder):
        with pytest.raises(OptionError, match="s3:/bucket/run"):
            refusing(Path("s3://bucket/run"))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "s3:" / "bucket").mkdir(parents=True)
    assert place(Path("s3:/bucket")) == Path("s3:/bucket")


def test_messages_of_libraries_lose_their_secrets():
    told = "no answer from http://me:hidden@host:9000/b/k?X-Amz-Credential=hidden&x=1 at all"
    message = refused(Path("train"), OSError(told)).message
    assert "no answer from http://***@host:9000/b/k?X-Amz-Credential=***&x=1 at all" in message


def test_a_secret_that_a_message_breaks_off_in_is_none_that_it_says():
    told = "x" * (LONGEST - 12) + "http://me:hidden@host"
    assert "me:" not in refused(Path("train"), OSError(told)).message
