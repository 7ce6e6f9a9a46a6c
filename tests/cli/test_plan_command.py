"""datainf plan, beside the run that it tells of; and what every command refuses."""

from __future__ import annotations

import json
import re
import shutil
from collections import namedtuple

import pytest
import typer.main

from conftest import make_rows, write_rows
from datainf import GradientStore, run_plan
from datainf.cli import app
from datainf.gradients import collector, sample
from datainf.planning import disk
from datainf.store import Index
from smaller import rows_bytes

N, M = 12, 3
Usage = namedtuple("Usage", ["total", "used", "free"])
COMMANDS = typer.main.get_command(app).commands


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    rows = [row | {"id": f"r{i}"} for i, row in enumerate(make_rows("llama") * 2)]
    rows = [{"prompt": "", "completion": row.pop("text"), **row} if "text" in row else row
            for row in rows]  # fmt: skip
    return write_rows(folder / "train.jsonl", rows), write_rows(folder / "query.jsonl", rows[:M])


@pytest.fixture
def call(datainf, saved_llama, data, tmp_path, monkeypatch):
    """A command on the data: (exit code, stdout, stderr without line ends)."""
    monkeypatch.chdir(tmp_path)

    def called(command, *options):
        given = ["--train", data[0], "--query", data[1]]
        if command == "collect":
            given = ["--data", data[0]]
        code, out, err = datainf(command, "--adapter", saved_llama[1], *given, *options)
        return code, out, " ".join(err.split())

    return called


@pytest.fixture
def planned(call):
    """The plan as JSON."""

    def as_json(*options):
        code, out, err = call("plan", "--json", *options)
        assert code == 0, err
        return json.loads(out)

    return as_json


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def shard_bytes(folder):
    return sum(path.stat().st_size for path in files(folder) if path.name.startswith("shard"))


def test_it_takes_the_options_of_attribute():
    flags = {
        name: {flag for parameter in COMMANDS[name].params for flag in parameter.opts}
        for name in ("attribute", "plan")
    }
    assert flags["plan"] == flags["attribute"] - {"--report"} | {"--json"}


@pytest.mark.parametrize("options", [(), ("--store", "int8"), ("--project", "2", "--keep", "5")])
def test_it_tells_what_the_run_then_does(options, planned, call, tmp_path):
    told = planned(*options)
    assert files(tmp_path) == [], "nothing is written"
    code, _, err = call("attribute", *options, "--out", "run")
    assert code == 0, err
    stores = [GradientStore.open(tmp_path / "run" / one["name"]) for one in told["stores"]]
    assert [one["name"] for one in told["stores"]] == ["train", "query", "curvature"]
    for one, store in zip(told["stores"], stores, strict=True):
        assert one["examples"] == len(store)
        assert one["tokens"] == store.index.notes["tokens"]
        assert one["shard_rows"] == store.index.shard_rows
        assert one["done"] == 0
        assert one["missing_bytes"] == one["bytes"] == shard_bytes(store.path)
    assert told["disk"]["stores"] == shard_bytes(tmp_path / "run")
    scores = [tmp_path / "run" / f"scores.{kind}" for kind in ("safetensors", "parquet")]
    header = 10_000
    assert sum(path.stat().st_size for path in scores) <= told["disk"]["scores"] + header
    assert told["row_bytes"] == rows_bytes(stores[0].path) / len(stores[0])
    assert told["tensors"] == len(stores[0].index.blocks)
    assert told["parameters"] == sum(block.width for block in stores[0].index.blocks)
    asked = [form["options"] for form in told["forms"] if form["asked"]]
    assert asked == [" ".join(options[:2]) or "--store float32"]
    notes = stores[0].index.notes
    assert told["collecting"]["batch_tokens"] == notes["batch_tokens"]
    assert told["collecting"]["peak"] > told["collecting"]["in_use"] > 0
    assert told["collecting_time"]["seconds"] > 0
    assert told["scoring"]["method"] == "gauss-newton"
    assert told["scoring"]["curvature_rows"] == len(stores[2])
    assert told["scoring_seconds"] > 0
    assert told["fits"]


def test_its_tables_say_the_same(call, planned, tmp_path):
    told = planned()
    code, out, err = call("plan")
    assert code == 0, err
    assert files(tmp_path) == []
    for one in told["stores"]:
        assert any(
            one["name"] in line and f"{one['tokens']:,}" in line for line in out.splitlines()
        )
    for form in told["forms"]:
        assert form["options"] in out
    assert "--store float32 (as asked)" in out
    assert "examples in full beside" in out
    assert "time for gradients" in out
    assert "It fits." in out
    assert "task: causal-lm" in err


def test_what_is_done_is_not_planned_again(call, planned, tmp_path):
    call("attribute", "--out", "run")
    done = planned("--out", "run")
    assert [one["done"] for one in done["stores"]] == [N, M, 4 * N]
    assert done["disk"]["stores"] == 0
    assert done["collecting"] is None
    assert done["collecting_time"] is None
    assert planned("--config", tmp_path / "run/run.yaml")["disk"]["stores"] == 0
    assert planned()["disk"]["stores"] == shard_bytes(tmp_path / "run"), "without --out, anew"
    shutil.rmtree(tmp_path / "run/query")
    part = planned("--out", "run")
    assert [one["done"] for one in part["stores"]] == [N, 0, 4 * N]
    assert part["collecting_time"]["seconds"] > 0
    code, _, err = call("plan", "--out", "run", "--train-limit", 5)
    assert code == 1
    assert "holds a store that was made for something else" in err


def test_a_run_says_its_plan_first(call, tmp_path):
    code, _, err = call("attribute", "--out", "run")
    assert code == 0, err
    tokens = GradientStore.open(tmp_path / "run/train").index.notes["tokens"]
    said = f"train: 12 examples, {tokens} tokens; query: 3 examples"
    assert said in err
    assert err.index(said) < err.index("to write") < err.index("gradients of")
    assert "some" not in err, "a run of a second is told of no times"
    code, _, err = call("collect", "--out", "more")
    assert f"more: 12 examples, {tokens} tokens; none longer than" in err
    code, _, err = call("attribute", "--out", "run")
    assert "to write" not in err, "all is there"


def free(monkeypatch, count):
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(10**12, 0, count))


@pytest.mark.parametrize("command", ["plan", "attribute", "collect"])
def test_a_disk_that_is_too_small(command, call, planned, monkeypatch, tmp_path):
    monkeypatch.setattr(sample, "MOST_ROWS", 1)  # in full, else smaller forms of few rows are none
    sizes = {form["options"]: form["bytes"] for form in planned()["forms"]}
    assert sizes["--store int8"] < sizes["--store bfloat16"] < sizes["--store float32"]
    # Training examples are a fifth of all; scores take some hundred bytes.
    room = sizes["--store int8"] + 2000
    free(monkeypatch, room // 5 if command == "collect" else room)
    code, _, err = call(command, "--out", "run")
    assert code == 1
    assert "error: the gradients take" in err
    assert "are free in run try: --store int8" in err
    (limit,) = re.findall(r"; or another --out; or (--\S+ \d+)", err)
    flags = ("--limit",) if command == "collect" else ("--curvature-rows", "--train-limit")
    assert limit.startswith(flags)
    assert not (tmp_path / "run").exists(), "refused before anything is made"
    option, count = limit.split()
    assert call(command, option, int(count) + 1, "--out", "run")[0] == 1
    code, _, err = call(command, option, count, "--out", "run")
    assert code == 0, err


def test_what_stands_there_is_no_remedy_s_business(call, monkeypatch, tmp_path):
    """With other examples, or in another form, a store that was begun is refused."""
    assert call("collect", "--out", "run")[0] == 0
    whole = shard_bytes(tmp_path / "run")
    for shard in (tmp_path / "run").glob("shard*"):
        shard.unlink()
    index = Index.load(tmp_path / "run")
    index.shards = []
    index.save(tmp_path / "run")
    free(monkeypatch, whole // 2)
    code, _, err = call("collect", "--out", "run")
    assert code == 1
    assert "try: free some space, and the same command goes on; or --limit" in err
    (limit,) = re.findall(r"or --limit (\d+) in another --out", err)
    assert call("collect", "--limit", limit, "--out", "run")[0] == 1
    assert call("collect", "--limit", limit, "--out", "other")[0] == 0


@pytest.mark.parametrize("options", [(), ("--project", 16)])
def test_queries_for_a_run_are_projected_as_its_own(options, call, datainf, data, monkeypatch):
    monkeypatch.setattr(sample, "MOST_ROWS", 1)
    assert call("attribute", *options, "--method", "gradient", "--out", "run")[0] == 0
    free(monkeypatch, 12_500)  # a little less than as int8 alone, 13 kB
    code, _, err = datainf("collect", "run", "--data", data[0], "--out", "more")
    assert code == 1
    asked = "--store int8 --project 16" if options else "another --out"
    assert f"try: {asked}" in " ".join(err.split())


def test_json_holds_what_does_not_fit(call, monkeypatch):
    free(monkeypatch, 1000)
    code, out, err = call("plan", "--json")
    told = json.loads(out)
    assert code == 1
    assert not told["fits"]
    assert told["collecting"] is None
    assert "the gradients take" in told["problems"][0]["what"]
    assert "try: another --out" in err
    assert "limit" not in err, "not a single example has room"


def test_scores_that_the_disk_has_no_room_for(call, planned, monkeypatch):
    """The ends of each query's order are named only where they are fewer than all."""
    options = ("--method", "gradient", "--top", 2)
    told = planned(*options)
    free(monkeypatch, told["disk"]["stores"] + told["disk"]["scores"] // 2)
    code, _, err = call("plan", *options)
    assert code == 1
    assert "the scores take" in err
    assert "try: another --out" in err, "100 of either end are all"
    monkeypatch.setattr(disk, "KEEP", 3)
    code, _, err = call("plan", *options)
    assert "try: --keep 3, which keeps" in err
    assert call("plan", *options, "--keep", 3)[0] == 0
    code, _, err = call("plan", *options, "--keep", 6)
    assert "try: --keep 3, which keeps" in err
    monkeypatch.setattr(disk, "KEEP", 7)
    code, _, err = call("plan", *options, "--keep", 5)
    assert "--keep" not in err, "which would be more"


def memory(monkeypatch, count):
    """For scores, once the model is dropped."""
    monkeypatch.setattr(run_plan, "freed_bytes", lambda _: count // 3)
    monkeypatch.setattr(run_plan, "available_each", lambda _: count - count // 3)


@pytest.mark.parametrize("command", ["plan", "attribute"])
def test_scores_that_memory_has_no_room_for(command, call, monkeypatch, tmp_path):
    memory(monkeypatch, 150)
    code, _, err = call(command, "--method", "gradient", "--out", "run")
    assert code == 1
    assert "the scores of 3 queries and 12 training examples take 288 bytes; 150 bytes" in err
    assert "try: a machine with more memory" in err
    assert not (tmp_path / "run").exists()


def test_a_matrix_that_memory_has_no_room_for(call, monkeypatch):
    memory(monkeypatch, 500_000)
    code, _, err = call("attribute", "--curvature-rows", "300", "--out", "run")
    assert code == 1
    assert "gauss-newton makes a matrix of 300 × 300, which takes 1.4 MB of" in err
    assert "try: --blocks tensor or" in err


def test_a_longest_example_that_does_not_fit(call, monkeypatch, tmp_path):
    monkeypatch.setattr(collector, "available_each", lambda _: 100_000)
    for command in ("plan", "attribute", "collect"):
        code, _, err = call(command, "--out", "run")
        assert code == 1
        assert "tokens, of which a backward pass takes some" in err
        assert "--max-length" in err
        assert "--dtype bfloat16" in err
    assert not (tmp_path / "run").exists()


def test_everything_that_does_not_fit_is_said(call, monkeypatch):
    free(monkeypatch, 1000)
    memory(monkeypatch, 150)
    code, _, err = call("plan", "--method", "gradient")
    assert code == 1
    assert "the scores of 3 queries and 12 training examples take 288 bytes" in err
    assert "error: the gradients take" in err


def test_a_folder_s_name_is_shown_as_it_is(call):
    code, out, err = call("plan", "--out", "[bold]run[/nothing]")
    assert code == 0, err
    assert "[bold]run" in out


def test_the_model_s_memory_is_there_for_scores(planned, monkeypatch):
    monkeypatch.setattr(run_plan, "available_each", lambda _: 10**9)
    monkeypatch.setattr(run_plan, "in_use", lambda _: 10**8)
    told = planned()
    weights = told["collecting"]["weights"]
    assert weights > 10_000
    assert told["scoring"]["available"] == 10**9 + weights
    assert told["scoring"]["in_use"] == 10**8 - weights
