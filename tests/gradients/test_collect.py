"""Collection: order, resumption, refusal, and what bad input does."""

from __future__ import annotations

import errno
import functools
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time

import peft
import pytest
import torch
from torch import nn

from conftest import make_base, make_model, make_rows, make_tokenizer
from datainf import GradientStore, attribute, collect, tasks
from datainf.errors import (
    DataError,
    ModelError,
    NonFiniteError,
    OptionError,
    StoreBusyError,
    StoreCorruptError,
    StoreError,
    StoreIncompleteError,
    StoreMismatchError,
    VerificationError,
    WriteError,
)
from datainf.files import locked
from datainf.gradients import collector, layout
from datainf.gradients.engine import FallbackWarning
from datainf.gradients.parameters import select
from datainf.gradients.verify import one_at_a_time
from datainf.store import shards as shard_files


@pytest.fixture
def rows():
    return [row | {"id": f"r{i}"} for i, row in enumerate(make_rows("llama") * 3)]


@pytest.fixture
def task(tokenizer):
    return tasks.CausalLM(tokenizer)


def shards(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


def test_rows_stand_in_the_order_of_the_data(llama, rows, task, tmp_path):
    store = collect(llama, rows, task, out=tmp_path / "s", shard_rows=5, batch_tokens=120)
    assert store.ids == [f"r{i}" for i in range(18)]
    assert len(store.index.shards) == 4
    model, fitted = llama.eval(), task.for_model(llama)
    for i in (0, 7, 17):
        loss, truth = one_at_a_time(model, select(model), fitted, rows[i], torch.device("cpu"))
        assert store.losses[i] == pytest.approx(float(loss), rel=1e-5)
        for position, (name, gradient) in enumerate(truth.items()):
            found = store.blocks[name].to_dense()[i]
            assert torch.allclose(found, gradient, rtol=1e-4, atol=1e-6)
            assert store.sq_norms[i, position] == pytest.approx(
                float(found.square().sum()), rel=1e-5
            )


def test_the_probe_s_batches_are_noted_and_kept_when_a_store_is_continued(
    llama, rows, task, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(collector, "token_budget", lambda *given: asked.append(given) or 100)
    store = collect(llama, rows, task, out=tmp_path / "s", shard_rows=5)
    (_, kept, tokens) = asked[0]
    assert store.index.notes["batch_tokens"] == 100
    assert tokens == max(len(task.for_model(llama).encode(row)["input_ids"]) for row in rows)
    assert kept > 4 * 16 * tokens  # more than one hidden state
    whole = shards(tmp_path / "s")
    store.index.shards = store.index.shards[:1]
    store.index.save(tmp_path / "s")
    collect(llama, rows, task, out=tmp_path / "s", shard_rows=5)
    assert len(asked) == 1
    assert shards(tmp_path / "s") == whole
    alike = collect(llama, rows, task, out=tmp_path / "a", shard_rows=5, batch_tokens=100)
    assert shards(tmp_path / "a") == whole
    assert alike.index.notes["batch_tokens"] == 100


def test_shards_are_of_one_size(llama, rows, task, tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "SHARD_ROWS", 7)
    store = collect(llama, rows, task, out=tmp_path / "s")
    assert [shard.rows for shard in store.index.shards] == [6, 6, 6]
    monkeypatch.setattr(layout, "SHARD_BYTES", 2 * store.index.row_bytes + 1)
    store = collect(llama, rows, task, out=tmp_path / "t")
    assert [shard.rows for shard in store.index.shards] == [2] * 9


def test_batches_shards_and_order_change_nothing(llama, rows, task, tmp_path):
    one = collect(llama, rows, task, out=tmp_path / "a", batch_tokens=1)
    many = collect(llama, rows, task, out=tmp_path / "b", batch_tokens=10_000, shard_rows=4)
    back = collect(llama, rows[::-1], task, out=tmp_path / "c", batch_tokens=100)
    for name, matrix in one.blocks.items():
        truth = matrix.to_dense()
        scale = truth.norm()
        assert (many.blocks[name].to_dense() - truth).norm() < 1e-5 * scale
        assert (back.blocks[name].to_dense().flip(0) - truth).norm() < 1e-5 * scale
    assert back.ids == one.ids[::-1]


class Stopping:
    """Progress at which a person stops the work, after so many gradients."""

    def __init__(self, after):
        self.left = after

    def stage(self, what, total, done=0):  # noqa: ARG002
        def advance(units):
            self.left -= units
            if self.left < 0:
                raise KeyboardInterrupt

        return advance if what == "gradients" else lambda _: None


def test_a_stop_notes_what_is_kept(llama, rows, task, tmp_path):
    whole = collect(llama, rows, task, out=tmp_path / "whole", shard_rows=5, batch_tokens=50)
    out = tmp_path / "s"
    for after, kept, lost in ((0, 0, "0 to 4"), (5, 5, "5 to 9"), (12, 15, "15 to 17")):
        with pytest.raises(KeyboardInterrupt) as stopped:
            collect(llama, rows, task, out=out, shard_rows=5, batch_tokens=50,
                    progress=Stopping(after))  # fmt: skip
        (note,) = stopped.value.__notes__
        assert f"s: {kept} of 18 gradients are kept" in note
        assert f"the shard of rows {lost} starts again" in note
        assert len(shards(out)) == kept // 5
    collect(llama, rows, task, out=out, shard_rows=5, batch_tokens=50)
    assert shards(out) == shards(whole.path)


def test_other_shards_are_made_where_none_stands_yet(llama, rows, task, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        collect(llama, rows, task, out=tmp_path, progress=Stopping(0))
    for asked in (5, 7):  # of the second, the first shard is there
        store = collect(llama, rows, task, out=tmp_path, shard_rows=asked)
        assert [shard.rows for shard in store.index.shards] == [5, 5, 5, 3]
        store.index.shards = store.index.shards[:1]
        store.index.save(tmp_path)


KILLED = textwrap.dedent("""
    import sys, time
    sys.path.insert(0, {tests!r})
    from conftest import make_model, make_rows, make_tokenizer
    from datainf import collect, tasks

    class Slow(tasks.CausalLM):
        def losses(self, model, batch):
            time.sleep({pause})
            return super().losses(model, batch)

    tokenizer = make_tokenizer(pad_token="<pad>", eos_token="<eos>")
    collect(make_model("llama"), make_rows("llama") * 5, Slow(tokenizer), out={out!r},
            shard_rows=3, batch_tokens=60)
    print("finished")
""")


def start(out, pause):
    tests = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120
    code = KILLED.format(tests=tests, pause=pause, out=str(out))
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)


def test_a_killed_collection_goes_on_to_the_same_bytes(tmp_path):
    undisturbed = start(tmp_path / "whole", 0)
    process = start(tmp_path / "killed", 0.05)
    deadline = time.time() + 300
    while len(list((tmp_path / "killed").glob("shard-0000[23]*"))) < 1:
        assert time.time() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = shards(tmp_path / "killed")
    assert 1 <= len(kept) < 10
    with pytest.raises(StoreIncompleteError, match="of 30 examples"):
        GradientStore.open(tmp_path / "killed")
    (tmp_path / "killed" / "shard-00009.safetensors.tmp").write_bytes(b"left behind")
    again = start(tmp_path / "killed", 0)
    assert again.communicate()[0] == b"finished\n"
    assert undisturbed.communicate()[0] == b"finished\n"
    whole, resumed = shards(tmp_path / "whole"), shards(tmp_path / "killed")
    assert whole == resumed
    assert kept.items() <= resumed.items()
    stores = [GradientStore.open(tmp_path / name) for name in ("whole", "killed")]
    values = [attribute(store, store, "datainf").values for store in stores]
    assert torch.equal(values[0], values[1])


class Counting(tasks.CausalLM):
    calls = 0

    def losses(self, model, batch):
        Counting.calls += 1
        return super().losses(model, batch)


def test_a_finished_store_is_opened_after_a_look_at_two_examples(llama, rows, tokenizer, tmp_path):
    collect(llama, rows, Counting(tokenizer), out=tmp_path / "s")
    Counting.calls = 0
    assert len(collect(llama, rows, Counting(tokenizer), out=tmp_path / "s")) == 18
    assert Counting.calls == 2


def test_a_store_of_something_else_is_refused(llama, rows, task, tokenizer, tmp_path):
    out = tmp_path / "s"
    collect(llama, rows, task, out=out)
    before = shards(out)
    other_adapter = make_model("llama", seed=1)
    other_adapter.base_model.model.load_state_dict(
        {k: v for k, v in llama.base_model.model.state_dict().items() if "lora" not in k},
        strict=False,
    )
    other_base = make_model("llama")
    with torch.no_grad():
        other_base.get_base_model().lm_head.weight[0, 0] += 1
    rescaled, reconfigured = make_model("llama"), make_model("llama")
    for module in rescaled.modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            module.set_scale("default", 0.5)
    reconfigured.config.rms_norm_eps = 0.1
    changed = [*rows[:-1], rows[-1] | {"completion": "else"}]
    renamed = [*rows[:-1], rows[-1] | {"id": "new"}]
    cases = [
        (r"adapter's \(trainable\) weights", {"model": other_adapter}),
        (r"base model's weights", {"model": other_base}),
        (r"adapter's \(trainable\) weights or scaling", {"model": rescaled}),
        (r"base model's weights or configuration", {"model": reconfigured}),
        (r"the data set", {"dataset": changed}),
        (r"the data set", {"dataset": renamed}),
        (r"number of examples \(18 there, 17 asked for\)", {"dataset": rows[:-1]}),
        (r"settings \(max_length\)", {"task": tasks.CausalLM(tokenizer, max_length=90)}),
        (r"settings \(append_eos\)", {"task": tasks.CausalLM(tokenizer, append_eos=False)}),
        (r"tensors, there and asked for: .*lora_B.* and none\)", {"trainable": "*lora_A*"}),
        (r"differs: --store \(float32 there, float64 asked for\)\n", {"dtype": torch.float64}),
        (r"differs: --project \(none there, 2 asked for\)\n", {"project": 2}),
    ]
    for message, change in cases:
        request = {"model": llama, "dataset": rows, "task": task, "trainable": None} | change
        model, dataset, chosen = request.pop("model"), request.pop("dataset"), request.pop("task")
        with pytest.raises(StoreMismatchError, match=message):
            collect(model, dataset, chosen, out=out, **request)
    assert shards(out) == before


def test_weights_of_the_same_numbers_are_the_same(llama, rows, task, tmp_path):
    collect(llama, rows, task, out=tmp_path / "s")
    collect(make_model("llama"), list(rows), task, out=tmp_path / "s")


class Poisoned(tasks.CausalLM):
    """One example's loss, or its gradient alone, is not finite."""

    kind = "loss"

    def losses(self, model, batch):
        losses = super().losses(model, batch)
        sick = (batch["input_ids"] == 7).any(1)
        nan = torch.where(sick, float("nan"), 1.0)
        if self.kind == "loss":
            return losses * nan
        losses.register_hook(lambda gradient: gradient * nan)
        return losses


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_an_example_that_is_not_finite_is_named(kind, llama, tokenizer, tmp_path):
    healthy = [{"input_ids": [9, 10, 11, 12 + i], "id": f"h{i}"} for i in range(9)]
    healthy[7] = {"input_ids": [9, 7, 11], "id": "sick"}
    task = Poisoned(tokenizer)
    Poisoned.kind = kind
    with pytest.raises(NonFiniteError, match=rf"example 7 \(id 'sick'\): the {kind}"):
        collect(llama, healthy, task, out=tmp_path / "s", shard_rows=3)
    assert len(shards(tmp_path / "s")) == 2


class LittleMemory(tasks.CausalLM):
    def losses(self, model, batch):
        if batch["input_ids"].numel() > 100:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().losses(model, batch)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_norm_that_float32_cannot_square_is_named(dtype, tmp_path):
    task = tasks.Custom(lambda m, b: m(b)[:, 0])
    rows = [torch.ones(2), torch.full((2,), 1e20)]
    with pytest.raises(NonFiniteError, match="example 1: the gradient of weight or its squared"):
        collect(nn.Linear(2, 1, bias=False), rows, task, out=tmp_path / "s", dtype=dtype)


def test_a_row_whose_loss_fails_is_named_and_shards_before_it_stay(tmp_path):
    """Late enough that no check at the start sees it."""
    model, task = nn.Embedding(32, 4), tasks.Custom(lambda m, b: m(b).square().sum(1))
    out, rows = tmp_path / "s", [*range(13), 99, *range(13, 20)]
    told = r"^example 13: this example, .* IndexError: index out of range.*\n.*shards are kept"
    with (
        pytest.warns(FallbackWarning, match="a batch fails"),
        pytest.raises(ModelError, match=told) as caught,
    ):
        collect(model, rows, task, out=out, shard_rows=4)
    assert isinstance(caught.value.__cause__, IndexError)
    assert len([*out.glob("shard-*.safetensors")]) == 3
    with pytest.raises(ModelError, match=r"^example 0: .* ends with IndexError"):
        collect(model, [99, *rows], task, out=tmp_path / "first")
    with pytest.raises(ModelError, match=r"^example 13: .* ends with IndexError"):
        collect(model, rows, task, out=tmp_path / "whole", fallback=False)


@pytest.mark.filterwarnings("ignore::datainf.gradients.engine.FallbackWarning")
def test_a_row_that_a_collator_cannot_take_is_named(tmp_path):
    rows = [{"x": place} for place in range(20)]
    task = tasks.Custom(
        lambda m, b: m(b).square().sum(1),
        lambda some: torch.tensor([one["x"] for one in some]),
        length=lambda _: 1,
    )
    rows[13] = {"y": 13}
    with pytest.raises(ModelError, match=r"^example 13: .* ends with KeyError: 'x'"):
        collect(nn.Embedding(32, 4), rows, task, out=tmp_path / "s", shard_rows=4)


def test_a_row_that_fails_in_the_check_of_its_shard_is_named(tmp_path):
    """Alone, as the check takes it, once there were batches."""
    batched = []

    def losses(model, batch):
        if len(batch) > collector.CHECKED:
            batched.append(True)
        if batched and len(batch) == 1:
            raise ArithmeticError("alone")
        return model(batch).square().sum(1)

    rows, task = [*range(collector.SPOT_CHECKED_ROWS)], tasks.Custom(losses)
    with pytest.raises(ModelError, match=r"^example \d+: .* ends with ArithmeticError: alone"):
        collect(nn.Embedding(64, 4), rows, task, out=tmp_path / "s")


DEVICE_ERRORS = [RuntimeError, getattr(torch, "AcceleratorError", RuntimeError)]


@pytest.mark.filterwarnings("ignore::datainf.gradients.engine.FallbackWarning")
@pytest.mark.parametrize("kind", DEVICE_ERRORS, ids=["plain", "named"])
def test_no_row_is_blamed_where_a_device_is_lost(kind, tmp_path):
    """After an error of CUDA each call fails, whichever row it is of."""
    lost = []

    def losses(model, batch):
        if lost or 13 in batch:
            lost.append(True)
            raise kind("CUDA error: device-side assert triggered")
        return model(batch).square().sum(1)

    with pytest.raises(kind, match=r"^CUDA error"):
        collect(nn.Embedding(32, 4), [*range(20)], tasks.Custom(losses), out=tmp_path / "s")
    assert len(lost) == 2  # the batch, and an example of it


def test_where_float16_ends_another_store_is_advised(tmp_path):
    task = tasks.Custom(lambda m, b: m(b)[:, 0])
    rows, model = [torch.ones(2), torch.full((2,), 1e5)], nn.Linear(2, 1, bias=False)
    with pytest.raises(NonFiniteError, match=r"example 1: the gradient.*\n.*--store bfloat16"):
        collect(model, rows, task, out=tmp_path / "s", dtype="float16")
    with pytest.raises(OptionError, match="bfloat16, int8, float16, float64"):
        collect(model, rows, task, out=tmp_path / "s", dtype="int4")


def test_batches_that_run_out_together_halve_the_budget_once(llama, tokenizer, tmp_path):
    """All of a shard's batches were planned before the first of them ran out."""
    alike = [{"input_ids": [*range(5, 15)], "id": row} for row in range(64)]
    task, longest = LittleMemory(tokenizer), 10
    store = collect(llama, alike, task, out=tmp_path / "s", batch_tokens=16 * longest)
    assert store.index.notes["batch_tokens"] == 8 * longest


def test_the_batch_halves_when_memory_runs_out(llama, rows, tokenizer, task, tmp_path):
    short = [row | {"text": "abc", "completion": "def"} for row in rows]
    small = collect(llama, short, LittleMemory(tokenizer), out=tmp_path / "a", batch_tokens=5000)
    whole = collect(llama, short, task, out=tmp_path / "b")
    for name, matrix in whole.blocks.items():
        truth = matrix.to_dense()
        assert (small.blocks[name].to_dense() - truth).norm() < 1e-5 * truth.norm()


def test_bad_data_is_named_before_any_work(llama, task, tmp_path):
    fine = {"text": "fine"}
    cases = [
        ([], "the data set is empty"),
        ([fine, {"txt": "x"}], "example 1: no text in the example"),
        ([fine, {"prompt": "p" * 200, "completion": "c"}], "example 1: no token to learn"),
        ([fine | {"id": 1}, fine | {"id": 1}], "example 1: the id 1 stands at example 0"),
        ([fine | {"id": 1}, fine | {"id": "1"}], "example 1: the id '1' .* example 0 too, as 1"),
    ]
    for data, message in cases:
        with pytest.raises(DataError, match=message):
            collect(llama, data, task, out=tmp_path / "s")
    assert not (tmp_path / "s").exists()
    for wrong in ({"batch_tokens": 0}, {"shard_rows": 0}):
        with pytest.raises(OptionError):
            collect(llama, [{"text": "a b"}], task, out=tmp_path / "s", **wrong)


def test_one_example_and_truncation(llama, task, tmp_path):
    store = collect(llama, [{"text": "q" * 300}], task, out=tmp_path / "s")
    assert store.index.notes["truncated"] == 1
    assert store.index.notes["tokens"] == 96
    assert store.blocks[store.index.blocks[0].name].shape[0] == 1


def test_a_second_writer_is_told(llama, rows, task, tmp_path):
    (tmp_path / "s").mkdir()
    with locked(tmp_path / "s"), pytest.raises(StoreBusyError, match="another process"):
        collect(llama, rows, task, out=tmp_path / "s")
    collect(llama, rows, task, out=tmp_path / "s")


def read_all(store):
    return store.ids, store.losses, [block.to_dense() for block in store.blocks.values()]


def test_a_flipped_byte_is_found_and_mended(llama, rows, task, tmp_path):
    out = tmp_path / "s"
    collect(llama, rows, task, out=out, shard_rows=6)
    before = shards(out)
    whole = before["shard-00001.safetensors"]
    for place in (0, 9, 200, len(whole) // 3, len(whole) // 2, len(whole) - 9):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        (out / "shard-00001.safetensors").write_bytes(damaged)
        store = GradientStore.open(out)
        with pytest.raises(StoreCorruptError, match=r"shard-00001.safetensors: the bytes are not"):
            read_all(store)
    collect(llama, rows, task, out=out, shard_rows=6)
    assert shards(out) == before
    (out / "shard-00002.safetensors").unlink()
    with pytest.raises(StoreCorruptError, match="is missing"):
        GradientStore.open(out)


@pytest.mark.parametrize("gone", [[0], [1], [3], [0, 2], [1, 3]])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_only_the_shards_that_are_gone_are_made_again(llama, rows, task, tmp_path, gone, dtype):
    """From anywhere in the store, to the same bytes; the others are not touched."""
    out, asked = tmp_path / "s", {"shard_rows": 5, "dtype": dtype}
    collect(llama, rows, task, out=out, **asked)
    whole, files = shards(out), sorted(out.glob("*.safetensors"))
    before = [path.stat().st_mtime_ns for path in files]
    for place in gone:
        files[place].unlink()
    collect(llama, rows, task, out=out, **asked)
    assert shards(out) == whole
    same = [path.stat().st_mtime_ns == then for path, then in zip(files, before, strict=True)]
    assert [place for place, kept in enumerate(same) if not kept] == gone


def test_a_flipped_byte_of_the_index_is_found(llama, rows, task, tmp_path):
    notes = {"by number": {2: "é", 10: None}, "text": ["a", 0.1]}
    store = collect(llama, rows, task, out=tmp_path, notes=notes)
    path = tmp_path / "index.json"
    data = path.read_bytes()
    wanted = GradientStore.open(tmp_path).index
    for position in range(0, len(data), 7):
        flipped = bytearray(data)
        flipped[position] ^= 1
        path.write_bytes(flipped)
        try:
            found = GradientStore.open(tmp_path).index
        except StoreError:
            continue
        assert found == wanted  # only how it is laid out, or the name of the checksum
    older = json.loads(data)
    del older["checksum"]
    path.write_text(json.dumps(older))
    assert GradientStore.open(tmp_path).ids == store.ids


def test_a_full_disk_loses_nothing_that_was_finished(llama, rows, task, tmp_path):
    out = tmp_path / "small"
    out.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", out], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a file system of limited size takes root to mount")
    try:
        with pytest.raises(WriteError, match=r"No space left.*finished before is kept") as caught:
            collect(llama, rows, task, out=out / "s", shard_rows=2)
        assert "free some space" in caught.value.remedy
        kept = shards(out / "s")
        assert 1 <= len(kept) < 9
        assert not list((out / "s").glob("*.tmp"))
        subprocess.run(["mount", "-o", "remount,size=4m", out], check=True)
        collect(llama, rows, task, out=out / "s", shard_rows=2)
        collect(llama, rows, task, out=tmp_path / "whole", shard_rows=2)
        assert shards(out / "s") == shards(tmp_path / "whole")
        assert kept.items() <= shards(out / "s").items()
    finally:
        subprocess.run(["umount", out], check=True)


@pytest.mark.parametrize("often", [True, False])
def test_the_disk_is_asked_early(often, llama, rows, task, tmp_path, monkeypatch):
    collect(llama, rows, task, out=tmp_path / "whole", batch_tokens=16)
    fsync, early = os.fsync, []

    def noting(handle):
        if stat.S_ISREG(os.fstat(handle).st_mode) and os.fstat(handle).st_size == whole:
            early.append(threading.current_thread().name.startswith("datainf-sync"))
        fsync(handle)

    (shard,) = (tmp_path / "whole").glob("shard*")
    whole = shard.stat().st_size
    monkeypatch.setattr(os, "fsync", noting)
    if often:
        monkeypatch.setattr(shard_files, "SYNC_BYTES", 1)
    collect(llama, rows, task, out=tmp_path / "s", batch_tokens=16)
    # While rows are computed, and beside the digests; which are all of a shard as small as this.
    assert sum(early) > 2 if often else early == [True, False]
    assert not early[-1]  # all of the shard once more before it is in its place
    assert shards(tmp_path / "s") == shards(tmp_path / "whole")


@pytest.mark.parametrize("often", [True, False])
@pytest.mark.parametrize("batch_tokens", [1, 10**6])
def test_what_the_disk_refuses_meanwhile_is_said(
    often, batch_tokens, llama, rows, task, tmp_path, monkeypatch
):
    fsync = os.fsync

    def refusing(handle):
        if threading.current_thread().name.startswith("datainf-sync"):
            raise OSError(errno.EIO, "Input/output error")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", refusing)
    if often:
        monkeypatch.setattr(shard_files, "SYNC_BYTES", 1)
    with pytest.raises(WriteError, match="Input/output error"):
        collect(llama, rows, task, out=tmp_path / "s", batch_tokens=batch_tokens)
    assert not list((tmp_path / "s").glob("shard*"))


def test_what_is_no_store_is_refused(llama, rows, task, tmp_path):
    with pytest.raises(StoreError, match=r"has no index.json"):
        GradientStore.open(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"precious")
    with pytest.raises(StoreError, match="not a gradient store"):
        collect(llama, rows, task, out=tmp_path)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(WriteError, match="a file stands in its place"):
        collect(llama, rows, task, out=file)
    for text in ("{", "[]", '{"schema": 99}', '{"schema": 1}', '{"schema": 1, "shards": 3}'):
        (tmp_path / "index.json").write_text(text)
        with pytest.raises(StoreError):
            GradientStore.open(tmp_path)


def test_a_file_is_no_store(tmp_path):
    (tmp_path / "scores.safetensors").touch()
    with pytest.raises(StoreError, match=r"scores\.safetensors is not a gradient store"):
        GradientStore.open(tmp_path / "scores.safetensors")


def test_a_plain_model_with_a_plain_loss(tmp_path):
    torch.manual_seed(0)
    model = nn.Linear(3, 1, bias=False).double()
    X, y = torch.randn(5, 3).double(), torch.randn(5).double()
    task = tasks.Custom(lambda m, b: (m(b[0])[:, 0] - b[1]).square() / 2)
    store = collect(model, list(zip(X, y, strict=True)), task, out=tmp_path / "s")
    truth = (X @ model.weight[0] - y)[:, None] * X
    assert store.index.dtype == "float64"
    assert torch.allclose(store.blocks["weight"].to_dense(), truth)
    assert store.ids == list(range(5))


class CountsPadding(nn.Module):
    """A mean over all positions, those that only pad a batch among them."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(1, 4)

    def forward(self, X):
        return self.inner(X.unsqueeze(2)).tanh().square().mean(dim=(1, 2))


def padded_task():
    return tasks.Custom(
        lambda model, batch: model(batch),
        lambda rows: nn.utils.rnn.pad_sequence(rows, batch_first=True),
        length=len,
    )


@pytest.mark.parametrize("limit", [None, 20])
def test_the_check_sees_padding_wherever_it_is(limit, tmp_path):
    """Also where the first rows are alike, and where long rows do not fit in memory together."""

    class Limited(CountsPadding):
        def forward(self, X):
            if limit is not None and X.numel() > limit:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().forward(X)

    model, rows = Limited(), [torch.rand(n) for n in (4, 4, 4, 4, 2, 7, 3)]
    with pytest.raises(VerificationError, match="in a batch and") as caught:
        collect(model, rows, padded_task(), out=tmp_path / "s")
    assert "batch_tokens=1 (--batch-tokens 1)" in caught.value.remedy
    alone = collect(model, rows, padded_task(), out=tmp_path / "t", batch_tokens=1)
    assert alone.losses.tolist() == pytest.approx([float(model(row[None])) for row in rows])


def test_where_no_two_examples_fit_each_is_alone(tmp_path):
    class Limited(CountsPadding):
        def forward(self, X):
            if len(X) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().forward(X)

    model, rows = Limited(), [torch.rand(n) for n in (4, 4, 4, 2, 7)]
    store = collect(model, rows, padded_task(), out=tmp_path / "s")
    assert store.losses.tolist() == pytest.approx([float(model(row[None])) for row in rows])


def test_a_later_batch_is_looked_at_too(tmp_path):
    """Padding that counts in batches of more than three only."""

    class Late(CountsPadding):
        def forward(self, X):
            mask = (X != 0).float() if len(X) <= 3 else torch.ones_like(X)
            values = self.inner(X.unsqueeze(2)).tanh().square().mean(dim=2)
            return (values * mask).sum(dim=1) / mask.sum(dim=1)

    rows = [torch.rand(2 + i % 9) + 0.1 for i in range(80)]
    with pytest.raises(VerificationError, match="computed in a batch, its loss is") as caught:
        collect(Late(), rows, padded_task(), out=tmp_path / "s")
    assert "batch_tokens=1 (--batch-tokens 1)" in caught.value.remedy


@pytest.mark.parametrize("finished", [True, False])
def test_what_no_fingerprint_sees_is_found_by_looking(finished, tmp_path):
    """An adapter's option that stands in no tensor, adapters that were switched off, a closure."""

    def adapted(seed):
        torch.manual_seed(0)
        config = peft.FourierFTConfig(
            n_frequency=10, target_modules=["q_proj"], random_loc_seed=seed, task_type="CAUSAL_LM"
        )
        model = peft.get_peft_model(make_base("llama"), config)
        for name, parameter in model.named_parameters():
            if "fourierft" in name:
                torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
        return model

    tokens = make_tokenizer(pad_token="<pad>", eos_token="<eos>")
    rows, task = make_rows("llama"), tasks.CausalLM(tokens)
    collect(adapted(7), rows, task, out=tmp_path / "s", shard_rows=3)
    if not finished:
        index = json.loads((tmp_path / "s" / "index.json").read_text())
        del index["checksum"]
        index["shards"] = index["shards"][:1]
        (tmp_path / "s" / "index.json").write_text(json.dumps(index))
    collect(adapted(7), rows, task, out=tmp_path / "s", shard_rows=3)
    with pytest.raises(StoreMismatchError):
        collect(adapted(8), rows, task, out=tmp_path / "s", shard_rows=3)
    off = adapted(7)
    off.base_model.disable_adapter_layers()
    with pytest.raises(StoreMismatchError, match="switched off"):
        collect(off, rows, task, out=tmp_path / "s", shard_rows=3)


def test_a_loss_is_known_by_what_it_closes_over(tmp_path):
    def task(scale):
        return tasks.Custom(lambda model, batch: scale * model(batch).square().sum(1))

    model, rows = nn.Linear(5, 5), list(torch.randn(4, 5))
    collect(model, rows, task(1.0), out=tmp_path / "s")
    collect(model, rows, task(1.0), out=tmp_path / "s")
    with pytest.raises(StoreMismatchError, match="task's settings"):
        collect(model, rows, task(2.0), out=tmp_path / "s")
    scaled = functools.partial(lambda model, batch, by: by * model(batch).square().sum(1), by=3.0)
    other = functools.partial(scaled.func, by=4.0)
    assert tasks.Custom(scaled).settings() != tasks.Custom(other).settings()


def test_losses_of_nearly_nothing_are_no_alarm(tmp_path):
    torch.manual_seed(0)
    model, rows = nn.Linear(5, 1), list(torch.randn(6, 5))
    targets = [model(row).detach() + 1e-4 for row in rows]
    task = tasks.Custom(
        lambda model, batch: (model(batch[0]) - batch[1]).square().sum(dim=1),
    )
    collect(model, list(zip(rows, targets, strict=True)), task, out=tmp_path / "s")
