"""The command line as a person meets it: files in, tables and files out, errors on one screen."""

from __future__ import annotations

import json
import shutil

import peft
import pyarrow.parquet as pq
import pytest
import torch
import transformers
import typer.main
import yaml
from safetensors.torch import load_file, save_file

from conftest import SMALL, make_rows, write_rows
from datainf import GradientStore, Scores, attribute, collect, collect_curvature, tasks
from datainf.cli import app
from datainf.cli.score import _unconverged
from datainf.cli.tables import column
from datainf.models import load_model

COMMANDS = sorted(typer.main.get_command(app).commands)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    rows = [row | {"id": f"r{i}"} for i, row in enumerate(make_rows("llama") * 2)]
    rows = [{"prompt": "", "completion": row.pop("text"), **row} if "text" in row else row
            for row in rows]  # fmt: skip
    return write_rows(folder / "train.jsonl", rows), write_rows(folder / "query.jsonl", rows[:3])


@pytest.fixture(scope="module")
def finished(data, saved_llama, tmp_path_factory):
    """A run folder, by the command itself."""
    out = tmp_path_factory.mktemp("run") / "run"
    arguments = ["attribute", "--adapter", saved_llama[1], "--train", data[0], "--query", data[1],
                 "--out", out, "--top", 2]  # fmt: skip
    typer.main.get_command(app).main([str(a) for a in arguments], standalone_mode=False)
    return out


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_and_option_has_help(command, datainf):
    code, out, _ = datainf(*filter(None, [command]), "--help")
    assert code == 0
    assert "Usage" in out
    group = typer.main.get_command(app)
    shown = group.commands[command] if command else group
    for parameter in shown.params:
        if parameter.param_type_name == "argument":  # older typer keeps its help elsewhere
            assert f"{parameter.name} " in out.lower()
        else:
            assert parameter.help, f"{command} {parameter.name}"


def test_no_command_shows_the_help(datainf):
    code, out, _ = datainf()
    assert code == 2
    assert all(command in out for command in COMMANDS)
    assert datainf("--version")[1].startswith("datainf 0.")


def test_attribute_gives_what_the_library_gives(finished, data, saved_llama, tmp_path):
    loaded = load_model(None, str(saved_llama[1]), "causal-lm")
    task = tasks.CausalLM(loaded.tokenizer)
    stores = [
        collect(loaded.model, [json.loads(line) for line in path.read_text().splitlines()],
                task, out=tmp_path / path.stem)
        for path in data
    ]  # fmt: skip
    rows = [json.loads(line) for line in data[0].read_text().splitlines()]
    drawn = collect_curvature(loaded.model, rows, task, out=tmp_path / "curvature")
    truth = attribute(*stores, curvature=drawn)
    scores = Scores.load(finished / "scores.safetensors")
    assert torch.equal(scores.values, truth.values)
    assert scores.train_ids == [f"r{i}" for i in range(12)]
    assert scores.query_ids == ["r0", "r1", "r2"]
    lines = [json.loads(line) for line in (finished / "top.jsonl").read_text().splitlines()]
    assert [line["query_id"] for line in lines] == scores.query_ids
    for row, line in enumerate(lines):
        for key, largest in (("helpful", True), ("harmful", False)):
            found = [(entry["train_id"], entry["score"]) for entry in line[key]]
            assert found == [tuple(entry) for entry in scores.top(row, 2, largest=largest)]
        assert line["helpful"][0]["where"].startswith("train.jsonl, row ")
        assert line["loss"] == pytest.approx(float(stores[1].losses[row]))
    table = pq.read_table(finished / "scores.parquet").to_pylist()
    assert len(table) == 36
    entry = next(e for e in table if e["query_id"] == "r1" and e["rank"] == 0)
    assert entry["train_id"] == scores.top(1, 1)[0].train_id
    assert sorted(path.name for path in finished.iterdir()) == [
        "curvature", "provenance.jsonl", "query", "report.html", "run.yaml", "scores.parquet",
        "scores.safetensors", "top.jsonl", "train",
    ]  # fmt: skip


def test_attribute_prints_the_examples(finished, datainf):
    code, out, err = datainf("attribute", "--config", finished / "run.yaml")
    assert code == 0
    assert "query r0" in out
    assert "query r2" in out
    assert "most helpful" in out
    assert "most harmful" in out
    best = Scores.load(finished / "scores.safetensors").top(0, 1)[0]
    assert str(best.train_id) in out
    err = " ".join(err.split())
    assert "task: causal-lm (the adapter's task type CAUSAL_LM); --task overrules" in err
    assert (
        "12 examples; prompt=prompt, completion=completion, id=id; --prompt-column, "
        "--completion-column, --id-column overrule"
    ) in err
    assert "\x1b[" not in out + err, "no colours and no bars when not a terminal"


def test_a_run_replays_to_the_same_bytes(finished, datainf, tmp_path):
    again = tmp_path / "again"
    code, *_ = datainf("attribute", "--config", finished / "run.yaml", "--out", again)
    assert code == 0
    old, new = files(finished), files(again)
    assert old.keys() == new.keys()
    different = {name for name in old if old[name] != new[name]}
    own = {"report.html", "run.yaml", "provenance.jsonl"}
    assert different == own, "they name their own folder, and the time"
    code, *_ = datainf("attribute", "--config", again / "run.yaml", "--top", 1)
    assert code == 0
    assert yaml.safe_load((again / "run.yaml").read_text())["top"] == 1
    assert files(again)["scores.safetensors"] == old["scores.safetensors"]


def test_collect_and_score_are_the_two_halves(finished, data, saved_llama, datainf, tmp_path):
    for path in data:
        code, *_ = datainf("collect", "--adapter", saved_llama[1], "--data", path,
                           "--out", tmp_path / path.stem)  # fmt: skip
        assert code == 0
    code, *_ = datainf("collect", "--adapter", saved_llama[1], "--data", data[0],
                       "--curvature-rows", 48, "--out", tmp_path / "drawn")  # fmt: skip
    assert code == 0
    code, _, err = datainf("score", "--train", tmp_path / "train", "--query", tmp_path / "query",
                           "--curvature", tmp_path / "drawn",
                           "--out", tmp_path / "scores")  # fmt: skip
    assert code == 0, err
    assert (tmp_path / "scores/scores.safetensors").read_bytes() == (
        finished / "scores.safetensors"
    ).read_bytes()
    dampings = ["--damping", "0.1", "--damping", "trace:0.02", "--damping", "abs:1e-3"]
    code, _, err = datainf("score", "--train", finished / "train", "--query", finished / "query",
                           "--out", tmp_path / "sweep", "--method", "exact", *dampings)  # fmt: skip
    assert code == 0, err
    train, query = (GradientStore.open(finished / part) for part in ("train", "query"))
    for name, folder in [("trace:0.02", "damping-trace-0.02"), ("abs:1e-3", "damping-abs-1e-3")]:
        found = Scores.load(tmp_path / "sweep" / folder / "scores.safetensors")
        truth = attribute(train, query, "exact", damping=name)
        assert torch.allclose(found.values, truth.values, rtol=1e-4, atol=1e-6)
    sweep = tmp_path / "sweep"
    code, out, _ = datainf("top", finished, "--scores", sweep / "damping-abs-1e-3", "-k", 1)
    assert code == 0
    best = Scores.load(sweep / "damping-abs-1e-3" / "scores.safetensors").top(0, 1)[0]
    (shown,) = column([best.score])
    assert shown in out
    datainf("score", "--train", finished / "train", "--query", finished / "train",
            "--out", tmp_path / "other")  # fmt: skip
    code, _, err = datainf("top", finished, "--scores", tmp_path / "other")
    assert code == 1
    assert "are not of the examples" in err
    code, _, err = datainf("score", "--train", finished / "train", "--query", finished / "query",
                           "--out", tmp_path / "cg", "--method", "cg", "--steps", 2)  # fmt: skip
    assert "largest relative residual" in err
    code, _, err = datainf("score", "--train", finished / "train", "--query", finished / "query",
                           "--out", tmp_path / "x", "--damping", "1", "--damping", "1")  # fmt: skip
    assert code == 1


def test_top_shows_any_query(finished, datainf):
    code, out, _ = datainf("top", finished, "--query", "r1", "-k", 3)
    assert code == 0
    scores = Scores.load(finished / "scores.safetensors")
    for largest in (True, False):
        told = [e.score for e in scores.top(1, 3, largest=largest) if (e.score > 0) == largest]
        if told:
            assert all(score in out for score in column(told))
    code, out, _ = datainf("top", finished, "--mean", "-k", 1)
    assert code == 0
    mean = scores.values.double().mean(0)
    assert column([float(mean.max())])[0] in out
    worst = "no harmful example" if mean.min() > 0 else column([float(mean.min())])[0]
    assert worst in out
    assert datainf("top", finished, "--mean", "--query", "r1")[0] == 1
    code, _, err = datainf("top", finished, "--query", "nobody")
    assert code == 1
    assert "there is no query 'nobody'" in err
    assert "r0, r1, r2" in err


@pytest.mark.parametrize(
    ("scores", "shown"),
    [
        ([-12050.4, -8929.1], ["-12050", "-8929"]),
        ([9.99996, 0.5], ["+10.000", "+0.500"]),
        ([0.0123456, 0.005], ["+0.01235", "+0.00500"]),
        ([1234.5, 99.25], ["+1234", "+99"]),
        ([3e6, 2e6], ["+3.000e+06", "+2.000e+06"]),
        ([-1e-9], ["-1.000e-09"]),
        ([12.0, 0.001], ["+1.200e+01", "+1.000e-03"]),
        ([-0.25, 0.0], ["-0.2500", "+0.0000"]),
        ([0.0], ["+0.000"]),
    ],
)
def test_scores_of_a_column_are_written_in_one_way(scores, shown):
    assert column(scores) == shown


def test_inspect_shows_every_block_in_full(finished, datainf):
    code, out, _ = datainf("inspect", finished / "train")
    assert code == 0
    joined = "".join(part.strip(" │") for part in out.splitlines())
    blocks = GradientStore.open(finished / "train").index.blocks
    for block in blocks:
        assert block.name in joined.replace("│", "") or block.name in out
    assert "more numbers a row than there are examples (12)" in out
    parameters = sum(block.width for block in blocks)
    assert " ".join(out.split()).startswith(
        f"{finished / 'train'}: 12 gradients of {parameters:,} parameters in {len(blocks)} "
        "tensors; --store float32"
    )


def test_what_is_said_of_scores_and_of_one_is_in_words(finished, data, datainf, tmp_path):
    code, _, err = datainf("score", finished, "--keep", 5, "--out", tmp_path / "k5")
    assert code == 0, err
    assert "k5: 3 queries, 12 training examples" in " ".join(err.split())
    assert "TopScores(" not in err
    code, _, err = datainf("collect", finished, "--data", data[1], "--limit", 1,
                           "--out", tmp_path / "one")  # fmt: skip
    assert code == 0, err
    said = " ".join(err.split())
    assert "query.jsonl: 1 example;" in said
    assert "one: 1 gradient of" in said


def test_classification_pairs_from_named_columns(saved_bert, datainf, tmp_path):
    rows = [{"a": f"first {i}", "b": f"second {i}", "gold": i % 3} for i in range(6)]
    train = write_rows(tmp_path / "train.jsonl", rows)
    code, out, err = datainf(
        "attribute", "--adapter", saved_bert[1], "--train", train, "--query", train,
        "--out", tmp_path / "run", "--text-column", "a", "--text-pair-column", "b",
        "--label-column", "gold", "--query-limit", 2, "--method", "exact", "--normalize", "unit",
        "--blocks", "model", "--damping", "trace:0.02",
    )  # fmt: skip
    assert code == 0, err
    assert "[0] first 0 ‖ second 0" in out
    scores = Scores.load(tmp_path / "run" / "scores.safetensors")
    assert scores.shape == (2, 6)
    assert scores.settings["blocks"] == "model"
    names = {b.name for b in GradientStore.open(tmp_path / "run/train").index.blocks}
    assert any("modules_to_save" in name and name.endswith("bias") for name in names)


def test_long_inputs_are_cut_and_counted(saved_llama, datainf, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", [{"text": "x y" * 200}, {"text": "short"}])
    code, _, err = datainf("collect", "--adapter", saved_llama[1], "--data", rows,
                           "--out", tmp_path / "s")  # fmt: skip
    assert code == 0
    assert "1 of 2 examples was cut to 96 tokens" in " ".join(err.split())


def test_text_from_the_data_cannot_steer_the_terminal(saved_llama, datainf, tmp_path):
    rows = [{"text": "[bold]markup[/] \x1b[31mred\x07 \u202eback", "id": "\x1b]0;title\x07"}]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    code, out, err = datainf("attribute", "--adapter", saved_llama[1], "--train", path,
                             "--query", path, "--out", tmp_path / "run")  # fmt: skip
    assert code == 0, err
    assert "\x1b" not in out + err
    assert "\x07" not in out + err
    assert "\u202e" not in out
    assert "[bold]markup[/]" in out
    assert "\\x1b[31mred" in out


@pytest.fixture
def attempt(datainf, saved_llama, data, tmp_path):
    """attribute with some options changed; → (exit code, what stderr says)."""

    def call(**changes: object) -> tuple[int, str]:
        options = {"adapter": saved_llama[1], "train": data[0], "query": data[1],
                   "out": tmp_path / "run"} | changes  # fmt: skip
        flags = [part for name, value in options.items() if value is not None
                 for part in (f"--{name.replace('_', '-')}", value)]  # fmt: skip
        code, _, err = datainf("attribute", *flags)
        return code, err

    return call


def test_bad_input_ends_in_one_screen(attempt, saved_bert, tmp_path):
    empty = write_rows(tmp_path / "empty.jsonl", [])
    gap = write_rows(tmp_path / "gap.jsonl", [{"text": "a", "label": 0}, {"label": 1}])
    high = write_rows(
        tmp_path / "high.jsonl", [{"text": "a", "label": 0}, {"text": "b", "label": 7}]
    )
    mixed = write_rows(
        tmp_path / "mixed.jsonl", [{"text": "a", "label": 0}, {"text": "b", "label": [0, 1]}]
    )
    nothing = write_rows(
        tmp_path / "nothing.jsonl", [{"text": "a", "label": [0]}, {"text": "b", "label": [None]}]
    )
    (tmp_path / "taken").write_text("")
    bert = {"adapter": saved_bert[1], "task": "classification"}
    for changes, expected in [
        ({"train": tmp_path / "no.jsonl"}, ["there is no file", "no.jsonl", "try:"]),
        ({"train": empty}, ["empty.jsonl, the training data, holds no row"]),
        ({"query": empty}, ["empty.jsonl, the query data, holds no row"]),
        (bert | {"train": gap, "query": gap}, ["gap.jsonl, row 1 (line 2)", "text is missing"]),
        (bert | {"train": high, "query": high},
         ["high.jsonl, row 1 (line 2)", "label 7 is out of range", "0 to 2", "try:"]),
        (bert | {"train": mixed, "query": high},
         ["mixed.jsonl, row 1 (line 2)", "a list of labels", "row 0 (line 1) has one"]),
        (bert | {"train": nothing, "query": high},
         ["nothing.jsonl, row 1 (line 2)", "None is a NoneType"]),
        ({"adapter": tmp_path / "none"}, ["there is no folder", "try:"]),
        ({"adapter": None}, ["neither a model nor an adapter", "--adapter DIR"]),
        ({"method": "magic"}, ["magic", "datainf"]),
        ({"damping": "-1"}, ["-1", "rows:20 or abs:1e-3; or flow"]),
        ({"damping": "many"}, ["many", "rows:20 or abs:1e-3; or flow"]),
        ({"normalize": "l7"}, ["l7", "none or unit"]),
        ({"blocks": "all"}, ["all", "tensor or module or model"]),
        ({"task": "poetry"}, ["poetry", "causal-lm or classification or token-classification"]),
        ({"device": "toaster"}, ["toaster", "cpu"]),
        ({"dtype": "float8"}, ["float8", "bfloat16"]),
        ({"method": "datainf", "steps": 3}, ["steps"]),
        ({"trainable": "nothing*"}, ["nothing*"]),
        ({"train": None, "query": None}, ["attribute: not given: --train, --query"]),
        ({"out": tmp_path / "taken"}, ["cannot write", "a file stands in its place"]),
        ({"max_length": 1}, ["at least 2"]),
    ]:  # fmt: skip
        code, err = attempt(**changes)
        assert code == 1, (changes, err)
        for part in ["error:", *expected]:
            assert part in err, (changes, err)
        assert "Traceback" not in err
        assert len(err.splitlines()) < 12, err


@pytest.mark.parametrize(("command", "named"), [
    (["attribute", "--adapter", "a", "--train", "t", "--query", "q", "--out", ""], "--out"),
    (["attribute", "--adapter", "a", "--train", "", "--query", "q", "--out", "o"], "--train"),
    (["collect", "--adapter", "a", "--out", "o", "--data="], "--data"),
    (["score", "--train", "t", "--query", "", "--out", "o"], "--query"),
    (["score", "run", "--out="], "--out"),
    (["score", "--check", ""], "an argument"),
    (["top", "", "-k", "3"], "an argument"),
])  # fmt: skip
def test_what_is_empty_does_not_name_this_folder(command, named, datainf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = datainf(*command)
    assert code == 1
    assert f"error: {named} is empty" in err
    assert "try: " in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", ["input_ids", "labels"])
@pytest.mark.parametrize("odd", [-1, SMALL["vocab_size"], 99999])
def test_ids_beyond_the_vocabulary_are_named(part, odd, attempt, tmp_path):
    row = {"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}
    rows = [row, row | {part: [*row[part][:2], odd]}]
    code, err = attempt(train=write_rows(tmp_path / "ids.jsonl", rows))
    assert code == 1
    assert f"ids.jsonl, row 1 (line 2): {part} holds {odd}, and the model's vocabulary has" in err
    assert f"{SMALL['vocab_size']} ids" in " ".join(err.split())
    assert "try:" in err


def test_an_option_that_is_no_number_is_a_usage_error(datainf):
    code, _, err = datainf("attribute", "--top", "many")
    assert code == 2
    assert "--top" in err


@pytest.mark.parametrize(
    "option",
    ["--top 0", "--train-limit 0", "--query-limit -1", "--batch-tokens 0", "--shard-rows 0",
     "--curvature-rows 0", "--keep 0", "--project 0", "--project 1", "--store int4"],
)  # fmt: skip
def test_a_value_that_is_never_right_is_a_usage_error(option, datainf):
    name, value = option.split()
    for command in ("attribute", "plan"):
        code, out, err = datainf(command, name, value)
        assert (code, out) == (2, "")
        assert name in err
        assert "Traceback" not in err


def test_gradients_that_are_not_finite_are_named(attempt, saved_llama, tmp_path):
    adapter = shutil.copytree(saved_llama[1], tmp_path / "nan")
    path = adapter / "adapter_model.safetensors"
    weights = load_file(path)
    next(iter(weights.values())).fill_(float("nan"))
    save_file(weights, path, metadata={"format": "pt"})
    code, err = attempt(adapter=adapter)
    assert code == 1
    assert "the loss is NaN or infinite" in err
    assert "(id 'r3')" in err
    assert "train.jsonl, row 3 (line 4)" in err


def test_data_that_changed_since_the_run_is_refused(data, datainf, attempt, tmp_path):
    code, err = attempt()
    assert code == 0
    train = tmp_path / "train.jsonl"
    shutil.copy(data[0], train)
    run = tmp_path / "moved"
    code, err = attempt(train=train, out=run)
    assert code == 0
    with train.open("a") as file:
        file.write('{"prompt": "new", "completion": "row", "id": "new"}\n')
    code, _, err = datainf("top", run)
    assert code == 1
    assert "has changed since the run" in err
    code, err = attempt(train=train, out=run)
    assert code == 1
    assert "data" in err
    train.unlink()
    code, err = attempt(train=data[1], out=run)
    assert code == 1
    assert "made for something else" in err
    assert yaml.safe_load((run / "run.yaml").read_text())["train"] == str(train), "kept"
    code, _, err = datainf("top", run)
    assert code == 1
    assert "there is no file" in err


def test_folders_that_are_no_run_or_store(datainf, tmp_path):
    for command in ("top", "inspect"):
        code, _, err = datainf(command, tmp_path)
        assert code == 1
        assert "error:" in err
    (tmp_path / "run.yaml").write_text("train: [unclosed")
    code, _, err = datainf("attribute", "--config", tmp_path / "run.yaml")
    assert code == 1
    assert "not valid YAML" in err
    for text, message in [
        ("train: a\nquery: b\nout: c\nadaptor: d", "unknown setting 'adaptor'"),
        ("train: a\nquery: b\nout: c\nadapter: d\ntop: five", "top should be a whole number"),
        ("train: a\nquery: 3\nout: c\nadapter: d", "query should be text"),
        ("- a\n- b", "holds no settings"),
        ("train: a\nquery: b\nadapter: d", "not given: --out"),
    ]:
        (tmp_path / "run.yaml").write_text(text)
        code, _, err = datainf("attribute", "--config", tmp_path / "run.yaml")
        assert code == 1
        assert message in err


def test_interruption_says_that_work_is_kept(datainf, monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("datainf.store.GradientStore.open", stop)
    code, _, err = datainf("inspect", ".")
    assert code == 130
    assert "Stopped. What was finished on the disk is kept, and nothing else." in err


def test_a_stop_says_how_many_gradients_are_kept(attempt, finished, monkeypatch, tmp_path):
    def stopping(after):
        def stage(_, what, *__):
            def advance(units):
                nonlocal after
                after -= units if what == "gradients" else 0
                if after < 0:
                    raise KeyboardInterrupt

            return advance

        monkeypatch.setattr("datainf.cli.console.TerminalProgress.stage", stage)

    stopping(0)
    code, err = attempt()
    assert code == 130
    assert (
        "train: 0 of 12 gradients are kept, those of finished shards; the shard of rows 0 to 11 "
        "starts again. The same command goes on from there."
    ) in " ".join(err.split())
    stopping(5)
    code, err = attempt(shard_rows=5)
    assert code == 130
    assert "train: 5 of 12 gradients are kept" in " ".join(err.split())
    stopping(1000)
    run = tmp_path / "run"
    code, err = attempt(shard_rows=5)
    assert code == 0, err
    assert [shard.rows for shard in GradientStore.open(run / "train").index.shards] == [5, 5, 2]
    assert yaml.safe_load((run / "run.yaml").read_text())["shard_rows"] == 5
    found, usual = (Scores.load(p / "scores.safetensors").values for p in (run, finished))
    assert torch.allclose(found, usual, rtol=1e-3, atol=1e-5 * usual.abs().max())


def test_new_queries_have_a_run_s_shards(data, datainf, attempt, tmp_path):
    code, err = attempt(shard_rows=2, method="gradient")
    assert code == 0, err
    code, _, err = datainf("collect", tmp_path / "run", "--data", data[1], "--out", tmp_path / "q")
    assert code == 0, err
    for name in ("q", "run/query"):
        index = GradientStore.open(tmp_path / name).index
        assert [shard.rows for shard in index.shards] == [2, 1]


def test_a_fallback_is_said_once(datainf, tmp_path, saved_llama):
    base, _ = saved_llama
    model = transformers.LlamaForCausalLM.from_pretrained(base)
    config = peft.ShiraConfig(
        task_type="CAUSAL_LM", r=2, target_modules=["q_proj"], init_weights=False
    )
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    rows = write_rows(tmp_path / "rows.jsonl", [{"text": "to be"}, {"text": "or not"}])
    code, _, err = datainf("attribute", "--adapter", tmp_path / "adapter", "--train", rows,
                           "--query", rows, "--out", tmp_path / "run")  # fmt: skip
    assert code == 0, err
    assert err.count("note: ") == 1
    assert "one example after another" in " ".join(err.split())
    assert "Warning" not in err


def test_a_block_s_largest_residual_is_that_of_all_checkpoints():
    def traced(first, second):
        return {"blocks": {"a": {"residual": first}, "b": {"residual": second}}}

    told = {"checkpoints": [traced(0.7, None), traced(0.1, 0.2)]}
    (said,) = _unconverged(told)
    assert said == "largest relative residual of a block: 0.7 (a)"
    assert _unconverged({"checkpoints": [traced(None, None)]}) == []
