"""Suspects: the signals are what they are said to be, and flipped labels come first."""

from __future__ import annotations

import json
import math

import pyarrow.parquet as pq
import pytest
import torch

from datainf import Scores, load_scores, self_influence
from datainf.applications.mislabeled import COMBINED, SIGNALS, combined, mislabeled
from datainf.applications.suspects_file import write_suspects
from datainf.errors import OptionError
from datainf.run_stores import RunStores
from datainf.runs import open_run


@pytest.fixture(scope="module")
def found(bert_run):
    stores = RunStores.open(bert_run)
    scores = load_scores(bert_run / "scores.safetensors")
    return mislabeled(scores, stores.train, stores.weights), scores, stores.train[0]


def test_the_signals(found):
    suspects, scores, store = found
    assert set(suspects.signals) == set(SIGNALS)
    assert torch.allclose(suspects.signals["influence"], -scores.values.double().mean(dim=0))
    assert torch.allclose(suspects.signals["loss"], store.losses.double())
    own = self_influence(store, "datainf").double()
    assert torch.allclose(suspects.signals["self-influence"], own)
    assert torch.equal(suspects.signals["neighbours"], -suspects.near.agreement)


def test_the_one_rank_is_fisher_s(found):
    suspects = found[0]
    n = len(suspects.combined)
    shares = [
        [float((values >= value).sum()) / n for value in values]
        for values in (suspects.signals[name] for name in COMBINED)
    ]
    fisher = [-sum(math.log(own) for own in of_one) for of_one in zip(*shares, strict=True)]
    truth = torch.tensor([1 - math.exp(-own / len(COMBINED)) for own in fisher])
    assert torch.allclose(suspects.combined, truth.double())
    assert suspects.order == sorted(range(n), key=lambda row: (-suspects.combined[row], row))
    assert 0 <= suspects.combined.min() <= suspects.combined.max() < 1


def test_one_example_alone():
    signals = {name: torch.tensor([0.5]) for name in SIGNALS}
    assert combined(signals).tolist() == [0.0]


def test_scores_without_a_matrix_have_the_same_influence(bert_run, datainf, tmp_path):
    datainf("score", bert_run, "--keep", 3, "--out", tmp_path / "kept")
    stores = RunStores.open(bert_run)
    folders = (bert_run, tmp_path / "kept")
    whole, kept = (load_scores(folder / "scores.safetensors") for folder in folders)
    a, b = (mislabeled(scores, stores.train) for scores in (whole, kept))
    assert torch.allclose(a.signals["influence"], b.signals["influence"], atol=1e-6)
    assert isinstance(whole, Scores)


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_the_table_in_every_form(found, bert_run, tmp_path, ending):
    suspects = found[0]
    finished = open_run(bert_run)
    train = finished.train
    path = tmp_path / "new" / f"suspects{ending}"
    write_suspects(path, suspects, train, finished.describe)
    if ending == ".jsonl":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    elif ending == ".parquet":
        rows = pq.read_table(path).to_pylist()
    else:
        import pyarrow.csv

        rows = pyarrow.csv.read_csv(path, parse_options=pyarrow.csv.ParseOptions(
            newlines_in_values=True)).to_pylist()  # fmt: skip
    assert [row["train_row"] for row in rows] == suspects.order
    assert [row["rank"] for row in rows] == list(range(1, len(train) + 1))
    for row in rows:
        place = row["train_row"]
        assert row["suspicion"] == pytest.approx(float(suspects.combined[place]))
        assert row["self_influence"] == pytest.approx(
            float(suspects.signals["self-influence"][place]), rel=1e-6
        )
        assert str(row["label"]) == str(train[place]["label"])
        assert row["where"] == train.where(place)
        assert row["text"].split() == finished.describe(train[place]).split()


def test_halves_of_letters_are_written(found, bert_run, tmp_path):
    train = open_run(bert_run).train
    write_suspects(tmp_path / "a.csv", found[0], train, lambda _: "a \ud83d b")
    assert "a ? b" in (tmp_path / "a.csv").read_text(encoding="utf-8")


def test_another_ending_is_refused(found, bert_run, tmp_path):
    with pytest.raises(OptionError, match="cannot tell how to write"):
        write_suspects(tmp_path / "suspects.xlsx", found[0], open_run(bert_run).train, str)
