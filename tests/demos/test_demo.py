"""The demo on the base that is shipped, with a few rows and steps."""

from __future__ import annotations

import json
import re

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file

from conftest import save_model, write_rows
from datainf import GradientStore, Scores
from datainf.cli.demo import _table
from datainf.demos.demo import BASE, run_demo
from datainf.demos.finetune import Tuning, finetune
from datainf.demos.transformations import rows
from datainf.errors import OptionError
from datainf.evaluation import class_detection
from small_demos import small_text


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("few") / "train.jsonl", rows()[0][::90])


@pytest.fixture
def quick(monkeypatch):
    small_text(monkeypatch, kinds=4, phrases=3, queries=1)


def test_the_base_is_small_and_reads_bytes():
    assert sum(path.stat().st_size for path in BASE.iterdir()) < 4 * 2**20
    tokenizer = transformers.AutoTokenizer.from_pretrained(BASE)
    text = 'any text\n at all: "é" 漢字 \t 1'
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == len(text.encode())
    assert tokenizer.decode(ids) == text


def test_finetuning_saves_an_adapter_that_lowers_the_loss(few, tmp_path):
    steps = []
    tuning = Tuning(epochs=8, learning_rate=3e-3, batch_size=5)
    out = finetune(str(BASE), few, tmp_path / "a", tuning,
                   progress=lambda *done: steps.append(done))  # fmt: skip
    assert steps[-1] == (16, 16)
    model = transformers.AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(model, out).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(BASE)
    examples = [json.loads(line) for line in few.read_text().splitlines()]

    def loss():
        total = 0.0
        for row in examples:
            ids = tokenizer(row["prompt"] + row["completion"], return_tensors="pt")["input_ids"]
            labels = ids.clone()
            labels[:, : len(row["prompt"])] = -100
            with torch.no_grad():
                total += float(model(input_ids=ids, labels=labels).loss)
        return total

    tuned = loss()
    with model.disable_adapter():
        assert tuned < 0.9 * loss()
    again = finetune(str(BASE), few, tmp_path / "b", tuning)
    first, second = (load_file(path / "adapter_model.safetensors") for path in (out, again))
    for name, tensor in first.items():
        assert torch.allclose(tensor, second[name], atol=1e-5), "the same seed, the same adapter"


@pytest.mark.usefixtures("quick")
def test_the_demo_judges_every_method_on_its_own_run(tmp_path):
    said = []
    result = run_demo(tmp_path / "d", say=said.append)
    assert list(result.methods) == ["gauss-newton", "datainf", "gradient", "cosine", "exact"]
    run = tmp_path / "d" / "run"
    scores = Scores.load(run / "scores.safetensors")
    train_classes = [re.sub(r"-\d+$", "", identifier) for identifier in scores.train_ids]
    truth = class_detection(scores.values, result.query_classes, train_classes)
    found = result.methods["gauss-newton"].detection
    assert found.auc.tolist() == truth.auc.tolist()
    assert found.recall.tolist() == truth.recall.tolist()
    train, query = (GradientStore.open(run / part) for part in ("train", "query"))
    G, V = (torch.cat([m.to_dense() for m in store.blocks.values()], 1) for store in (train, query))
    dot = class_detection(V @ G.T, result.query_classes, train_classes)
    cosine = torch.nn.functional.normalize(V) @ torch.nn.functional.normalize(G).T
    cosine = class_detection(cosine, result.query_classes, train_classes)
    for name, expected in (("gradient", dot), ("cosine", cosine)):
        assert result.methods[name].detection.auc == pytest.approx(expected.auc)
    assert said[-1].startswith("gauss-newton chose the training examples that are shown")
    table = _table(result)
    assert table.row_count == 4 + 2
    before = (run / "scores.safetensors").read_bytes()
    again = run_demo(tmp_path / "d", say=said.append)
    assert any("used again" in line for line in said)
    assert (run / "scores.safetensors").read_bytes() == before
    assert torch.equal(again.run.scores.values, result.run.scores.values)


@pytest.mark.usefixtures("quick")
def test_another_model_takes_the_tiny_ones_place(tmp_path, tokenizer):
    base, _ = save_model("gpt2", tmp_path, tokenizer, n_positions=512)
    result = run_demo(tmp_path / "d", model=str(base))
    assert result.run.scores.shape == (4, 12)
    assert "c_attn" in GradientStore.open(tmp_path / "d/run/train").index.blocks[0].name


@pytest.mark.usefixtures("quick")
def test_a_folder_that_is_not_this_demos_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OptionError, match="not a demo's folder"):
        run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    run_demo(tmp_path / "d", seed=1)
    with pytest.raises(OptionError, match="a demo with other settings"):
        run_demo(tmp_path / "d", seed=2)
