"""datainf evaluate on a run of the tiny Llama, by trainings of our own."""

from __future__ import annotations

import json
import textwrap

import pytest
import torch

from conftest import make_rows, write_rows
from datainf import GradientStore, attribute
from datainf.config import RunConfig
from datainf.data import load
from datainf.errors import OptionError, TrainingError
from datainf.evaluation import (
    Budget,
    Command,
    Function,
    ceiling,
    evaluate,
    held_out,
    lds,
    random_parts,
)  # fmt: skip
from datainf.evaluation.retraining import GroundTruth
from datainf.evaluation.training_again import TrainAgain
from datainf.runs import run

N, M, PARTS = 10, 4, 5

TRAIN = '''
import json, pathlib, random
import peft, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from datainf.tasks import CausalLM

LOG = pathlib.Path({log!r})


def train(data, seed, out):
    """A few steps from the adapter on, and a line in the log."""
    rows = [json.loads(line) for line in open(data, encoding="utf-8")]
    LOG.open("a").write(json.dumps([[row["id"] for row in rows], seed]) + "\\n")
    if len(LOG.read_text().splitlines()) == {fail_at}:
        raise RuntimeError("the power went")
    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained({base!r}, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(base, {adapter!r}, is_trainable=True)
    task = CausalLM(AutoTokenizer.from_pretrained({base!r})).for_model(model)
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-2)
    random.Random(seed).shuffle(rows)
    for start in range(0, len(rows), 2):
        batch = task.collate([task.encode(row) for row in rows[start : start + 2]])
        task.losses(model, batch).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(out)
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory, saved_llama):
    """A folder with a finished run, its data, and a writer of training scripts."""
    folder = tmp_path_factory.mktemp("evaluate")
    rows = [
        {"id": f"r{i}", "prompt": "", "completion": row["text"]} if "text" in row
        else {"id": f"r{i}", **row}
        for i, row in enumerate((make_rows("llama") * 4)[:N])
    ]  # fmt: skip
    train = write_rows(folder / "train.jsonl", rows)
    query = write_rows(folder / "query.jsonl", rows[:M])
    run(RunConfig(str(train), str(query), str(folder / "run"), adapter=str(saved_llama[1])))

    def script(name, fail_at=0):
        log = folder / f"{name}.log"
        text = textwrap.dedent(TRAIN).format(
            log=str(log), base=str(saved_llama[0]), adapter=str(saved_llama[1]), fail_at=fail_at
        )
        (folder / f"{name}.py").write_text(text)
        return f"{folder / name}.py:train", log

    return folder, script


OPTIONS = ("--parts", PARTS, "--seeds", 2, "--drop", 0.2, "--method", "ridge", "--method",
           "datainf", "--method", "own loss")  # fmt: skip


@pytest.fixture(scope="module")
def finished(place):
    """An undisturbed evaluation: its folder and the log of its trainings."""
    folder, script = place
    function, log = script("whole")
    evaluate(
        folder / "run", Function(function), methods=["ridge", "datainf", "own loss"],
        budget=Budget(PARTS, 2, drop=0.2), out=folder / "whole",
    )  # fmt: skip
    return folder / "whole", log


def test_it_is_lds_against_the_trainings_it_made(place, finished):
    folder, out = place[0], finished[0]
    truth = json.loads((out / "evaluation.json").read_text())
    lines = [json.loads(line) for line in (out / "truth" / "retrained.jsonl").open()]
    assert len(lines) == truth["trainings"]
    stored = json.loads((out / "truth" / "truth.json").read_text())
    known = GroundTruth(out / "truth", N, M, stored["recipe"])
    parts = random_parts(N, PARTS)
    losses = known.losses(parts, [1, 2], never)
    train, query = (GradientStore.open(folder / "run" / part) for part in ("train", "query"))
    reported = (~held_out(M)).nonzero()[:, 0].tolist()
    for method in ("ridge", "datainf"):
        scores = attribute(train, query, method).values
        expected = lds(scores[reported], parts, losses[..., reported])
        found = truth["judged"][method]["own"]
        assert found["mean"] == pytest.approx(expected.mean)
        assert [found["low"], found["high"]] == pytest.approx([expected.low, expected.high])
    bound = ceiling(losses[..., reported]).bound
    assert truth["ceiling"]["bound"] == pytest.approx(bound)


def never(*_):
    raise AssertionError("trained again")


def test_parts_reach_the_training_as_rows_and_seeds(finished):
    seen = [json.loads(line) for line in finished[1].open()]
    parts = random_parts(N, PARTS)
    expected = [
        [[f"r{i}" for i in part.nonzero()[:, 0].tolist()], seed]
        for part in parts for seed in (1, 2)
    ]  # fmt: skip
    assert sorted(seen[: 2 * PARTS]) == sorted(expected)
    # All rows, three draws of chance, and two ends of three methods, twice; ends that are the
    # same rows are trained once.
    assert {len(rows) for rows, _ in seen[2 * PARTS :]} == {N, N - 2}
    assert len(seen) <= 2 * PARTS + 2 * (1 + 3 + 2 * 3)


def test_what_is_printed(place, finished, datainf):
    """Of an evaluation that is there already: nothing is trained."""
    folder, _ = place
    before = finished[1].read_text()
    figures = (finished[0] / "evaluation.json").read_text()
    code, out, err = datainf("evaluate", folder / "run", "--train-function",
                             f"{folder / 'whole'}.py:train", "--out", finished[0],
                             *OPTIONS)  # fmt: skip
    assert code == 0, err
    for word in ("LDS on 2 queries", "ceiling", "without 2 rows", "ridge", "own loss", "random"):
        assert word in out
    assert finished[1].read_text() == before
    again = json.loads((finished[0] / "evaluation.json").read_text())
    assert without_seconds(again) == without_seconds(json.loads(figures))


def without_seconds(evaluation):
    judged = {name: {**j, "seconds": 0} for name, j in evaluation["judged"].items()}
    return {**evaluation, "judged": judged}


def test_an_interrupted_evaluation_goes_on_to_the_same_figures(place, finished, datainf):
    folder, script = place
    function, log = script("torn", fail_at=7)
    command = ("evaluate", folder / "run", "--train-function", function, "--out", folder / "torn",
               *OPTIONS)  # fmt: skip
    code, _, err = datainf(*command)
    assert code == 1
    assert "RuntimeError: the power went" in " ".join(err.split())
    assert len((folder / "torn/truth/retrained.jsonl").read_text().splitlines()) == 6
    assert datainf(*command)[0] == 0
    undisturbed = [json.loads(line) for line in finished[1].open()]
    seen = [json.loads(line) for line in log.open()]
    assert seen[:6] + seen[7:] == undisturbed  # the seventh was begun twice, no other
    one, other = (
        json.loads((place / "evaluation.json").read_text())
        for place in (finished[0], folder / "torn")
    )
    assert without_seconds(one) == without_seconds(other)
    assert not list((folder / "torn/work").iterdir())  # the failed one's was kept till then


def test_a_training_that_is_begun_again_does_not_share_a_folder_with_the_first(tmp_path):
    """The command of a process that was killed may still be writing."""
    rows = write_rows(tmp_path / "rows.jsonl", [{"text": "a"}, {"text": "b"}])
    data, places = load(rows, "causal-lm"), []

    def killed(data, _seed, out):
        places.append((data, out))
        raise KeyboardInterrupt

    config = RunConfig(str(rows), str(rows), str(tmp_path), adapter="any")
    again = TrainAgain(killed, config, data, data, tmp_path / "work")
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            again([1], 7)
    assert len({path for place in places for path in place}) == 4
    assert not places[0][1].exists()
    assert [json.loads(line) for line in places[1][0].open()] == [{"text": "b"}]


def test_another_training_is_refused_in_the_same_folder(place, finished, datainf):
    folder, script = place
    function, _ = script("other")
    code, _, err = datainf("evaluate", folder / "run", "--train-function", function,
                           "--out", finished[0], *OPTIONS)  # fmt: skip
    assert code == 1
    assert "What differs: recipe" in err


def test_more_parts_are_added_to_those_there_are(place, finished, datainf):
    folder = place[0]
    before = len(finished[1].read_text().splitlines())
    function = f"{folder / 'whole'}.py:train"
    code, _, err = datainf("evaluate", folder / "run", "--train-function", function, "--out",
                           folder / "whole", "--parts", PARTS + 1, "--drop", 0,
                           "--method", "cosine")  # fmt: skip
    assert code == 0, err
    assert len(finished[1].read_text().splitlines()) == before + 2


COPY = """
import pathlib, shutil, sys
data, seed, out = sys.argv[1:]
rows = len(pathlib.Path(data).read_text().splitlines())
shutil.copytree({adapter!r}, pathlib.Path(out) / f"checkpoint-{{rows}}")
"""


def test_a_command_and_a_trainers_output_folder(place, saved_llama, datainf):
    folder = place[0]
    (folder / "copy_adapter.py").write_text(COPY.format(adapter=str(saved_llama[1])))
    code, out, err = datainf(
        "evaluate", folder / "run", "--out", folder / "copied", "--parts", 3, "--seeds", 1,
        "--drop", 0, "--method", "gradient", "--jobs", 2,
        "--train-command", f"python {folder}/copy_adapter.py {{data}} {{seed}} {{out}}",
    )  # fmt: skip
    assert code == 0, err
    assert "no ceiling" in out
    lines = [json.loads(line) for line in (folder / "copied/truth/retrained.jsonl").open()]
    query = GradientStore.open(folder / "run" / "query")
    for line in lines:
        torch.testing.assert_close(torch.tensor(line["losses"]), query.losses)


@pytest.mark.parametrize(
    ("script", "told"),
    [("import sys; sys.exit('no such GPU')", "no such GPU"), ("", "there is nothing")],
)
def test_a_training_that_fails_is_named(place, datainf, script, told):
    folder = place[0]
    (folder / "bad.py").write_text(script)
    code, _, err = datainf(
        "evaluate", folder / "run", "--out", folder / f"bad-{len(script)}", "--parts", 3,
        "--method", "gradient",
        "--train-command", f"python {folder}/bad.py {{data}} {{seed}} {{out}}",
    )  # fmt: skip
    assert code == 1
    assert told in " ".join(err.split())


@pytest.mark.usefixtures("finished")
def test_what_cannot_be_asked_for(place, datainf, tmp_path):
    run = place[0] / "run"
    for options, told in (
        ((), "was not given"),
        (("--train-command", "x {data} {seed} {out}", "--train-function", "y.py:z"), "twice"),
        (("--train-command", "train.sh {data} {seed}"), "lacks {out}"),
        (("--train-command", "train.sh {data} {out}"), "lacks {seed}"),
        (("--train-command", "x {data.foo} {seed} {out}"), "cannot be filled in"),
        (("--train-function", f"{place[0]}/whole.py:train", "--jobs", "2"), "side by side"),
        (("--train-command", "train.sh {data} {seed} {out} {lr}"), "cannot be filled in"),
        (("--train-function", "nowhere.py:train"), "names no file"),
        (("--train-command", "x {data} {seed} {out}", "--method", "magic"), "no method 'magic'"),
        (("--train-command", "x {data} {seed} {out}", "--parts", "2"), "2 parts"),
        (("--train-command", "x {data} {seed} {out}", "--drop", "1.5"), "1.5 cannot be left out"),
        (("--train-command", "no-such {data} {seed} {out}", "--out", tmp_path / "o"), "cannot run"),
    ):  # fmt: skip
        code, _, err = datainf("evaluate", run, *options)
        assert code == 1, options
        assert told in " ".join(err.split()), (options, err)


def test_errors_of_the_library(place, tmp_path):
    (tmp_path / "t.py").write_text("x = 1")
    with pytest.raises(OptionError, match="no function 'fit'"):
        Function(f"{tmp_path}/t.py:fit")
    with pytest.raises(TrainingError, match="cannot run"):
        Command("no-such-program {data} {seed} {out}")(tmp_path, 0, tmp_path / "out")
    with pytest.raises(OptionError, match="no method"):
        evaluate(place[0] / "run", Command("x {data} {seed} {out}"), methods=["x"])
    assert Budget(50, 2, drop=0.1).trainings(3) == (50 + 10) * 2
    assert Budget(50, 2, drop=0).trainings(3) == 100
