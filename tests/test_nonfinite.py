"""Examples whose losses or gradients are not finite: nothing of them, and all of the others."""

from __future__ import annotations

import json

import numpy as np
import peft
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from torch import nn

from browser import browser, expect, needs_browser, opened
from conftest import TEXTS, lora_config, make_base, make_model, write_rows
from datainf import GradientStore, attribute, attribute_top, collect, self_influence, tasks
from datainf.applications.inspect import inspect
from datainf.applications.mislabeled import signal
from datainf.attribution import sweep
from datainf.config import RunConfig
from datainf.errors import NonFiniteError, OptionError
from datainf.estimators import BY_NAME
from datainf.gradients import collect_curvature
from datainf.gradients.pending import SkippedWarning
from datainf.runs import open_run, run

SICK = "~"
"""A letter that the model has no finite vector for."""
ROWS = [{"id": f"r{i}", "prompt": text, "completion": text[::-1]} for i, text in enumerate(TEXTS)]
SICK_ROW = {"id": "sick", "prompt": "pack my", "completion": f" box {SICK}"}
MIXED = [*ROWS[:2], SICK_ROW, *ROWS[2:], SICK_ROW | {"id": "sick too"}]
SOUND = [place for place, row in enumerate(MIXED) if row in ROWS]

pytestmark = pytest.mark.filterwarnings("ignore::datainf.gradients.pending.SkippedWarning")


def poison(model, tokenizer):
    with torch.no_grad():
        (place,) = tokenizer.encode(SICK)
        model.get_input_embeddings().weight[place] = float("nan")
    return model


@pytest.fixture(scope="module")
def model(tokenizer):
    return poison(make_model("llama"), tokenizer)


@pytest.fixture(scope="module")
def task(tokenizer):
    return tasks.CausalLM(tokenizer)


@pytest.fixture(scope="module")
def stores(model, task, tmp_path_factory):
    """Stores of the data with sick rows, and of those without."""
    folder = tmp_path_factory.mktemp("stores")
    made = {"mixed": MIXED, "sound": ROWS, "query": [*ROWS[1:4], SICK_ROW], "asked": ROWS[1:4]}
    for name, rows in made.items():
        collect(model, rows, task, out=folder / name, on_nonfinite="skip", shard_rows=3)
    for name, rows in (("drawn", MIXED), ("drawn-sound", ROWS)):
        collect_curvature(model, rows, task, out=folder / name, rows=24, on_nonfinite="skip")
    return folder


def test_it_is_named_and_noted(model, task, tmp_path):
    with pytest.warns(SkippedWarning, match=r"2 examples were skipped.*example 2 \(id 'sick'\), "
                      r"example 7 .*the loss is NaN"):  # fmt: skip
        store = collect(model, MIXED, task, out=tmp_path / "s", on_nonfinite="skip", shard_rows=3)
    why = "the loss is NaN or infinite"
    assert store.skipped == {2: why, 7: why}
    assert GradientStore.open(tmp_path / "s").skipped == store.skipped
    assert store.losses.isnan().nonzero().flatten().tolist() == [2, 7]
    assert all(not G.to_dense()[[2, 7]].any() for G in store.blocks.values())
    assert store.ids == [row["id"] for row in MIXED]
    raw = json.loads((tmp_path / "s" / "index.json").read_text())
    assert [shard.get("skipped") for shard in raw["shards"]] == [[[2, why]], None, [[1, why]]]


def test_the_others_are_as_without_it(stores):
    mixed, sound = (GradientStore.open(stores / name) for name in ("mixed", "sound"))
    for name, G in sound.blocks.items():
        torch.testing.assert_close(mixed.blocks[name].to_dense()[SOUND], G.to_dense())
    torch.testing.assert_close(mixed.losses[SOUND], sound.losses)


def methods():
    for name in BY_NAME:
        for options in ({}, {"normalize": "unit", "blocks": "model"}, {"metric": "fisher"}):
            yield pytest.param(name, options, id=f"{name}, {options}")


@pytest.mark.parametrize(("method", "options"), methods())
def test_scores_are_as_without_it(stores, method, options):
    """Of all that were not skipped; those that were have the score 0."""
    has = BY_NAME[method].needs_curvature
    drawn = {"curvature": stores / "drawn-sound"} if has else {}
    mixed = attribute(stores / "mixed", stores / "query", method, **drawn, **options).values
    sound = attribute(stores / "sound", stores / "asked", method, **drawn, **options).values
    torch.testing.assert_close(mixed[:3][:, SOUND], sound, rtol=1e-4, atol=1e-5 * sound.abs().max())
    assert sound.abs().max() > 0
    assert not mixed[3].any()
    assert not mixed[:, [2, 7]].any()
    own = self_influence(stores / "mixed", method, **drawn, **options)
    truth = self_influence(stores / "sound", method, **drawn, **options)
    torch.testing.assert_close(own[SOUND], truth, rtol=1e-4, atol=1e-5 * truth.abs().max())
    top = attribute_top(stores / "mixed", stores / "query", method, k=6, **drawn, **options)
    assert {2, 7}.isdisjoint(top.helpful.rows[:3, 0].tolist())


def test_a_curvature_s_rows_too(stores):
    """Rows that were drawn of a sick example have no part, as if fewer had been drawn."""
    drawn = GradientStore.open(stores / "drawn")
    assert len(drawn.skipped) == 6
    found = attribute(stores / "sound", stores / "asked", curvature=stores / "drawn").values
    truth = attribute(stores / "sound", stores / "asked", curvature=drawn.sound).values
    torch.testing.assert_close(found, truth)
    assert len(drawn.sound) == 18


def test_several_dampings(stores):
    found = sweep(stores / "mixed", stores / "query", "exact", dampings=["0.1", "trace:0.01"])
    truth = sweep(stores / "sound", stores / "asked", "exact", dampings=["0.1", "trace:0.01"])
    for a, b in zip(found, truth, strict=True):
        torch.testing.assert_close(
            a.values[:3][:, SOUND], b.values, rtol=1e-4, atol=1e-5 * b.values.abs().max()
        )


@pytest.mark.parametrize("dtype", ["bfloat16", "int8", "float16"])
def test_smaller_rows(model, task, tmp_path, dtype):
    store = collect(model, MIXED, task, out=tmp_path / "s", on_nonfinite="skip", dtype=dtype)
    assert list(store.skipped) == [2, 7]
    assert attribute(store, store, "ridge").values.isfinite().all()
    assert set(store.sample.skipped) <= {2, 7}


def test_what_float16_cannot_hold(tmp_path):
    task = tasks.Custom(lambda m, b: m(b)[:, 0])
    rows, linear = [torch.ones(2), torch.full((2,), 1e5), torch.ones(2)], nn.Linear(2, 1)
    store = collect(
        linear, rows, task, out=tmp_path / "s", dtype="float16", on_nonfinite="skip", sample=False
    )
    assert store.skipped == {
        1: "the gradient of weight or its squared norm is NaN or infinite in float32"
    }
    assert store.losses.isfinite().all()


def test_a_batch_of_bfloat16_is_taken_again_without_it(task, tokenizer, tmp_path):
    half = poison(make_model("llama"), tokenizer).to(torch.bfloat16)
    mixed = collect(half, MIXED, task, out=tmp_path / "m", on_nonfinite="skip", dtype="float32")
    sound = collect(half, ROWS, task, out=tmp_path / "s", dtype="float32")
    for name, G in sound.blocks.items():
        torch.testing.assert_close(mixed.blocks[name].to_dense()[SOUND], G.to_dense(),
                                   rtol=0.1, atol=0.02 * G.to_dense().abs().max())  # fmt: skip


def test_going_on_keeps_what_was_skipped(model, task, tmp_path):
    whole = collect(model, MIXED, task, out=tmp_path / "w", on_nonfinite="skip", shard_rows=3)
    store = collect(model, MIXED, task, out=tmp_path / "s", on_nonfinite="skip", shard_rows=3)
    (tmp_path / "s" / "shard-00001.safetensors").unlink()
    again = collect(model, MIXED, task, out=tmp_path / "s", on_nonfinite="skip", shard_rows=3)
    assert again.skipped == store.skipped
    for name in ("index.json", "shard-00001.safetensors", "shard-00002.safetensors"):
        assert (tmp_path / "s" / name).read_bytes() == (tmp_path / "w" / name).read_bytes()
    assert whole.skipped == again.skipped


def test_what_came_before_is_not_named_as_a_row_of_what_comes(model, task, tmp_path):
    collect(model, MIXED, task, out=tmp_path / "s", on_nonfinite="skip")
    later = [row | {"id": f"later {place}"} for place, row in enumerate([*ROWS, SICK_ROW])]
    with pytest.warns(SkippedWarning) as caught:
        collect(model, later, task, out=tmp_path / "s", on_nonfinite="skip", append=True)
    told = str(caught[0].message)
    assert "row 2 of the store, which came to it before, row" in told
    assert f"example {len(ROWS)} (id 'later {len(ROWS)}')" in told


def test_a_store_that_skipped_is_refused_where_none_is_to_be(model, task, tmp_path):
    """In a new folder the same settings would stop."""
    store = collect(model, MIXED, task, out=tmp_path / "s", on_nonfinite="skip", shard_rows=3)
    before = (tmp_path / "s" / "index.json").read_bytes()
    told = r"2 examples were skipped: example 2 \(id 'sick'\), example 7 .*the loss is NaN"
    with pytest.raises(NonFiniteError, match=told) as caught:
        collect(model, MIXED, task, out=tmp_path / "s")
    assert "--on-nonfinite skip" in caught.value.remedy
    assert "another folder" in caught.value.remedy
    store.index.shards.pop()
    store.index.save(tmp_path / "s")
    with pytest.raises(NonFiniteError, match=r"1 example was skipped: example 2 \(id 'sick'\)\."):
        collect(model, MIXED, task, out=tmp_path / "s")
    collect(model, MIXED, task, out=tmp_path / "s", on_nonfinite="skip")
    assert (tmp_path / "s" / "index.json").read_bytes() == before
    later = [row | {"id": f"later {place}"} for place, row in enumerate(ROWS)]
    assert len(collect(model, later, task, out=tmp_path / "s", append=True)) == 14


@pytest.mark.parametrize("weights", [None, [1.0, 0.0], [0.0, 1.0]])
def test_a_checkpoint_that_counts_nothing_does_not_hide_who_is_suspect(stores, weights):
    """Nobody comes before who was skipped."""
    mixed, sound = (GradientStore.open(stores / name) for name in ("mixed", "sound"))
    losses = signal("loss", None, [mixed, mixed], weights)
    assert losses.isinf().nonzero().flatten().tolist() == sorted(mixed.skipped)
    torch.testing.assert_close(losses[SOUND], sound.losses.double(), rtol=1e-5, atol=0)


def test_none_is_left(model, task, tmp_path):
    with pytest.raises(NonFiniteError, match="all of its examples were skipped"):
        collect(model, [SICK_ROW], task, out=tmp_path / "s", on_nonfinite="skip")


def test_what_is_told_of_a_store_is_of_the_others(stores):
    mixed, sound = (GradientStore.open(stores / name) for name in ("mixed", "sound"))
    found, truth = inspect(mixed), inspect(sound)
    assert [block.name for block in found.blocks] == [block.name for block in truth.blocks]
    for one, other in zip(found.blocks, truth.blocks, strict=True):
        assert one.damping_lambda == pytest.approx(other.damping_lambda, rel=1e-4)
        assert one.quantiles == pytest.approx(other.quantiles, rel=1e-4)
        assert one.zeros == other.zeros
    assert found.warnings[0].startswith("2 examples of 8 had something that was not finite")
    means = [html.split("mean ‖g‖</th></tr></thead>")[1].split("</table>")[0]
             for html in (mixed._repr_html_(), sound._repr_html_())]  # fmt: skip
    assert means[0] == means[1]
    assert "8 examples (2 skipped)" in mixed._repr_html_()


def test_by_default_it_stops(model, task, tmp_path):
    with pytest.raises(NonFiniteError, match=r"id 'sick'.*\n.*--on-nonfinite skip"):
        collect(model, MIXED, task, out=tmp_path / "s")
    with pytest.raises(OptionError, match=r"unknown on_nonfinite .--on-nonfinite.: 'ignore'"):
        collect(model, MIXED, task, out=tmp_path / "t", on_nonfinite="ignore")


@pytest.fixture(scope="module")
def skipping(tokenizer, tmp_path_factory):
    """A run of a classifier, with a query and two training examples skipped."""
    folder = tmp_path_factory.mktemp("skipping")
    base, adapter = folder / "base", folder / "adapter"
    poison(make_base("bert"), tokenizer).save_pretrained(base)
    tokenizer.save_pretrained(base)
    loaded = transformers.BertForSequenceClassification.from_pretrained(base)
    peft.get_peft_model(loaded, lora_config("bert")).save_pretrained(adapter)
    rows = [{"text": text, "label": i % 3} for i, text in enumerate(TEXTS * 3)]
    for place in (4, 9):
        rows[place] = rows[place] | {"text": f"{SICK} {place}"}
    files = [write_rows(folder / "train.jsonl", rows), write_rows(folder / "query.jsonl", rows[:5])]
    return RunConfig(train=str(files[0]), query=str(files[1]), out=str(folder / "run"),
                     adapter=str(adapter), on_nonfinite="skip")  # fmt: skip


@pytest.fixture(scope="module")
def skipped_run(skipping):
    from pathlib import Path

    with pytest.warns(SkippedWarning):
        run(skipping)
    return Path(skipping.out)


def test_a_run_s_files(skipped_run):
    finished = open_run(skipped_run)
    assert list(finished.train_skipped) == [4, 9]
    assert list(finished.query_skipped) == [4]
    lines = [json.loads(line) for line in (skipped_run / "top.jsonl").read_text().splitlines()]
    assert [line["loss"] is None for line in lines] == [False] * 4 + [True]
    assert lines[4]["skipped"] == "the loss is NaN or infinite"
    table = pq.read_table(skipped_run / "scores.parquet").to_pandas()
    assert np.isfinite(table["score"]).all()


def test_the_commands(skipped_run, datainf, tmp_path):
    code, _, err = datainf("attribute", "--config", skipped_run / "run.yaml", "--no-report")
    assert code == 0, err
    assert "2 examples were skipped, and take no part in any score" in " ".join(err.split())
    code, _, err = datainf("mislabeled", skipped_run, "--out", tmp_path / "suspects.jsonl")
    assert code == 0, err
    suspects = [json.loads(line) for line in (tmp_path / "suspects.jsonl").open()]
    assert [one["train_row"] for one in suspects[:2]] == [4, 9]
    assert suspects[0]["loss"] is None
    code, _, err = datainf("select", skipped_run, "--drop", 2, "--out", tmp_path / "clean")
    assert code == 0, err
    kept = json.loads((tmp_path / "clean" / "kept.json").read_text())
    assert kept == [row for row in range(18) if row not in (4, 9)]
    for measure in ("influence", "self-influence", "neighbours", "loss"):
        out = tmp_path / measure
        code, _, err = datainf("select", skipped_run, "--drop", 2, "--by", measure, "--out", out)
        assert code == 0, err
        assert json.loads((out / "kept.json").read_text()) == kept
    code, _, err = datainf("top", skipped_run)
    assert code == 0, err
    code, _, err = datainf("attribute", "--config", skipped_run / "run.yaml", "--out",
                           tmp_path / "stops", "--on-nonfinite", "stop")  # fmt: skip
    assert code == 1
    assert "row 4 (line 5), train.jsonl, row 9 (line 10): the loss is NaN" in " ".join(err.split())


def test_a_run_that_skipped_does_not_go_on_to_stop(skipped_run, datainf):
    settings = (skipped_run / "run.yaml").read_bytes()
    for command in ("plan", "attribute"):
        code, _, err = datainf(command, "--config", skipped_run / "run.yaml",
                               "--out", skipped_run, "--on-nonfinite", "stop")  # fmt: skip
        assert code == 1
        assert "2 examples were skipped: train.jsonl, row 4 (line 5)" in " ".join(err.split())
    assert (skipped_run / "run.yaml").read_bytes() == settings


@needs_browser
def test_the_page(skipped_run, datainf):
    code, _, err = datainf("report", skipped_run)
    assert code == 0, err
    address = (skipped_run / "report.html").as_uri()
    with browser() as chromium, opened(chromium, address + "#query=4") as page:
        expect(page.locator(".query .skipped")).to_have_text("skipped: the loss is NaN or infinite")
        page.keyboard.press("3")
        expect(page.locator(".overview")).to_contain_text(
            "train.jsonl, row 4 (line 5): the loss is NaN"
        )
