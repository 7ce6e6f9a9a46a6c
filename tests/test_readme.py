"""The README's code runs, and its commands and options exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
import transformers
import typer.main
from torch.utils.data import TensorDataset

import datainf
from conftest import TEXTS, make_model, make_rows
from datainf.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [README] + [path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("docs/*.md"))]
COMMANDS = typer.main.get_command(app).commands


def blocks(language, page=README):
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def commands(page):
    """Lines of its shell code that call datainf, those that go on over several lines as one."""
    code = "\n".join(blocks("sh", page)).replace("\\\n", " ")
    return [line for line in code.splitlines() if line.startswith("datainf ")]


def make_trainer(tokenizer, folder):
    rows = [dict(tokenizer(text)) for text in TEXTS]
    arguments = transformers.TrainingArguments(
        folder / "trainer", use_cpu=True, report_to=[], remove_unused_columns=False
    )
    collator = transformers.DataCollatorForLanguageModeling(tokenizer, mlm=False)
    return transformers.Trainer(
        make_model("llama"), arguments, collator, train_dataset=rows, eval_dataset=rows[:2]
    )


def surprise(model, ids):
    """−log p of what the model thinks likeliest after the last token."""
    with torch.no_grad():
        logits = model.eval()(torch.tensor([ids])).logits[0, -1]
    return -float(logits.log_softmax(0).max())


def test_the_python_runs_from_top_to_bottom(tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = make_rows("llama")
    encoded = [datainf.tasks.CausalLM(tokenizer).encode(row)["input_ids"] for row in rows]
    assert len(set(map(len, encoded))) > 3, "of unlike lengths, so that some are padded"
    names = {
        "model": make_model("llama"),
        "tokenizer": tokenizer,
        "train_rows": rows,
        "query_rows": rows[:2],
        "trainer": make_trainer(tokenizer, tmp_path),
        "classifier": torch.nn.Linear(4, 3),
        "train_dataset": TensorDataset(torch.randn(9, 4), torch.arange(9) % 3),
        "inputs": torch.randn(2, 4),
        "labels": torch.tensor([0, 2]),
    }
    assert len(blocks("python")) == 5
    for code in blocks("python"):
        exec(code, names)
    assert names["scores"].shape == (2, 6)
    assert [len(names["train"]), len(names["query"])] == [6, 2]  # the trainer's, by then
    assert names["suspicion"].shape == (6,)
    found = names["tracer"].influence((names["inputs"], names["labels"]), k=5)
    assert found.indices.shape == found.influence_scores.shape == (2, 5)
    assert names["ends"].method == names["scores"].method == names["two"].method == "gauss-newton"
    task = names["task"]
    assert isinstance(task, datainf.tasks.Custom)
    own = datainf.collect(names["model"], rows, task, out="own")  # checks them together and alone
    assert own.losses.tolist() == pytest.approx([surprise(names["model"], row) for row in encoded])


@pytest.mark.parametrize("line", [line for page in PAGES for line in commands(page)])
def test_the_commands_exist_with_their_options(line):
    _, command, *arguments = shlex.split(line, comments=True)
    known = {flag for parameter in COMMANDS[command].params for flag in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("-")} <= known


def test_options_and_methods_are_the_ones_there_are():
    flags = {flag for command in COMMANDS.values() for p in command.params for flag in p.opts}
    for page in PAGES:
        assert set(re.findall(r"`(--[a-z][a-z-]+)", page)) <= flags | {"--help"}
    torchrun = {"--nproc-per-node", "--max-restarts"}
    assert set(re.findall(r"--[a-z][a-z-]+", README)) <= flags | {"--help"} | torchrun
    table = README.split("\n## Methods")[1].split("\n## ")[0]
    assert re.findall(r"^\| `([a-z][a-z-]+)` \|", table, re.MULTILINE) == list(
        datainf.estimators.BY_NAME
    )


def test_the_tree_is_the_tree():
    tree = README.split("## The tree")[1]
    package = Path(datainf.__file__).parent
    shown = set(re.findall(r"^[├└]── ([a-z_]+(?:\.py|/))", tree, re.MULTILINE))
    there = {
        path.name + ("/" if path.is_dir() else "")
        for path in package.iterdir()
        if path.name != "py.typed" and not path.name.startswith("__")
    }
    assert shown == there
