"""Examples that come to a store later: what was there stays to the byte."""

from __future__ import annotations

import json
import warnings

import pytest
import torch

from conftest import TEXTS, make_model, write_rows
from datainf import GradientStore, attribute, collect, tasks
from datainf.errors import DataError, StoreError, StoreIncompleteError, StoreMismatchError
from datainf.gradients.append import AppendWarning
from datainf.projection import Projection
from datainf.store.joined import joined
from datainf.store.writer import DamagedWarning

OLD = [{"prompt": text, "completion": text[::-1]} for text in TEXTS]
NEW = [{"prompt": text[::-1], "completion": f" {text}"} for text in TEXTS[:5]]
NAMED = [row | {"id": f"r{place}"} for place, row in enumerate([*OLD, *NEW])]


@pytest.fixture(scope="module")
def model():
    return make_model("llama")


@pytest.fixture(scope="module")
def task(tokenizer):
    return tasks.CausalLM(tokenizer)


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


def same(store, other):
    assert store.ids == other.ids
    torch.testing.assert_close(store.losses, other.losses)
    for name, G in store.blocks.items():
        torch.testing.assert_close(G.to_dense(), other.blocks[name].to_dense())


@pytest.fixture
def begun(model, task, tmp_path):
    """A store of six examples by four a shard, so that the last shard is not full."""
    collect(model, OLD, task, out=tmp_path / "s", shard_rows=4)
    return tmp_path / "s"


@pytest.mark.parametrize("data", [NEW, [*OLD, *NEW]], ids=["new data", "data that grew"])
def test_old_shards_are_not_touched(model, task, begun, tmp_path, data):
    before = files(begun)
    inodes = {name: (begun / name).stat().st_ino for name in before}
    store = collect(model, data, task, out=begun, append=True)
    assert len(store) == 11
    after = files(begun)
    assert list(after) == [f"shard-{number:05d}.safetensors" for number in range(4)]
    assert {name: after[name] for name in before} == before
    assert {name: (begun / name).stat().st_ino for name in before} == inodes
    whole = collect(model, [*OLD, *NEW], task, out=tmp_path / "whole", shard_rows=4)
    same(store, whole)
    assert store.index.notes["tokens"] == whole.index.notes["tokens"]
    torch.testing.assert_close(
        attribute(store, whole, "datainf").values, attribute(whole, whole, "datainf").values,
        rtol=1e-5, atol=1e-5,
    )  # fmt: skip


def test_data_that_grew_are_those_of_the_store(model, task, begun):
    """It is then as if it had been made of all."""
    collect(model, [*OLD, *NEW], task, out=begun, append=True)
    again = collect(model, [*OLD, *NEW], task, out=begun)
    assert len(again) == 11
    with pytest.raises(StoreMismatchError, match=r"examples \(11 there, 6 asked for\)"):
        collect(model, OLD, task, out=begun)


def test_it_grows_again(model, task, begun, tmp_path):
    collect(model, NEW[:2], task, out=begun, append=True)
    store = collect(model, NEW[2:], task, out=begun, append=True)
    same(store, collect(model, [*OLD, *NEW], task, out=tmp_path / "whole"))
    assert [part.rows for part in store.index.parts] == [6, 2, 3]
    assert len(collect(model, NEW[2:], task, out=begun, append=True)) == 11, "they are there"
    with pytest.raises(StoreMismatchError, match="has these examples already"):
        collect(model, NEW[:2], task, out=begun, append=True)


class Stops(Exception):
    pass


@pytest.mark.parametrize("data", [NEW, [*OLD, *NEW]], ids=["new data", "data that grew"])
def test_it_goes_on(model, task, begun, tmp_path, monkeypatch, data):
    from datainf.gradients.collector import Collector

    taken, shard = [], Collector.shard

    def stops(self, store, rows, *rest):
        if len(taken) == 1:
            raise Stops
        taken.append(rows)
        shard(self, store, rows, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Collector, "shard", stops)
        with pytest.raises(Stops):
            collect(model, data, task, out=begun, append=True)
    assert taken == [range(6, 10)]
    kept = files(begun)
    assert len(kept) == 3
    store = collect(model, data, task, out=begun, append=True)
    assert {name: files(begun)[name] for name in kept} == kept
    same(store, collect(model, [*OLD, *NEW], task, out=tmp_path / "whole"))


def damage(path):
    """A byte in the middle of a file, whose size stays."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_shard_that_is_lost_is_made_again(model, task, begun):
    """Of the data that it came with, whichever these are, and of nothing else."""
    collect(model, NEW, task, out=begun, append=True)
    whole = files(begun)
    (begun / "shard-00002.safetensors").unlink()
    collect(model, NEW, task, out=begun, append=True)
    assert files(begun) == whole
    (begun / "shard-00001.safetensors").unlink()
    damage(begun / "shard-00002.safetensors")
    with pytest.raises(StoreIncompleteError, match="holds 9 of 11") as caught:
        collect(model, NEW, task, out=begun, append=True)
    assert "of the data that came as number 1: it takes what is missing" in caught.value.remedy
    collect(model, OLD, task, out=begun, append=True)
    assert files(begun) == whole
    with pytest.raises(StoreMismatchError, match="has these examples already"):
        collect(model, OLD, task, out=begun, append=True)


def test_ids_that_went_on_counting_do_so_again(model, task, begun):
    collect(model, NEW, task, out=begun, append=True)
    for path in begun.glob("shard-*"):
        path.unlink()
    with pytest.raises(StoreIncompleteError):
        collect(model, NEW, task, out=begun, append=True)
    assert collect(model, OLD, task, out=begun, append=True).ids == list(range(11))


@pytest.mark.parametrize("broken", [damage, lambda path: path.unlink()], ids=["damaged", "lost"])
def test_nothing_comes_to_a_store_that_is_not_whole(model, task, begun, broken):
    broken(begun / "shard-00000.safetensors")
    before = files(begun), (begun / "index.json").read_bytes()
    with pytest.raises(StoreIncompleteError, match="holds 2 of the 6 examples") as caught:
        collect(model, NEW, task, out=begun, append=True)
    assert "the same command again" in caught.value.remedy
    assert (files(begun), (begun / "index.json").read_bytes()) == before
    collect(model, OLD, task, out=begun)
    assert len(collect(model, NEW, task, out=begun, append=True)) == 11


@pytest.mark.parametrize(
    ("data", "count"),
    [
        ([*OLD, *NEW[2:]], "the first 6 of these"),
        ([*OLD, *NEW], "the first 8 of these"),
        ([*OLD, *NEW[:2]], "these"),
        ([*NEW[:2], *NEW[3:]], "the first 2 of these"),
    ],
    ids=["the first grew", "all, which grew", "all in one", "data that came later grew"],
)
def test_no_example_comes_twice(model, task, begun, data, count):
    store = collect(model, NEW[:2], task, out=begun, append=True)
    with pytest.raises(StoreMismatchError, match=f"s has {count} examples already"):
        collect(model, data, task, out=begun, append=True)
    assert len(GradientStore.open(begun)) == len(store) == 8


def test_all_that_came_is_known_whatever_the_way(model, task, tmp_path):
    """By ids of their own, at three times, and once as data that grew."""
    out = tmp_path / "s"
    collect(model, NAMED[:4], task, out=out)
    collect(model, NAMED[:6], task, out=out, append=True)
    collect(model, NAMED[6:8], task, out=out, append=True)
    collect(model, NAMED[8:9], task, out=out, append=True)
    with pytest.raises(StoreMismatchError, match="s has the first 9 of these examples already"):
        collect(model, NAMED, task, out=out, append=True)
    with pytest.raises(StoreMismatchError, match="s has the first 8 of these examples already"):
        collect(model, [*NAMED[:8], *NAMED[9:]], task, out=out, append=True)


@pytest.mark.parametrize(
    "data", [[*NAMED[:2], NAMED[2] | {"prompt": "changed"}, *NAMED[3:]], NAMED[:5], NAMED[1:]],
    ids=["changed", "shortened", "without the first"],
)  # fmt: skip
def test_data_that_changed_are_called_so(model, task, tmp_path, data):
    collect(model, NAMED[:6], task, out=tmp_path / "s")
    told = "not those that it was made of with more at their end"
    with pytest.raises(DataError, match=told) as caught:
        collect(model, data, task, out=tmp_path / "s", append=True)
    assert "only the new examples in --data" in caught.value.remedy
    assert "a new store" in caught.value.remedy


def test_without_ids_it_is_said_that_none_can_be_told(model, task, begun, tmp_path):
    """In one line, where the examples come; not where they are known, or are told by their ids."""
    told = "the examples have no ids, so none of them can be told from those that are there"
    with pytest.warns(AppendWarning, match=told) as caught:
        collect(model, [NEW[0], OLD[0]], task, out=begun, append=True)
    assert len(caught) == 1
    with pytest.warns(AppendWarning, match=r"examples that are in .*s have no ids"):
        collect(model, NAMED[6:8], task, out=begun, append=True)
    collect(model, NAMED[:6], task, out=tmp_path / "named")
    with warnings.catch_warnings():
        warnings.simplefilter("error", AppendWarning)
        collect(model, NAMED[6:8], task, out=begun, append=True)
        collect(model, NAMED[6:8], task, out=tmp_path / "named", append=True)
        collect(model, OLD, task, out=tmp_path / "whole")
        collect(model, [*OLD, *NEW], task, out=tmp_path / "whole", append=True)


def numbered(data, ids):
    return [row | {"id": own} for row, own in zip(data, ids, strict=True)]


def test_an_id_that_is_its_row_s_number_is_one(model, task, tmp_path):
    out = tmp_path / "s"
    collect(model, numbered(OLD[:3], [10, 1, 7]), task, out=out)
    with warnings.catch_warnings():
        warnings.simplefilter("error", AppendWarning)
        collect(model, numbered(NEW[:2], [20, 21]), task, out=out, append=True)
        collect(model, numbered(NEW[2:4], ["a", 6]), task, out=out, append=True)


def test_of_any_part_without_ids_it_is_said(model, task, tmp_path):
    """They count from 0 in their own data, or go on counting."""
    for name, first in (("named", NAMED[:3]), ("counted", OLD[:3])):
        out = tmp_path / name
        collect(model, first, task, out=out)
        collect(model, NEW[:2], task, out=out, append=True)
        with pytest.warns(AppendWarning, match=r"examples that are in .* have no ids"):
            collect(model, NAMED[6:8], task, out=out, append=True)


@pytest.mark.parametrize("lost", [0, 1])
def test_a_note_says_which_gradients_come_again(model, task, begun, lost):
    """Of two that are damaged that of the data that are asked for; or of one that of none."""
    collect(model, NEW, task, out=begun, append=True)
    damaged = ["shard-00000", "shard-00002"][: 2 - lost]
    for name in damaged:
        damage(begun / f"{name}.safetensors")
    with (
        pytest.raises(StoreIncompleteError, match="holds 7 of 11 examples"),
        pytest.warns(DamagedWarning) as caught,
    ):
        collect(model, NEW, task, out=begun, append=True)
    told = {str(one.message) for one in caught}
    ends = "are not taken again now, for they are of other data", "are taken again"
    found = {
        name: [end for end in ends if any(name in one and one.endswith(end) for one in told)]
        for name in damaged
    }
    assert found == dict(zip(damaged, ([end] for end in ends), strict=False))


def moments_of(model, value):
    return {name: torch.full_like(p, value) for name, p in model.named_parameters()
            if p.requires_grad}  # fmt: skip


def test_rows_in_the_metric_of_another_training_are_refused(model, task, tmp_path):
    project = Projection(2, metric="adam")

    def more(data, value, name="s", **options):
        moments = moments_of(model, value)
        return collect(
            model, data, task, out=tmp_path / name, project=project, second_moments=moments,
            **options,
        )  # fmt: skip

    store = more(OLD, 1e-4)
    with pytest.raises(StoreMismatchError, match="second moments"):
        more(NEW, 1e-2, append=True)
    other = more(NEW, 1e-2, "other")
    with pytest.raises(StoreMismatchError, match="second moments"):
        joined([store, other])
    with pytest.raises(StoreMismatchError, match="second moments"):
        attribute(store, other, "datainf")
    assert len(more(NEW, 1e-4, append=True)) == 11


def test_of_data_that_grew_any_shard_is_made_again(model, task, begun):
    collect(model, [*OLD, *NEW], task, out=begun, append=True)
    whole = files(begun)
    for name in ("shard-00001", "shard-00002"):
        (begun / f"{name}.safetensors").unlink()
    collect(model, [*OLD, *NEW], task, out=begun)
    assert files(begun) == whole


def test_ids(model, task, tmp_path):
    collect(model, NAMED[:6], task, out=tmp_path / "s")
    assert collect(model, NAMED[6:], task, out=tmp_path / "s", append=True).ids == [
        row["id"] for row in NAMED
    ]
    twice = [NEW[0] | {"id": "n0"}, NEW[1] | {"id": "r3"}]
    with pytest.raises(DataError, match="example 1: the store has an example with the id 'r3'"):
        collect(model, twice, task, out=tmp_path / "s", append=True)
    number = [NEW[0] | {"id": 7}, NEW[1] | {"id": "n1"}]
    collect(model, number, task, out=tmp_path / "n")
    with pytest.raises(DataError, match="example 0: the store has an example with the id '7'"):
        collect(model, [NEW[2] | {"id": "7"}], task, out=tmp_path / "n", append=True)
    store = collect(model, NEW, task, out=tmp_path / "s", append=True)
    assert store.ids == [*(row["id"] for row in NAMED), *range(5)]


def test_what_does_not_fit_is_refused(model, task, begun, tmp_path, tokenizer):
    before = files(begun), (begun / "index.json").read_bytes()
    with pytest.raises(StoreMismatchError, match=r"adapter's \(trainable\) weights"):
        collect(make_model("llama", seed=1), NEW, task, out=begun, append=True)
    with pytest.raises(StoreMismatchError, match="max_length"):
        collect(model, NEW, tasks.CausalLM(tokenizer, max_length=80), out=begun, append=True)
    with pytest.raises(StoreMismatchError, match="--store"):
        collect(model, NEW, task, out=begun, append=True, dtype="bfloat16")
    with pytest.raises(StoreError, match="is not a gradient store"):
        collect(model, NEW, task, out=tmp_path / "none", append=True)
    assert (files(begun), (begun / "index.json").read_bytes()) == before


def test_smaller_rows_keep_their_sample(model, task, tmp_path):
    first = collect(model, OLD, task, out=tmp_path / "s", dtype="int8")
    kept = files(tmp_path / "s" / "sample")
    store = collect(model, NEW, task, out=tmp_path / "s", dtype="int8", append=True)
    assert files(tmp_path / "s" / "sample") == kept
    assert store.sample.ids == first.ids
    assert len(store) == 11


def test_the_command(saved_llama, datainf, tmp_path):
    old = write_rows(tmp_path / "old.jsonl", OLD)
    new = write_rows(tmp_path / "new.jsonl", NEW)
    how = ["--adapter", saved_llama[1], "--out", tmp_path / "s"]
    code, _, err = datainf("collect", "--data", old, *how, "--shard-rows", 4)
    assert code == 0, err
    code, _, err = datainf("collect", "--data", new, *how, "--append")
    assert code == 0, err
    assert "11 gradients of" in err
    assert " ".join(err.split()).count("note: the examples have no ids, so none of them") == 1
    store = GradientStore.open(tmp_path / "s")
    assert [(part.rows, part.source) for part in store.index.parts] == [
        (6, str(old)),
        (5, str(new)),
    ]
    code, _, err = datainf("collect", "--data", new, *how, "--append", "--curvature-rows", 4)
    assert code == 1
    assert "of all data at once" in err
    code, _, err = datainf("verify", tmp_path / "s")
    assert code == 0, err
    raw = json.loads((tmp_path / "s" / "index.json").read_text())
    assert raw["n"] == 11
