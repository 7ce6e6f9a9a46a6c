"""Stores in object storage: the same bytes and scores as on a disk, whatever fails on the way."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import fsspec
import pytest
import torch

from conftest import make_model, make_rows, make_tokenizer
from datainf import GradientStore, attribute, attribute_top, collect, collect_curvature, tasks
from datainf.applications.verify import verify
from datainf.errors import (
    StoreBusyError,
    StoreCorruptError,
    StoreError,
    StoreIncompleteError,
    StoreMismatchError,
    WriteError,
)
from datainf.files import locked
from datainf.remote import lock, objects, place
from datainf.store import SAMPLE, Index
from object_storage import SECRET
from smaller import make_smaller, random_gradients

pytest_plugins = ["object_storage"]

SECOND = "shard-00001.safetensors"
ROWS = make_rows("llama") * 2
OPTIONS = {"shard_rows": 3, "batch_tokens": 60}


def collected(out, rows=ROWS, **options):
    tokenizer = make_tokenizer(pad_token="<pad>", eos_token="<eos>")
    return collect(
        make_model("llama"), rows, tasks.CausalLM(tokenizer), out=out, **(OPTIONS | options)
    )


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """On the disk."""
    return collected(tmp_path_factory.mktemp("here"))


def contents(folder) -> dict[str, bytes]:
    """Name → bytes of the files in it, but for the lock of a folder on a disk."""
    found = [path for path in place(folder).iterdir() if path.is_file()]
    return {path.name: path.read_bytes() for path in found if path.name != ".lock"}


def flip(path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture(params=["memory", "s3_bucket", "google_bucket"])
def url(request):
    return f"{request.getfixturevalue(request.param)}/run/train"


def test_the_bytes_and_the_scores_are_those_of_a_store_on_a_disk(here, url):
    there = collected(url)
    assert str(there.path) == url
    assert contents(url) == contents(here.path)
    assert there.ids == here.ids
    for options in ({"method": "ridge"}, {"method": "exact", "blocks": "model"}):
        found = attribute(url, url, **options).values
        assert torch.equal(found, attribute(here, here, **options).values)
    top, wanted = (attribute_top(store, store, k=2) for store in (url, str(here.path)))
    assert torch.equal(top.helpful.scores, wanted.helpful.scores)
    verified = verify(url)
    assert (verified.files, verified.faults) == (5, [])
    assert len(collected(url)) == 12  # is there, and opened as it is


def test_all_that_a_store_can_have_beside_its_shards(url, tmp_path):
    gradients = random_gradients(9, 0)
    options = {"kept": [1, 5], "moments": {n: G.square().mean(0) for n, G in gradients.items()}}
    stores = [
        make_smaller(folder, gradients, "int8", **options)
        for folder in (place(url), tmp_path / "here")
    ]
    for name, v in stores[1].second_moments.items():
        assert torch.equal(stores[0].second_moments[name], v)
    for name, block in stores[1].sample.blocks.items():
        assert torch.equal(stores[0].sample.blocks[name].to_dense(), block.to_dense())
    values = [attribute(one, one, "datainf", metric="adam").values for one in stores]
    assert torch.equal(*values)
    assert stores[0].pick([3, 8]).ids == [3, 8]
    assert verify(url).faults == []
    assert url in repr(stores[0])
    assert url in stores[0]._repr_html_()


def test_curvature_and_projection(url, tmp_path):
    model, tokenizer = make_model("llama"), make_tokenizer(pad_token="<pad>", eos_token="<eos>")
    stores = [
        collect_curvature(model, ROWS, tasks.CausalLM(tokenizer), out=out, rows=4, project=2)
        for out in (f"{url}/drawn", tmp_path / "drawn")
    ]
    assert contents(stores[0].path) == contents(stores[1].path)
    assert contents(stores[0].path / SAMPLE) == contents(stores[1].path / SAMPLE)


def test_a_store_is_opened_by_one_listing(proxy, bucket):
    collected(f"{bucket}/train")
    proxy.seen.clear()
    GradientStore.open(f"{bucket}/train")
    assert sum("list-type" in path or "/o?" in path for _, path in proxy.seen) == 1
    assert [path for _, path in proxy.seen if "safetensors" in path] == []


def test_what_another_process_took_away_is_missed(bucket):
    collected(f"{bucket}/train")
    GradientStore.open(f"{bucket}/train")
    protocol = bucket.partition(":")[0]
    fsspec.filesystem(protocol, skip_instance_cache=True).rm_file(f"{bucket}/train/{SECOND}")
    with pytest.raises(StoreCorruptError, match=f"{SECOND} is missing"):
        GradientStore.open(f"{bucket}/train")


KILLED = textwrap.dedent("""
    import sys, time
    sys.path.insert(0, {tests!r})
    from datainf import tasks
    from datainf.tasks import CausalLM

    class Slow(CausalLM):
        def losses(self, model, batch):
            time.sleep(0.3)
            return super().losses(model, batch)

    tasks.CausalLM = Slow
    sys.path.insert(0, {tests!r} + "/remote")
    from test_remote_store import collected
    collected({url!r})
""")


def test_a_killed_collection_goes_on_to_the_same_bytes(here, bucket):
    url, tests = f"{bucket}/train", str(Path(__file__).parents[1])
    code = KILLED.format(tests=tests, url=url)
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ})
    deadline, folder = time.monotonic() + 120, place(url)
    while not (folder / SECOND).exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = contents(url)
    assert ".lock-1" in before
    assert 2 <= sum("shard" in name for name in before) < 4
    with pytest.raises(StoreIncompleteError):
        GradientStore.open(url)
    started = time.monotonic()
    collected(url)
    assert time.monotonic() - started > lock.LEASE
    after = contents(url)
    assert after == contents(here.path)
    done = [shard["file"] for shard in json.loads(before["index.json"])["shards"]]
    assert all(before[name] == after[name] for name in done)


@pytest.mark.parametrize("how", [500, 503, "drop", "lose"])
def test_an_upload_that_fails_is_tried_again(here, proxy, bucket, how):
    proxy.failing("PUT", SECOND, how, times=3)
    collected(f"{bucket}/train")
    assert contents(f"{bucket}/train") == contents(here.path)
    assert sum(method == "PUT" and SECOND in path for method, path in proxy.seen) >= 4


def test_a_large_object_goes_to_google_in_parts_one_of_which_is_lost(
    google, google_bucket, tmp_path
):
    local, path = tmp_path / "large", place(f"{google_bucket}/large")
    local.write_bytes(random.Random(0).randbytes(6 * 2**20))
    google.failing("POST", "upload_id=", 503, times=1)
    objects.put_file(local, path)
    assert sum("upload_id=" in asked for _, asked in google.seen) >= 2
    objects.fetch(path, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == local.read_bytes()
    assert objects.read(path, 2**20 - 3, 2**20) == local.read_bytes()[2**20 - 3 : 2**20]


def test_the_address_of_an_upload_that_fails_is_not_told(google, google_bucket, tmp_path):
    """Who has it can write there."""
    local, path = tmp_path / "large", place(f"{google_bucket}/large")
    local.write_bytes(bytes(6 * 2**20))
    google.fault = lambda _, asked: 403 if "upload_id=" in asked else None
    with pytest.raises(WriteError, match=r"Forbidden: http.*&upload_id=\*\*\*") as caught:
        objects.put_file(local, path)
    sessions = {asked.partition("upload_id=")[2] for _, asked in google.seen} - {""}
    assert sessions
    assert all(session not in str(caught.value) for session in sessions)


def test_an_upload_that_loses_bytes_is_tried_again(here, bucket, monkeypatch):
    """As a storage or a gateway between that stores half of what it was sent."""
    folder = place(f"{bucket}/train")
    put_file, times = folder.fs.put_file, iter([True])

    def half(local, path):
        if SECOND in path and next(times, False):
            folder.fs.pipe_file(path, Path(local).read_bytes()[:100])
        else:
            put_file(local, path)

    monkeypatch.setattr(folder.fs, "put_file", half)
    collected(str(folder))
    assert contents(str(folder)) == contents(here.path)
    assert next(times, None) is None


@pytest.mark.parametrize(
    ("part", "how", "remedy"),
    [
        (SECOND, 500, "same command"),
        (SECOND, 403, "keys that may"),
        ("index.json", 500, "same command"),
    ],
)
def test_what_cannot_be_uploaded_leaves_what_is_there(here, proxy, bucket, part, how, remedy):
    url = f"{bucket}/train"
    done = []

    def fault(method, path):
        if method == "PUT" and "shard-00000" in path:
            done.append(path)
        failing = method == "PUT" and part in path and (part == SECOND or done)
        return how if failing else None

    proxy.fault = fault
    with pytest.raises(WriteError, match=f"cannot write {url}/.*{part[:5]}") as caught:
        collected(url)
    assert remedy in caught.value.remedy
    assert "What was finished before is kept" in caught.value.message
    assert ("tried 5 times" in caught.value.message) == (how == 500)
    proxy.fault = lambda *_: None
    left = contents(url)
    shards = json.loads(left["index.json"])["shards"]
    assert [shard["file"] for shard in shards] == ["shard-00000.safetensors"][: part == SECOND]
    assert shards == [shard.plain() for shard in here.index.shards[: len(shards)]]
    assert ".lock-1" not in left
    puts = len([path for method, path in proxy.seen if method == "PUT" and "shard-00000" in path])
    collected(url)
    assert contents(url) == contents(here.path)
    again = len([path for method, path in proxy.seen if method == "PUT" and "shard-00000" in path])
    assert again - puts == 1 - len(shards)


def test_a_flipped_byte_is_found_named_and_made_again(here, url, cache_folder):
    collected(url)
    broken = place(f"{url}/{SECOND}")
    flip(broken)
    found = verify(url)  # not of the copy that is on this machine
    assert [(str(fault.path), fault.rows) for fault in found.faults] == [
        (f"{url}/{SECOND}", range(3, 6))
    ]
    for path in cache_folder.iterdir():
        path.unlink()
    with pytest.raises(StoreCorruptError, match=f"{url}/{SECOND}.*checksum"):
        attribute(url, url, "datainf")
    collected(url)
    assert contents(url) == contents(here.path)
    assert verify(url).faults == []


def uploads(monkeypatch, folder):
    """Names of the shards that are put there."""
    found, put = [], folder.fs.put_file

    def put_file(local, path, *arguments, **options):
        found.append(path.rpartition("/")[2])
        return put(local, path, *arguments, **options)

    monkeypatch.setattr(folder.fs, "put_file", put_file)
    return found


def unfinished(url):
    """A store without its last shard, as a killed run leaves it."""
    collected(url)
    path = place(f"{url}/index.json")
    index = Index.load(path.parent)
    del index.shards[-1]
    index.save(path.parent)


def test_a_shard_that_was_damaged_there_is_made_again_though_the_copy_is_good(
    here, url, monkeypatch
):
    unfinished(url)
    flip(place(f"{url}/{SECOND}"))
    found = uploads(monkeypatch, place(url))
    collected(url)
    assert found == [SECOND, "shard-00003.safetensors"]
    assert contents(url) == contents(here.path)


def test_a_copy_that_was_damaged_here_makes_no_shard_again(here, url, cache_folder, monkeypatch):
    unfinished(url)
    for path in cache_folder.iterdir():
        content = bytearray(path.read_bytes())
        content[20] ^= 1  # in its header
        path.write_bytes(content)
    found = uploads(monkeypatch, place(url))
    collected(url)
    assert found == ["shard-00003.safetensors"]
    assert contents(url) == contents(here.path)


def test_a_shard_that_is_gone_or_cut_is_named(url):
    collected(url)
    path = place(f"{url}/{SECOND}")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreCorruptError, match=rf"{url}/{SECOND} has \d+ bytes"):
        GradientStore.open(url)
    path.unlink()
    with pytest.raises(StoreCorruptError, match=f"{url}/{SECOND} is missing"):
        GradientStore.open(url)
    assert [str(fault.path) for fault in verify(url).faults] == [str(path)]


def test_an_index_that_was_changed_is_refused(url):
    collected(url)
    path = place(f"{url}/index.json")
    path.write_bytes(path.read_bytes().replace(b'"n": 12', b'"n": 13'))
    with pytest.raises(StoreCorruptError, match=f"{url}/index.json"):
        GradientStore.open(url)


def test_a_store_of_something_else_is_refused(url):
    collected(url)
    before = contents(url)
    with pytest.raises(StoreMismatchError, match=f"{url} holds a store"):
        collected(url, rows=ROWS[:5])
    assert contents(url) == before


def test_the_second_writer_is_told(url):
    with locked(place(url)), pytest.raises(StoreBusyError, match=url):
        collected(url)


def test_reads_that_fail_are_tried_again(here, proxy, bucket, cache_folder):
    collected(f"{bucket}/train")
    for path in cache_folder.iterdir():
        path.unlink()
    for how in (500, "drop"):
        proxy.failing("GET", "", how, times=2)
        found = attribute(f"{bucket}/train", f"{bucket}/train", "datainf").values
        assert torch.equal(found, attribute(here, here, "datainf").values)


@pytest.mark.parametrize(
    ("how", "remedy"), [(403, "keys that may read"), (500, "when the storage can be reached")]
)
def test_a_storage_that_refuses_to_be_read(proxy, bucket, how, remedy):
    collected(f"{bucket}/train")
    asked = {"GET": (GradientStore.open, verify, collected)}
    if bucket.startswith("s3:"):  # Google's storage is asked for an object's size by GET too
        asked["HEAD"] = (collected,)
    for method, readings in asked.items():
        proxy.failing(method, "", how)
        for reading in readings:
            with pytest.raises(StoreError, match=f"cannot read {bucket}/train") as caught:
                reading(f"{bucket}/train")
            assert remedy in caught.value.remedy


@pytest.mark.usefixtures("s3_bucket")
def test_no_such_bucket():
    for reading in (GradientStore.open, verify, collected):
        with pytest.raises((StoreError, WriteError), match="bucket does not exist") as caught:
            reading("s3://no-such-bucket/train")
        assert "make the bucket" in caught.value.remedy


@pytest.mark.usefixtures("google_bucket")
def test_no_such_bucket_of_google():
    """Which says of an object that it is not there, and no more, to who reads."""
    with pytest.raises(StoreError, match="is not a gradient store"):
        GradientStore.open("gs://no-such-bucket/train")
    with pytest.raises(WriteError, match=r"cannot write gs://.*: not found: http") as caught:
        collected("gs://no-such-bucket/train")
    assert caught.value.remedy == "make the bucket, or check its name"


def test_no_such_store(bucket):
    with pytest.raises(StoreError, match="is not a gradient store"):
        GradientStore.open(f"{bucket}/nothing")


@pytest.mark.parametrize(("how", "told"), [(403, "Forbidden"), (401, "401")])
def test_google_s_keys_are_named_at_once(google, google_bucket, how, told):
    google.failing("GET", "", how)
    google.seen.clear()
    with pytest.raises(StoreError, match=f"{google_bucket}/train.*{told}") as caught:
        GradientStore.open(f"{google_bucket}/train")
    assert "GOOGLE_APPLICATION_CREDENTIALS" in caught.value.remedy
    assert len(google.seen) == 1


@pytest.fixture
def _new_client(s3_bucket):  # noqa: ARG001 - on whose server it is
    """One that reads the environment anew, now and afterwards."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.usefixtures("_new_client")
def test_no_keys(s3_bucket, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreError, match=rf"{s3_bucket}/train.*[Cc]redentials") as caught:
        GradientStore.open(f"{s3_bucket}/train")
    assert "keys that may read" in caught.value.remedy


@pytest.mark.usefixtures("_new_client")
def test_no_server(s3_bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match=rf"{s3_bucket}/train.*127\.0\.0\.1:9") as caught:
        make_smaller(place(f"{s3_bucket}/train"), random_gradients(3, 0))
    assert "goes on from here" in caught.value.remedy


def test_no_secret_is_written(s3_bucket, caplog):
    with caplog.at_level("INFO"):
        collected(f"{s3_bucket}/train")
    written = b"".join(contents(f"{s3_bucket}/train").values()) + caplog.text.encode()
    assert SECRET.encode() not in written
    assert s3_bucket.encode() not in written
