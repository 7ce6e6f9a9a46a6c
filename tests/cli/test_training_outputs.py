"""attribute on a Trainer's output folder: which checkpoints, what is summed, what is refused."""

from __future__ import annotations

import gc
import json
import shutil
import weakref

import peft
import pytest
import torch
import transformers
import yaml

from conftest import make_rows, write_rows
from datainf import GradientStore, Scores, attribute, run_gradients, tasks
from datainf.checkpoints import find, weighed


@pytest.fixture(scope="module")
def output(tmp_path_factory, saved_llama):
    """A fine-tuning of the tiny Llama by a Trainer: four checkpoints, and no adapter beside."""
    base, adapter = saved_llama
    folder = tmp_path_factory.mktemp("output")
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    model = peft.PeftModel.from_pretrained(
        transformers.AutoModelForCausalLM.from_pretrained(base), adapter, is_trainable=True
    )
    task = tasks.CausalLM(tokenizer).for_model(model)
    rows = make_rows("llama") * 2
    arguments = transformers.TrainingArguments(
        folder, num_train_epochs=4, per_device_train_batch_size=4, learning_rate=1e-2,
        save_strategy="epoch", logging_steps=1, report_to=[], use_cpu=True, disable_tqdm=True,
        remove_unused_columns=False,
    )  # fmt: skip
    transformers.Trainer(
        model, arguments, task.collate, train_dataset=[task.encode(row) for row in rows]
    ).train()
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    rows = [
        {"prompt": "", "completion": row["text"]} if "text" in row else row
        for row in make_rows("llama") * 2
    ]
    return write_rows(folder / "train.jsonl", rows), write_rows(folder / "query.jsonl", rows[:3])


@pytest.fixture
def run(datainf, output, data, tmp_path):
    def call(*options, adapter=output, out="run"):
        return datainf(
            "attribute", "--adapter", adapter, "--train", data[0], "--query", data[1],
            "--out", tmp_path / out, *options,
        )  # fmt: skip

    call.output = output
    return call


def stores(folder, points, part):
    return [GradientStore.open(folder / point.folder.name / part) for point in points]


def test_a_folder_of_checkpoints_is_summed_over_some_of_them(run, output, datainf, tmp_path):
    code, out, err = run("--metric", "adam", "--method", "exact", "--blocks", "model")
    assert code == 0, err
    every = find(output)
    points = weighed([every[0], every[1], every[3]])
    assert " ".join(
        f"checkpoints, and what each counts: "
        f"{', '.join(f'{p.step} ({p.weight:.0%})' for p in points)}".split()
    ) in " ".join((out + err).split())
    trains, queries = (stores(tmp_path / "run", points, part) for part in ("train", "query"))
    expected = attribute(
        trains, queries, "exact", metric="adam", blocks="model",
        weights=[point.weight for point in points],
    )  # fmt: skip
    found = Scores.load(tmp_path / "run" / "scores.safetensors")
    assert torch.equal(found.values, expected.values)
    written = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())
    assert written["checkpoints"] == "".join(f"{point.step}," for point in points)
    top = [json.loads(line) for line in (tmp_path / "run" / "top.jsonl").open()]
    assert [line["loss"] for line in top] == pytest.approx(queries[-1].losses.tolist())
    assert datainf("top", tmp_path / "run", "--mean")[0] == 0
    assert datainf("attribute", "--config", tmp_path / "run" / "run.yaml")[0] == 0
    again = Scores.load(tmp_path / "run" / "scores.safetensors")
    assert torch.equal(again.values, found.values)


@pytest.mark.parametrize("command", ["attribute", "collect"])
def test_one_checkpoint_s_model_is_in_memory_at_a_time(
    command, run, data, datainf, tmp_path, monkeypatch
):
    loaded, alive = [], []

    def noted(*arguments):
        gc.collect()
        alive.append(sum(model() is not None for model in loaded))
        model, task = load_model_and_task(*arguments)
        loaded.append(weakref.ref(model))
        return model, task

    load_model_and_task = run_gradients.load_model_and_task
    if command == "collect":
        assert run("--checkpoints", "2")[0] == 0
    monkeypatch.setattr(run_gradients, "load_model_and_task", noted)
    if command == "collect":
        code, _, err = datainf(
            "collect", tmp_path / "run", "--data", data[1], "--out", tmp_path / "more"
        )
    else:
        code, _, err = run("--checkpoints", "2")
    assert code == 0, err
    assert alive == [0, 0]


def test_stores_of_checkpoints_are_scored_again(run, output, datainf, tmp_path):
    assert run("--checkpoints", "2")[0] == 0
    points = weighed([find(output)[0], find(output)[-1]])
    options = []
    for point in points:
        folder = tmp_path / "run" / point.folder.name
        options += ["--train", folder / "train", "--query", folder / "query"]
        options += ["--weight", point.weight]
    code, out, err = datainf(
        "score", *options, "--out", tmp_path / "s", "--method", "cg", "--metric", "fisher"
    )
    assert code == 0, err
    assert "largest relative residual" in out + err
    trains, queries = (stores(tmp_path / "run", points, part) for part in ("train", "query"))
    expected = attribute(
        trains, queries, "cg", metric="fisher", weights=[point.weight for point in points]
    )
    found = Scores.load(tmp_path / "s" / "scores.safetensors")
    torch.testing.assert_close(found.values, expected.values)


def test_a_run_is_scored_again_as_its_checkpoints_counted(run, datainf, tmp_path):
    own = ("--normalize", "unit", "--metric", "fisher")
    assert run("--checkpoints", "2", "--method", "gradient", *own)[0] == 0
    folder = tmp_path / "run"
    code, out, err = datainf("score", folder, "--out", tmp_path / "same")
    assert code == 0, err
    before, after = (Scores.load(p / "scores.safetensors") for p in (folder, tmp_path / "same"))
    assert after.method == "gradient"
    assert torch.equal(before.values, after.values)
    code, _, err = datainf("score", folder, "--out", tmp_path / "other", "--method", "exact")
    assert code == 0, err
    told = Scores.load(tmp_path / "other" / "scores.safetensors").diagnostics["checkpoints"]
    assert [one["weight"] for one in told] == pytest.approx(
        [one["weight"] for one in before.diagnostics["checkpoints"]]
    )
    assert "scores by exact: damping 0.1" in " ".join(err.split())
    code, out, _ = datainf("inspect", folder)
    assert code == 0
    assert "checkpoint-" in out
    query = tmp_path / "query.jsonl"
    write_rows(query, [{"prompt": "", "completion": "what now?"}])
    code, _, err = datainf("collect", folder, "--data", query, "--out", tmp_path / "more")
    assert code == 0, err
    code, _, err = datainf(
        "score", folder, "--query", tmp_path / "more", "--out", tmp_path / "more" / "scores"
    )
    assert code == 0, err
    asked = Scores.load(tmp_path / "more" / "scores" / "scores.safetensors")
    assert asked.shape == (1, before.shape[1])
    points = find(folder)
    expected = attribute(
        [GradientStore.open(point / "train") for point in points],
        [GradientStore.open(tmp_path / "more" / point.name) for point in points],
        "gradient", normalize="unit", metric="fisher",
        weights=[one["weight"] for one in before.diagnostics["checkpoints"]],
    )  # fmt: skip
    torch.testing.assert_close(asked.values, expected.values)
    code, out, err = datainf("top", folder, "--scores", tmp_path / "more" / "scores")
    assert code == 0, err
    assert "what now?" in out
    query.write_text('{"prompt": "", "completion": "something else?"}')
    code, _, err = datainf("top", folder, "--scores", tmp_path / "more" / "scores")
    assert code != 0
    assert "has changed since" in " ".join(err.split())
    code, _, err = datainf(
        "collect", folder, "--adapter", folder, "--data", query, "--out", tmp_path / "x"
    )
    assert code != 0
    for wrong in (("--weight", "1"), ("--train", folder / "checkpoint-3/train")):
        code, _, err = datainf("score", folder, "--out", tmp_path / "x", *wrong)
        assert code != 0
    code, _, err = datainf("score", tmp_path, "--out", tmp_path / "x")
    assert code != 0
    assert "is no finished run" in err
    code, _, err = datainf("score", "--out", tmp_path / "x")
    assert code != 0
    assert "nothing to score was named" in err
    assert "try: give a RUN, or --train and --query" in err


def test_other_checkpoints_over_stores_that_are_there_count_as_they_did(run, datainf, tmp_path):
    """The stores note what was known when they were made; the run knows better."""
    steps = [int(folder.name.partition("-")[2]) for folder in find(run.output)]
    assert run("--checkpoints", "all", "--method", "exact", "--metric", "adam")[0] == 0
    options = ("--method", "exact", "--metric", "adam", "--damping", "flow")
    assert run("--checkpoints", f"{steps[0]},{steps[1]}", *options)[0] == 0
    code, _, err = datainf("score", tmp_path / "run", "--out", tmp_path / "again")
    assert code == 0, err
    one, other = (
        Scores.load(folder / "scores.safetensors")
        for folder in (tmp_path / "run", tmp_path / "again")
    )
    assert one.settings == other.settings
    assert torch.equal(one.values, other.values)


def test_an_adapter_taken_alone_is_read_with_its_own_tokenizer(run, output, saved_llama, tmp_path):
    beside = copy_of(output, tmp_path, find(output)[-1])
    tokenizer = transformers.AutoTokenizer.from_pretrained(saved_llama[0])
    tokenizer.model_max_length = 40
    tokenizer.save_pretrained(beside)
    for options, out in ((("--checkpoints", "none"), "alone"), ((), "summed")):
        code, _, err = run("--method", "gradient", *options, adapter=beside, out=out)
        assert code == 0, err
        store = next((tmp_path / out).rglob("train/index.json")).parent
        assert GradientStore.open(store).index.task["max_length"] == 40


def test_damaged_scores_are_replaced(run, tmp_path):
    assert run("--method", "gradient")[0] == 0
    before = (tmp_path / "run" / "scores.safetensors").read_bytes()
    (tmp_path / "run" / "scores.safetensors").write_bytes(b"")
    code, out, err = run("--method", "gradient")
    assert code == 0, err
    assert "is replaced" in out + err
    assert (tmp_path / "run" / "scores.safetensors").read_bytes() == before


def test_that_scores_are_replaced_is_said(run):
    assert run("--method", "gradient")[0] == 0
    code, out, err = run("--method", "gradient")
    assert code == 0
    assert "is replaced" not in out + err
    code, out, err = run("--method", "gradient", "--metric", "none", "--normalize", "unit")
    assert code == 0
    assert "is replaced; it held scores by gradient" in " ".join((out + err).split())


def test_checkpoints_can_be_named(run, output, tmp_path):
    steps = [int(folder.name.partition("-")[2]) for folder in find(output)]
    assert run("--checkpoints", f"{steps[1]},{steps[2]}")[0] == 0
    made = sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*"))
    assert made == sorted(f"checkpoint-{step}" for step in steps[1:3])
    assert run("--checkpoints", steps[2], "--method", "gradient", out="one")[0] == 0
    assert [path.name for path in (tmp_path / "one").glob("checkpoint-*")] == [
        f"checkpoint-{steps[2]}"
    ]


def test_one_checkpoint_is_an_adapter_like_any_other(run, output, tmp_path):
    code, _, err = run("--metric", "adam", adapter=find(output)[-1])
    assert code == 0, err
    store = GradientStore.open(tmp_path / "run" / "train")
    assert set(store.second_moments) == set(store.blocks)


@pytest.mark.parametrize("best", [3, 2, None])
def test_the_checkpoints_of_an_adapter_that_lies_beside_them_are_taken(
    run, output, saved_llama, tmp_path, best
):
    every = find(output)
    beside = copy_of(output, tmp_path, saved_llama[1] if best is None else every[best])
    code, out, err = run("--method", "gradient", adapter=beside)
    assert code == 0, err
    said = " ".join((out + err).split())
    made = sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*"))
    expected = {3: [every[0], every[1], every[3]], 2: every[:3], None: []}[best]
    assert made == sorted(folder.name for folder in expected)
    assert ("later ones are left out" in said) == (best == 2)
    assert ("is none of its 4 checkpoints, and is taken alone" in said) == (best is None)


def test_the_adapter_beside_checkpoints_can_be_taken_alone(run, output, datainf, tmp_path):
    beside = copy_of(output, tmp_path, find(output)[-1])
    code, _, err = run("--method", "gradient", "--checkpoints", "none", adapter=beside)
    assert code == 0, err
    assert not list((tmp_path / "run").glob("checkpoint-*"))
    assert yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())["checkpoints"] == "none"
    store = GradientStore.open(tmp_path / "run" / "train")
    assert set(store.second_moments) == set(store.blocks)  # of the checkpoint that it is
    before = (tmp_path / "run" / "scores.safetensors").read_bytes()
    assert datainf("attribute", "--config", tmp_path / "run" / "run.yaml")[0] == 0
    assert (tmp_path / "run" / "scores.safetensors").read_bytes() == before
    assert datainf("top", tmp_path / "run", "--mean")[0] == 0


def test_queries_are_collected_with_the_moments_that_the_run_had(
    run, output, datainf, data, tmp_path
):
    beside = copy_of(output, tmp_path, find(output)[-1])
    options = ("--method", "ridge", "--checkpoints", "none", "--project", "4")
    assert run(*options, adapter=beside)[0] == 0
    folder, more = tmp_path / "run", tmp_path / "more"
    code, _, err = datainf("collect", folder, "--data", data[1], "--out", more)
    assert code == 0, err
    assert GradientStore.open(more).index.projection["metric"] == "adam"
    code, _, err = datainf("score", folder, "--query", more, "--out", more / "scores")
    assert code == 0, err
    before, after = (Scores.load(p / "scores.safetensors") for p in (folder, more / "scores"))
    assert torch.equal(before.values, after.values)


def test_checkpoints_are_projected_in_one_metric(run, output, datainf, data, tmp_path):
    mixed = copy_of(output, tmp_path, find(output)[-1])
    (find(mixed)[0] / "optimizer.pt").unlink()
    options = ("--method", "ridge", "--checkpoints", "2", "--project", "4")
    code, out, err = run(*options, adapter=mixed)
    assert code == 0, err
    said = " ".join((out + err).split())
    assert f"projected without an optimizer's moments in {find(mixed)[0]}: metric none in" in said
    assert "in place of fisher" in said
    assert yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())["metric"] == "none"
    code, _, err = datainf("collect", tmp_path / "run", "--data", data[1], "--out", tmp_path / "q")
    assert code == 0, err
    for folder in (*(tmp_path / "run").glob("*/query"), *(tmp_path / "q").iterdir()):
        assert GradientStore.open(folder).index.projection["metric"] == "none"
    code, out, err = run(*options, out="adam")
    assert code == 0, err
    assert "metric: adam, in which gradients are projected" in " ".join((out + err).split())
    assert yaml.safe_load((tmp_path / "adam" / "run.yaml").read_text())["metric"] == "adam"


def test_checkpoints_that_cannot_be_weighed_leave_the_adapter_alone(run, output, tmp_path):
    beside = copy_of(output, tmp_path, find(output)[-1])
    for folder in find(beside):
        (folder / "trainer_state.json").unlink()
    code, out, err = run("--method", "gradient", adapter=beside)
    assert code == 0, err
    assert "the adapter alone, and not its checkpoints" in " ".join((out + err).split())
    assert not list((tmp_path / "run").glob("checkpoint-*"))


def test_a_checkpoint_of_another_training_is_not_summed_with_the_rest(run, output, tmp_path):
    beside = copy_of(output, tmp_path, find(output)[-1])
    stale = find(beside)[0]
    state = json.loads((stale / "trainer_state.json").read_text())
    for entry in state["log_history"]:
        entry["learning_rate"] *= 10
    (stale / "trainer_state.json").write_text(json.dumps(state))
    code, out, err = run("--method", "gradient", "--checkpoints", "4", adapter=beside)
    assert code != 0
    assert f"{stale.name} is of another training than" in " ".join(err.split())
    code, out, err = run("--method", "gradient", adapter=beside, out="other")
    assert code == 0, err
    assert "the adapter alone, and not its checkpoints" in " ".join((out + err).split())


def copy_of(output, tmp_path, adapter):
    """A Trainer's output folder with an adapter beside its checkpoints."""
    beside = tmp_path / "beside"
    shutil.copytree(output, beside)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(adapter / name, beside)
    return beside


def test_what_is_not_there_is_said(run, saved_llama):
    code, _, err = run("--checkpoints", "7,")
    assert code != 0
    assert "there is no checkpoint-7" in err
    code, _, err = run("--checkpoints", "2", adapter=saved_llama[1])
    assert code != 0
    assert "has no checkpoints" in err
    code, _, err = run("--metric", "adam", adapter=saved_llama[1])
    assert code != 0
    assert "no second moments" in " ".join(err.split())
    code, _, err = run("--metric", "sgd")
    assert code != 0
    assert "unknown metric 'sgd'" in err


def test_a_plan_counts_every_checkpoint(run, datainf, output, data, tmp_path):
    arguments = ["--adapter", output, "--train", data[0], "--query", data[1], "--method", "exact"]
    code, out, err = datainf("plan", "--json", *arguments)
    assert code == 0, err
    told = json.loads(out)
    assert told["checkpoints"] == 3
    code, _, err = run("--method", "exact")
    assert code == 0, err
    assert "at 3 checkpoints" in " ".join(err.split())
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    sizes = {path: path.stat().st_size for path in files}
    shards = sum(size for path, size in sizes.items() if path.name.startswith("shard"))
    moments = sum(size for path, size in sizes.items() if path.name.startswith("second_moments"))
    assert shards < told["disk"]["stores"] <= shards + moments
    shutil.rmtree(tmp_path / "run" / "checkpoint-6" / "train")
    code, out, err = datainf("plan", "--json", *arguments, "--out", tmp_path / "run")
    assert code == 0, err
    train, query = json.loads(out)["stores"]
    assert (train["done"], query["done"]) == (2 * train["examples"], 3 * query["examples"])
