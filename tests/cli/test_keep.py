"""--keep: the ends of every query's order in place of all pairs, in a run and scored again."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import yaml

from conftest import make_rows, write_rows
from datainf import GradientStore, Scores, TopScores, attribute, attribute_top, load_scores
from datainf.cli.tables import column
from datainf.config import RunConfig, read_config
from datainf.errors import OptionError
from datainf.evaluation.run_evaluation import _Run
from datainf.ranks import Ranks
from datainf.runs import run

M, N, KEPT = 3, 12, 2


@pytest.fixture(scope="module")
def config(tmp_path_factory, saved_llama):
    folder = tmp_path_factory.mktemp("keep")
    rows = [
        {"prompt": row.get("prompt", ""), "completion": row.get("completion", row.get("text"))}
        for row in make_rows("llama") * 2
    ]
    train = write_rows(folder / "train.jsonl", rows)
    query = write_rows(folder / "query.jsonl", rows[:M])
    out = str(folder / "run")
    return RunConfig(str(train), str(query), out, adapter=str(saved_llama[1]), keep=KEPT, top=2)


@pytest.fixture(scope="module")
def kept(config):
    """A run's folder; what it said."""
    said = []
    run(config, say=said.append)
    return Path(config.out), " ".join(said)


def stores_of(folder):
    return [GradientStore.open(folder / part) for part in ("train", "query", "curvature")]


def same(found, expected):
    assert isinstance(found, TopScores)
    for one, other in ((found.helpful, expected.helpful), (found.harmful, expected.harmful)):
        assert all(torch.equal(tensor, vars(other)[name]) for name, tensor in vars(one).items())
    assert torch.equal(found.mean, expected.mean)


def test_a_run_keeps_the_ends(kept):
    folder, said = kept
    train, query, drawn = stores_of(folder)
    found = load_scores(folder / "scores.safetensors")
    same(found, attribute_top(train, query, curvature=drawn, k=KEPT))
    assert found.shape == (M, N)
    assert "the first 2 of either end of each query are kept" in said
    assert yaml.safe_load((folder / "run.yaml").read_text())["keep"] == KEPT
    whole = attribute(train, query, curvature=drawn)
    table = pq.read_table(folder / "scores.parquet").to_pylist()
    assert len(table) == M * 2 * KEPT
    assert {row["rank"] for row in table} == {0, 1, N - 2, N - 1}
    for row in table:
        truth = whole.values[row["query_row"], row["train_row"]]
        assert row["score"] == pytest.approx(float(truth), rel=1e-4)
    lines = [json.loads(line) for line in (folder / "top.jsonl").read_text().splitlines()]
    for row, line in enumerate(lines):
        for key, largest in (("helpful", True), ("harmful", False)):
            entries = [(entry["train_id"], entry["score"]) for entry in line[key]]
            assert entries == [tuple(one) for one in found.top(row, 2, largest=largest)]


def test_top_shows_what_is_kept(kept, datainf):
    folder, _ = kept
    found = load_scores(folder / "scores.safetensors")
    code, out, err = datainf("top", folder, "--query", "1", "-k", KEPT)
    assert code == 0, err
    assert all(score in out for score in column([entry.score for entry in found.top(1, KEPT)]))
    assert datainf("top", folder, "--query", "1")[1] == out, "unless told otherwise, those"
    code, out, err = datainf("top", folder, "--mean", "-k", KEPT + 1)
    assert code == 0, err
    assert column([score for _, score in found.top(None, KEPT + 1)])[0] in out
    code, out, err = datainf("top", folder, "-k", KEPT + 1)
    assert code == 1
    assert out == "", "refused before anything is shown"
    err = " ".join(err.split())
    assert (
        "3 training examples were asked for, and the 2 most helpful and 2 most harmful of each "
        "query are kept"
    ) in err
    assert "datainf score with --keep 3" in err


def test_top_shows_what_other_scores_keep(kept, datainf, tmp_path):
    """More of them than the run kept, or fewer."""
    folder, _ = kept
    for k in (1, 4):
        code, _, err = datainf("score", folder, "--keep", k, "--out", tmp_path / str(k))
        assert code == 0, err
        shown = ("top", folder, "--scores", tmp_path / str(k))
        code, out, err = datainf(*shown)
        assert code == 0, err
        assert datainf(*shown, "-k", k)[1] == out
        code, out, _ = datainf(*shown, "-k", k + 1)
        assert (code, out) == (1, "")


def test_a_run_is_scored_again_as_it_kept(kept, datainf, tmp_path):
    folder, _ = kept
    code, _, err = datainf("score", folder, "--out", tmp_path / "same")
    assert code == 0, err
    written = (tmp_path / "same" / "scores.safetensors").read_bytes()
    assert written == (folder / "scores.safetensors").read_bytes()
    code, _, err = datainf(
        "score", folder, "--method", "exact", "--damping", "0.1", "--damping", "rows:3",
        "--keep", 4, "--out", tmp_path / "by",
    )  # fmt: skip
    assert code == 0, err
    train, query, _ = stores_of(folder)
    for damping in ("0.1", "rows:3"):
        place = tmp_path / "by" / f"damping-{damping.replace(':', '-')}"
        expected = attribute_top(train, query, "exact", damping=damping, k=4)
        same(load_scores(place / "scores.safetensors"), expected)
        code, _, err = datainf("top", folder, "--scores", place, "-k", 4)
        assert code == 0, err


def test_new_queries_are_kept_alike(kept, datainf, tmp_path):
    folder, _ = kept
    data = write_rows(tmp_path / "more.jsonl", [{"prompt": "", "completion": "what now?"}])
    assert datainf("collect", folder, "--data", data, "--out", tmp_path / "more")[0] == 0
    scores = tmp_path / "more" / "scores"
    code, _, err = datainf("score", folder, "--query", tmp_path / "more", "--out", scores)
    assert code == 0, err
    assert load_scores(scores / "scores.safetensors").shape == (1, N)
    code, out, err = datainf("top", folder, "--scores", scores, "-k", 1)
    assert code == 0, err
    assert "what now?" in out


def test_all_pairs_and_the_ends_take_each_others_place(kept, datainf, tmp_path):
    train, query, _ = stores_of(kept[0])
    named = ("score", "--train", train.path, "--query", query.path, "--method", "gradient")
    path = tmp_path / "scores.safetensors"
    assert datainf(*named, "--out", tmp_path)[0] == 0
    assert isinstance(load_scores(path), Scores)
    for keep, held in ((3, "damping 0.1"), (5, "the first 3 of either end of each query are kept")):
        code, _, err = datainf(*named, "--keep", keep, "--out", tmp_path)
        assert code == 0, err
        assert load_scores(path).kept == keep
        err = " ".join(err.split())
        assert "is replaced; it held scores by gradient" in err
        assert held in err


def test_what_is_replaced_is_read_by_the_first_process_alone(kept, datainf, tmp_path, monkeypatch):
    """By the others it could be read half written."""
    train, query, _ = stores_of(kept[0])
    (tmp_path / "scores.safetensors").write_bytes(b"half")
    monkeypatch.setattr(Ranks, "of_first", lambda *_: None)  # as of another one
    options = ("--train", train.path, "--query", query.path, "--method", "gradient")
    code, _, err = datainf("score", *options, "--out", tmp_path)
    assert code == 0, err
    assert "is replaced" not in err


def test_evaluate_scores_such_a_run(kept):
    """From its stores: it takes all pairs, whatever the run kept."""
    folder, _ = kept
    train, query, drawn = stores_of(folder)
    settings = RunConfig.from_values(read_config(folder / "run.yaml"), "run.yaml")
    scored = _Run(folder, settings).scored(["gauss-newton", "cosine"], print)
    whole = attribute(train, query, curvature=drawn)
    assert torch.equal(scored["gauss-newton"].own, whole.values)


@pytest.mark.usefixtures("kept")
def test_no_fewer_are_kept_than_shown(config, datainf):
    with pytest.raises(OptionError, match="5 examples of each end are to be shown, and 3 kept"):
        RunConfig("a", "b", "c", adapter="d", keep=3)
    code, _, err = datainf("attribute", "--config", f"{config.out}/run.yaml", "--top", KEPT + 1)
    assert code == 1
    assert "--keep 3 or more" in " ".join(err.split())
    code, _, err = datainf("score", config.out, "--keep", 0, "--out", "x")
    assert code == 2
    assert "--keep" in err
