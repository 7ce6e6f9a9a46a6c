"""The curvature in a run: taken, kept, used by other methods, or done without."""

from __future__ import annotations

import shutil

import pytest
import torch
import yaml

from conftest import make_rows, write_rows
from datainf import GradientStore, Scores, attribute
from datainf.config import RunConfig, read_config
from datainf.evaluation.run_evaluation import _Run

N = 6


@pytest.fixture(scope="module")
def place(tmp_path_factory, saved_llama):
    """A folder with data and a run by the default method."""
    from datainf.runs import run

    folder = tmp_path_factory.mktemp("curvature")
    rows = [
        {"prompt": row.get("prompt", ""), "completion": row.get("completion", row.get("text"))}
        for row in make_rows("llama")
    ]
    train = write_rows(folder / "train.jsonl", rows)
    query = write_rows(folder / "query.jsonl", rows[:2])
    said = []
    run(
        RunConfig(str(train), str(query), str(folder / "run"), adapter=str(saved_llama[1])),
        say=said.append,
    )
    return folder, said


def stores_of(run):
    return [GradientStore.open(run / part) for part in ("train", "query", "curvature")]


def test_the_default_takes_a_curvature_and_says_so(place):
    folder, said = place
    train, query, drawn = stores_of(folder / "run")
    assert len(train) == N
    assert len(drawn) == 4 * N
    assert any("24 gradients of drawn targets, for the curvature" in line for line in said)
    scores = Scores.load(folder / "run" / "scores.safetensors")
    assert scores.method == "gauss-newton"
    assert torch.equal(scores.values, attribute(train, query, curvature=drawn).values)
    assert yaml.safe_load((folder / "run" / "run.yaml").read_text())["method"] == "gauss-newton"


def test_new_queries_and_methods_use_it_again(place, datainf, tmp_path):
    run = place[0] / "run"
    train, query, drawn = stores_of(run)
    for method in ("gauss-newton", "exact"):
        code, *_ = datainf("score", "--train", run / "train", "--query", run / "query",
                           "--curvature", run / "curvature", "--method", method,
                           "--out", tmp_path / method)  # fmt: skip
        assert code == 0
        found = Scores.load(tmp_path / method / "scores.safetensors").values
        assert torch.equal(found, attribute(train, query, method, curvature=drawn).values)
    code, _, err = datainf("score", "--train", run / "train", "--query", run / "query",
                           "--method", "gauss-newton", "--out", tmp_path / "without")  # fmt: skip
    assert code != 0
    assert "needs gradients of drawn targets" in err


def test_it_is_collected_alone(place, saved_llama, datainf, tmp_path):
    folder = place[0]
    code, _, err = datainf("collect", "--adapter", saved_llama[1], "--data", folder / "train.jsonl",
                           "--curvature-rows", 4 * N, "--out", tmp_path / "drawn")  # fmt: skip
    assert code == 0, err
    drawn, own = GradientStore.open(tmp_path / "drawn"), stores_of(folder / "run")[2]
    assert drawn.ids == own.ids
    for name, G in own.blocks.items():
        torch.testing.assert_close(drawn.blocks[name].to_dense(), G.to_dense())


def test_another_method_takes_it_where_asked(place, saved_llama, datainf, tmp_path):
    folder = place[0]
    shared = ("attribute", "--adapter", saved_llama[1], "--train", folder / "train.jsonl",
              "--query", folder / "query.jsonl", "--method", "exact")  # fmt: skip
    assert datainf(*shared, "--out", tmp_path / "own")[0] == 0
    assert not (tmp_path / "own" / "curvature").exists()
    assert datainf(*shared, "--out", tmp_path / "drawn", "--curvature-rows", 10)[0] == 0
    train, query, drawn = stores_of(tmp_path / "drawn")
    assert len(drawn) == 10
    found = Scores.load(tmp_path / "drawn" / "scores.safetensors").values
    assert torch.equal(found, attribute(train, query, "exact", curvature=drawn).values)
    assert not torch.allclose(found, attribute(train, query, "exact").values)
    # `evaluate` scores the run's own method as the run did.
    config = RunConfig.from_values(read_config(tmp_path / "drawn" / "run.yaml"), "run.yaml")
    again = _Run(tmp_path / "drawn", config).scored(["this run", "gauss-newton"], print)
    assert torch.equal(again["this run"].own, found)
    code, _, err = datainf(*shared[:-1], "gradient", "--out", tmp_path / "g",
                           "--curvature-rows", 10)  # fmt: skip
    assert code != 0
    assert "gradient has no curvature" in err
    code, _, err = datainf(*shared[:-2], "--out", tmp_path / "s", "--steps", 3)
    assert code != 0
    assert "steps of which method" in err


def test_without_it_evaluate_leaves_the_method_out(place, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(place[0] / "run", run)
    shutil.rmtree(run / "curvature")
    config = RunConfig.from_values(read_config(run / "run.yaml"), "run.yaml")
    said = []
    from dataclasses import replace

    found = _Run(run, replace(config, out=str(run))).scored([], said.append)
    assert "gauss-newton" not in found
    assert "ridge" in found
    assert any("gauss-newton is left out" in line for line in said)


@pytest.mark.parametrize("left", ["shard", "index.json"])
def test_methods_without_do_with_a_broken_one(left, place, datainf, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(place[0] / "run", run)
    for file in (run / "curvature").iterdir():
        if file.name.startswith(left):
            file.unlink()
    code, _, err = datainf("score", run, "--method", "gradient", "--out", tmp_path / "scores")
    assert code == 0, err
    code, _, err = datainf("score", run, "--out", tmp_path / "own")
    assert code != 0
    expected = {"shard": "is missing", "index.json": "needs gradients of drawn targets"}
    assert expected[left] in " ".join(err.split())


def test_a_classifier_does_without(saved_bert, datainf, tmp_path):
    rows = [{"text": row["text"], "label": row["label"]} for row in make_rows("bert")]
    data = write_rows(tmp_path / "rows.jsonl", rows)
    shared = ("attribute", "--adapter", saved_bert[1], "--train", data, "--query", data)
    code, _, err = datainf(*shared, "--out", tmp_path / "run")
    assert code == 0, err
    assert "method: ridge (classification: an example has one target)" in " ".join(err.split())
    assert Scores.load(tmp_path / "run" / "scores.safetensors").method == "ridge"
    assert not (tmp_path / "run" / "curvature").exists()
    code, _, err = datainf(*shared, "--method", "gauss-newton", "--out", tmp_path / "gn")
    assert code == 0, err
    train, query, drawn = stores_of(tmp_path / "gn")
    found = Scores.load(tmp_path / "gn" / "scores.safetensors").values
    assert torch.equal(found, attribute(train, query, curvature=drawn).values)


def test_a_preference_has_none(saved_llama, datainf, tmp_path):
    rows = [
        {"prompt": f"say {i} ", "chosen": "yes, I will", "rejected": f"no {i}"} for i in range(4)
    ]
    data = write_rows(tmp_path / "pairs.jsonl", rows)
    shared = ("attribute", "--adapter", saved_llama[1], "--train", data, "--query", data,
              "--task", "preference")  # fmt: skip
    code, _, err = datainf(*shared, "--out", tmp_path / "run")
    assert code == 0, err
    assert "method: ridge (preference: no targets can be drawn); --method overrules" in " ".join(
        err.split()
    )
    assert Scores.load(tmp_path / "run" / "scores.safetensors").method == "ridge"
    assert not (tmp_path / "run" / "curvature").exists()
    code, _, err = datainf(*shared, "--method", "gauss-newton", "--out", tmp_path / "gn")
    assert code != 0
    assert "does not say which targets a model would draw" in " ".join(err.split())
    assert "--method ridge" in err
