"""The bytes, examples and tokens of stores, beside those of stores that were written."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from conftest import make_model, make_rows
from datainf import GradientStore, collect, tasks
from datainf.errors import StoreMismatchError
from datainf.files import free_bytes
from datainf.gradients import batches as batches_module
from datainf.gradients import collector, prepare
from datainf.gradients.parameters import select
from datainf.planning import disk
from datainf.planning.compression import CHOICES, Compression
from datainf.planning.stores import Stores
from datainf.progress import Silent
from datainf.store import SAMPLE
from datainf.store.writer import NOTE

FORMS = [*CHOICES, Compression("float16"), Compression("int8", 3)]


@pytest.fixture(scope="module")
def model():
    return make_model("llama")


@pytest.fixture
def rows():
    return [row | {"id": f"r{10**i}"} for i, row in enumerate(make_rows("llama") * 3)]


@pytest.fixture
def task(tokenizer):
    return tasks.CausalLM(tokenizer)


def shard_files(folder):
    return sorted(folder.rglob("shard-*.safetensors"))


def bytes_of(folder):
    return sum(path.stat().st_size for path in shard_files(folder))


def options(form):
    return {"dtype": form.store, "project": form.project}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.options)
def test_bytes_are_those_that_are_written(form, model, rows, task, tmp_path):
    out = tmp_path / "s"
    pending = prepare(model, rows, task, out=out, progress=Silent(), **options(form))
    planned = Stores(pending, [None]).plan("s")
    collect(model, rows, task, out=out, **options(form))
    assert len(shard_files(out)) == 1 + pending.index.is_smaller
    assert planned.bytes == planned.missing_bytes == bytes_of(out)
    # The same by way of a store in another form.
    other = prepare(model, rows, task, out=out, dtype="bfloat16", progress=Silent())
    assert sum(found.missing_bytes(other) for found in form.rows(other)) == bytes_of(out)
    assert planned.in_full == (len(GradientStore.open(out / SAMPLE)) if form.rows(other)[1:] else 0)


def test_headers_of_several_shards_are_counted_as_alike(model, rows, task, tmp_path):
    out = tmp_path / "s"
    pending = prepare(model, rows, task, out=out, shard_rows=4, progress=Silent())
    planned = Stores(pending, [out]).plan("s")
    (form,) = Compression().rows(pending)
    assert form.missing_bytes(pending) == planned.bytes
    collect(model, rows, task, out=out, shard_rows=4)
    assert len(shard_files(out)) == 5
    assert abs(planned.bytes - bytes_of(out)) < 8 * 5 * len(pending.index.blocks)


@pytest.mark.parametrize("form", [Compression(), Compression("int8")], ids=lambda f: f.options)
def test_all_else_in_a_store_is_little(form, model, rows, task, tmp_path):
    """Second moments are counted; index.json and the moments' header are some hundred bytes a
    tensor."""
    moments = {name: torch.ones_like(p) for name, p in select(model).items()}
    more = {"second_moments": moments, **options(form)}
    pending = prepare(model, rows, task, out=tmp_path / "s", progress=Silent(), **more)
    planned = Stores(pending, [None]).plan("s")
    stores = 2 if pending.index.is_smaller else 1
    bare = prepare(model, rows, task, out=tmp_path / "s", progress=Silent(), **options(form))
    own = 4 * stores * sum(v.numel() for v in moments.values())
    assert planned.bytes == Stores(bare, [None]).plan("s").bytes + own
    collect(model, rows, task, out=tmp_path / "s", **more)
    files = [path for path in (tmp_path / "s").rglob("*") if path.is_file()]
    rest = sum(path.stat().st_size for path in files) - planned.bytes
    assert 0 < rest < stores * 600 * (len(pending.index.blocks) + 2)


def test_examples_and_tokens_are_the_index_s(model, rows, task, tmp_path):
    pending = prepare(model, rows, task, out=tmp_path / "s", progress=Silent())
    planned = Stores(pending, [None, None, None]).plan("train")
    store = collect(model, rows, task, out=tmp_path / "s")
    lengths = [len(task.for_model(model).encode(row)["input_ids"]) for row in rows]
    assert (planned.name, planned.examples) == ("train", len(store))
    assert planned.tokens == store.index.notes["tokens"] == sum(lengths)
    assert planned.longest == max(lengths)
    assert planned.shard_rows == store.index.shard_rows
    assert planned.done == 0
    assert planned.bytes == 3 * bytes_of(tmp_path / "s")


def test_what_is_done_is_not_counted_again(model, rows, task, tmp_path):
    out, more = tmp_path / "s", {"shard_rows": 5, "dtype": "int8"}
    store = collect(model, rows, task, out=out, **more)
    whole = bytes_of(out)
    store.index.shards = store.index.shards[:2]
    store.index.save(out)
    pending = prepare(model, rows, task, out=out, progress=Silent(), **more)
    stores = Stores(pending, [out, tmp_path / "elsewhere"])
    planned = stores.plan("s")
    left = sum(path.stat().st_size for path in sorted(out.glob("shard-*"))[2:])
    assert planned.done == 10
    assert abs(planned.missing_bytes - left - whole) < 16 * len(pending.index.blocks) * 4
    assert stores.missing_shards == [
        range(10, 15), range(15, 18), range(5), range(5, 10), range(10, 15), range(15, 18),
    ]  # fmt: skip
    collect(model, rows, task, out=out, **more)
    there = Stores(pending, [out])
    assert not there.is_missing
    assert there.plan("s").missing_bytes == 0
    assert there.batches() == []


def test_finished_shards_in_no_index_are_done(model, rows, task, tmp_path):
    """As a killed torchrun leaves them, whose processes only note what they have finished."""
    out, more = tmp_path / "s", {"shard_rows": 5}
    store = collect(model, rows, task, out=out, **more)
    noted = store.index.shards[1:]
    for shard in noted:
        (out / shard.file).with_suffix(NOTE).write_text(json.dumps(shard.plain()))
    store.index.shards = []
    store.index.save(out)
    pending = prepare(model, rows, task, out=out, progress=Silent(), **more)
    stores = Stores(pending, [out])
    planned = stores.plan("s")
    assert planned.done == 13
    assert stores.missing_shards == [range(5)]
    assert sum(batch.rows for batch in stores.batches(100)) == 5
    first = (out / "shard-00000.safetensors").stat().st_size
    assert abs(planned.missing_bytes - first) < 16 * len(pending.index.blocks)


def test_a_store_of_something_else_is_in_the_way(model, rows, task, tmp_path):
    collect(model, rows, task, out=tmp_path / "s")
    pending = prepare(model, rows[:5], task, out=tmp_path / "s", progress=Silent())
    with pytest.raises(StoreMismatchError, match="the number of examples"):
        Stores(pending, [tmp_path / "s"])
    Stores(pending, [None])


def test_batches_are_those_that_are_taken(model, rows, task, tmp_path, monkeypatch):
    heard = []
    monkeypatch.setattr(collector, "token_budget", lambda *_: 150)
    out = tmp_path / "s"
    pending = prepare(model, rows, task, out=out, dtype="int8", shard_rows=10, progress=Silent())
    pending.settle({})
    planned = Stores(pending, [out]).batches()
    pending.collect(Silent(), lambda tokens, seconds: heard.append((tokens, seconds)))
    assert sorted(batch.padded for batch in planned) == sorted(tokens for tokens, _ in heard)
    assert all(seconds > 0 for _, seconds in heard)
    assert len(planned) > len(batches_module.PLACES) > 3
    assert sum(batch.rows for batch in planned) == 2 * len(rows), "the sample's too"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_that_are_kept_in_full_take_their_own_room(
    dtype, rows, task, tmp_path, monkeypatch
):
    """So do those of the start's check, of a store whose own are projected."""
    model = make_model("llama").to(dtype)
    full = dtype.itemsize * sum(p.numel() for p in select(model).values())
    monkeypatch.setattr(collector, "BATCH_GRADIENT_BYTES", 3 * full)
    pending = prepare(model, rows, task, out=tmp_path / "s", project=16, progress=Silent())
    pending.settle({})
    stores = Stores(pending, [None])
    found = stores.batches()
    assert {batch.row_bytes for batch in found} == {pending.collector.row_bytes, full}
    assert max(batch.rows for batch in found if batch.row_bytes == full) == 3
    assert pending.sample().collector.row_bytes == full
    longest = max(pending.survey.lengths)
    assert stores.checked() == (3, longest, full)
    assert stores.checked(1) == (1, longest, full)


def test_what_a_killed_run_left_unfinished_makes_room(model, rows, task, tmp_path):
    out, options = tmp_path / "s", {"dtype": "int8"}
    collect(model, rows, task, out=out, **options)
    (out / "shard-00001.safetensors.tmp").write_bytes(b"0" * 700)
    (out / SAMPLE / "shard-00000.safetensors.tmp").write_bytes(b"0" * 60)
    pending = prepare(model, rows, task, out=out, progress=Silent(), **options)
    stores = Stores(pending, [out, tmp_path / "nowhere"])
    assert stores.leftover_bytes == 760
    assert Stores(pending, [None]).leftover_bytes == 0
    there = disk.disk_of(tmp_path, [stores.plan("s")], 0, stores.leftover_bytes)
    assert there.free - free_bytes(tmp_path) == pytest.approx(760, abs=10**8)


def test_a_store_of_other_data_at_a_later_checkpoint_is_in_the_way(model, rows, task, tmp_path):
    first, second = tmp_path / "checkpoint-1" / "s", tmp_path / "checkpoint-2" / "s"
    trained = make_model("llama")
    with torch.no_grad():
        next(p for p in trained.parameters() if p.requires_grad).add_(1)
    collect(trained, rows, task, out=second)
    pending = prepare(model, rows, task, out=first, progress=Silent())
    assert Stores(pending, [first, second]).plan("s").done == len(rows), "of other weights"
    shutil.rmtree(second)
    collect(trained, rows[1:] + rows[:1], task, out=second)
    with pytest.raises(StoreMismatchError, match=r"checkpoint-2.*the data set"):
        Stores(pending, [first, second])
    shutil.rmtree(second)
    collect(trained, rows, task, out=second, dtype="int8")
    with pytest.raises(StoreMismatchError, match="--store"):
        Stores(pending, [first, second])
