"""Runs on GLUE: rows, fine-tuning, and a whole cell."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_glue import tiny_base, tiny_settings, without_seconds

import datainf
from datainf.evaluation import agreement, detection_auc
from experiments.dampings import ABSOLUTE, DAMPINGS
from experiments.glue import cell, data
from experiments.glue.data import Split, split
from experiments.glue.finetune import evaluate, finetune, lora
from experiments.glue.settings import MINILM
from experiments.methods import METHODS, SELF_INFLUENCE, SWEEP, VARIANTS, Variant
from experiments.shipped import location

KEY = {"task": "made-up", "labels": "noisy", "rank": 2, "seed": 0}


@pytest.fixture(scope="module")
def settings(tmp_path_factory, tokenizer):
    return tiny_settings(tiny_base(tmp_path_factory.mktemp("base"), tokenizer))


@pytest.fixture(scope="module")
def found(settings, tmp_path_factory):
    return cell.run(KEY, settings, tmp_path_factory.mktemp("cell"))


def test_a_cell_gives_figures_that_json_can_hold(found):
    json.dumps(found, allow_nan=False)
    assert found["rows"] == 30
    assert found["blocks"] == 6  # A and B of two layers, the head's weight and bias
    assert set(found["score_seconds"]) == {variant.name for variant in VARIANTS}


def test_detection_has_every_variant_and_baseline(found):
    expected = {variant.name for variant in VARIANTS}
    expected |= {f"self-influence, {variant.name}" for variant in SELF_INFLUENCE}
    expected |= {"own loss", "representation similarity", "BM25", "random"}
    assert set(found["detection"]) == expected


def test_exact_agrees_with_itself_and_solves(found):
    for group in found["agreement"].values():
        assert {method for method, _ in METHODS} <= {name.split()[0] for name in group}
        assert group["exact"]["pearson"] == pytest.approx(1)
        assert group["exact"]["residual"] < 1e-3 < group["datainf"]["residual"]


def test_the_same_cell_gives_the_same_figures(settings, found, tmp_path):
    assert without_seconds(cell.run(KEY, settings, tmp_path)) == without_seconds(found)


def test_the_sweep_of_dampings_is_of_the_scores_at_each(settings, tmp_path):
    """Against scores asked for one damping at a time, from the same gradients."""
    swept = replace(settings, retrain_rank=2, epochs=1)
    rows = split("made-up", swept, 0.2, seed=0)
    done = cell.gradients(rows, swept, lora(swept, 2), seed=0, folder=tmp_path)
    found = cell.damping(done)
    assert list(found) == [Variant(method, steps).name for method, steps in SWEEP]

    def influence(method, lam):
        steps = 5 if method == "cg" else None
        return datainf.attribute(
            done.train, done.query, method, damping=lam, steps=steps
        ).values.mean(0)

    for method, name in (("datainf", "datainf"), ("cg", "cg 5"), ("exact", "exact")):
        assert list(found[name]) == [*DAMPINGS, *ABSOLUTE]
        for kind in (DAMPINGS[:7], DAMPINGS[7:], ABSOLUTE):
            assert "before" not in found[name][kind[0]]
            for lam, before in ((kind[1], kind[0]), (kind[-1], kind[-2])):
                values, entry = influence(method, lam), found[name][lam]
                assert entry["auc"] == pytest.approx(detection_auc(-values, rows.flipped))
                for other, what in (((method, before), "before"), (("exact", lam), "exact")):
                    near = agreement(values, influence(*other))["spearman"]
                    assert entry[what] == pytest.approx(near, abs=1e-6)


def test_a_cell_trains_again_at_one_rank_alone(settings, found, tmp_path):
    assert {"damping", "retraining"}.isdisjoint(found)
    again = cell.run(KEY, replace(settings, retrain_rank=2, epochs=1), tmp_path)
    assert {"damping", "retraining"} <= set(again)
    assert set(again["retraining"]) == {*cell.RETRAINED, "random", "oracle", "all"}


def test_a_cell_of_clean_labels_has_no_detection(settings, tmp_path):
    found = cell.run(KEY | {"labels": "clean", "seed": 1}, settings, tmp_path)
    assert found["flipped"] == 0
    assert "agreement" in found
    assert "detection" not in found


def test_fine_tuning_trains_the_adapter_and_the_head_alone(settings, tmp_path):
    rows = split("made-up", settings, 0.0, seed=0)
    states = []
    for rate in (0.0, 1e-2):
        model, task = finetune(
            rows.train, replace(settings, learning_rate=rate), lora(settings, 2), 0, tmp_path
        )
        assert not model.training
        states.append({name: p.detach().clone() for name, p in model.named_parameters()})
    changed = {name for name in states[0] if not torch.equal(states[0][name], states[1][name])}
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert changed == trained
    assert all("lora_" in name or "modules_to_save" in name for name in trained)
    quality = evaluate(model, task, rows.test)
    assert quality["accuracy"] * len(rows.test) == pytest.approx(
        sum(
            int(model(**inputs(task, row)).logits.argmax()) == row["label"] for row in rows.test
        )
    )  # fmt: skip


def inputs(task, row):
    batch = task.collate([task.encode(row)])
    batch.pop("labels")
    return batch


def test_a_base_can_come_with_a_package():
    assert (Path(location(MINILM)) / "config.json").is_file()
    assert location("org/name") == "org/name"
    with pytest.raises(FileNotFoundError, match="no_such_package"):
        location("package:no_such_package")


def test_a_fifth_of_the_labels_are_flipped(settings):
    many = replace(settings, train_rows=3000)
    clean, noisy = (split("made-up", many, noise, seed=0) for noise in (0.0, 0.2))
    assert sum(noisy.flipped) == pytest.approx(600, abs=80)
    assert [row["text"] for row in noisy.train] == [row["text"] for row in clean.train]
    pairs = zip(noisy.train, clean.train, strict=True)
    assert [a["label"] != b["label"] for a, b in pairs] == noisy.flipped
    assert (noisy.validation, noisy.test) == (clean.validation, clean.test)


SST2 = 'sentence\tlabel\n"a quoted start\t1\nit\'s "fine" \t0\n ça va\t1\n'
MRPC = (
    "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    '1\t11\t12\tHe said "no\tHe declined\n0\t13\t14\tRain\t"Snow" fell\n'
)
WNLI = "index\tsentence1\tsentence2\tlabel\n0\tA b\tC d\t1\n"
QQP = "".join(f'{i}\t{i}a\t{i}b\tq {i} "a\tq {i} b\t{i % 2}\n' for i in range(9))


def files(folder, task, **texts):
    place = folder / "glue" / task
    place.mkdir(parents=True)
    for name, text in texts.items():
        (place / f"{name}.tsv").write_bytes(text.encode("utf-8-sig"))


def read(folder, settings, task, seed=0) -> Split:
    return split(task, replace(settings, data=folder), 0.0, seed)


def row(text, label, pair=None):
    return {"text": text, **({} if pair is None else {"text_pair": pair}), "label": label}


def test_files_are_read_as_they_stand(settings, tmp_path):
    """With a byte order mark, quotation marks that do not pair, spaces and accents."""
    files(tmp_path, "SST-2", train=SST2, dev=SST2)
    files(tmp_path, "MRPC", train=MRPC, dev=MRPC)
    files(tmp_path, "WNLI", train=WNLI, dev=WNLI)
    expected = {
        "SST-2": [row('"a quoted start', 1), row('it\'s "fine"', 0), row("ça va", 1)],
        "MRPC": [row('He said "no', 1, "He declined"), row("Rain", 0, '"Snow" fell')],
        "WNLI": [row("A b", 1, "C d")],
    }
    for task, rows in expected.items():
        found = read(tmp_path, settings, task)
        for part in (found.train, found.validation):
            assert sorted(part, key=str) == sorted(rows, key=str)
    with pytest.raises(FileNotFoundError):
        read(tmp_path, settings, "QQP")


def test_no_row_is_in_two_parts(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "QQP_TRAIN", 6)
    files(tmp_path, "QQP", train_subset=QQP)
    few = replace(settings, train_rows=4, test_rows=2, validation_rows=3)
    found = read(tmp_path, few, "QQP")
    numbers = [
        {int(r["text"].split()[1]) for r in part}
        for part in (found.train, found.test, found.validation)
    ]
    assert [len(part) for part in numbers] == [4, 2, 3]
    assert numbers[0] | numbers[1] == set(range(6))
    assert numbers[2] == {6, 7, 8}
    assert read(tmp_path, few, "QQP") == found
    assert read(tmp_path, few, "QQP", seed=1) != found


@pytest.mark.parametrize(("rows", "train", "test"), [(50, 40, 10), (30, 24, 6), (200, 100, 50)])
def test_a_task_with_few_rows_keeps_some_for_the_test(settings, monkeypatch, rows, train, test):
    sizes = replace(settings, train_rows=100, test_rows=50)
    made = data.made_up(rows), data.made_up(20)
    monkeypatch.setattr(data, "_rows", lambda *_: made)
    found = split("made-up", sizes, 0.2, seed=0)
    assert (len(found.train), len(found.test)) == (train, test)


def test_the_released_blocks_leave_biases_out(settings, tmp_path):
    rows = split("made-up", settings, 0.2, seed=0)
    for released, blocks in ((False, 6), (True, 5)):
        sizes = replace(settings, released_blocks=released)
        folder = tmp_path / str(released)
        done = cell.gradients(rows, sizes, lora(sizes, 2), seed=0, folder=folder)
        assert len(done.train.index.blocks) == blocks
