"""Repositories of others: none of their code runs, no pickle of theirs acts, and their commits are
recorded."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
import torch
import yaml
from safetensors.torch import load_file

from conftest import TEXTS, write_rows
from datainf.checkpoints import second_moments
from datainf.errors import ModelError
from datainf.models import (
    adapter_config,
    adapter_weights,
    base_config,
    load_model,
    load_reader,
    load_tokenizer,
)
from datainf.repositories import at, commit_in, pinned

COMMIT, OTHER = "0123456789abcdef0123456789abcdef01234567", "f" * 40


@pytest.fixture
def saved(saved_llama, tmp_path):
    """(base, adapter), to be changed."""
    for name, folder in zip(("base", "adapter"), saved_llama, strict=True):
        shutil.copytree(folder, tmp_path / name)
    change(tmp_path / "adapter/adapter_config.json", base_model_name_or_path=str(tmp_path / "base"))
    return tmp_path / "base", tmp_path / "adapter"


def change(path: Path, **values: object) -> None:
    told = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(told | values))


def brings_code(base: Path, marker: Path) -> None:
    (base / "own.py").write_text(f"open({str(marker)!r}, 'w')\n")


@pytest.mark.parametrize("part", ["config", "tokenizer", "processor"])
def test_a_repository_s_own_code_is_not_run(saved, tmp_path, monkeypatch, part):
    """Not even for a "y" on stdin, where transformers would ask."""
    base, marker = saved[0], tmp_path / "ran"
    brings_code(base, marker)
    if part == "config":
        change(base / "config.json", model_type="own", auto_map={"AutoConfig": "own.Own"})
    elif part == "tokenizer":
        change(base / "tokenizer_config.json", tokenizer_class="Own",
               auto_map={"AutoTokenizer": ["own.Own", None]})  # fmt: skip
    else:
        change(base / "preprocessor_config.json", image_processor_type="Own",
               auto_map={"AutoImageProcessor": "own.Own"})  # fmt: skip
    load = {
        "config": lambda: base_config(str(base)),
        "tokenizer": lambda: load_tokenizer(str(base), None),
        "processor": lambda: load_reader("image-classification", str(base), None),
    }[part]
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))
    with pytest.raises(ModelError, match="runs no such code") as raised:
        load()
    assert "collect(model" in str(raised.value.remedy)
    assert not marker.exists()


def test_a_class_that_transformers_has_is_taken_in_its_place(saved, tmp_path):
    base, marker = saved[0], tmp_path / "ran"
    brings_code(base, marker)
    change(base / "config.json", auto_map={"AutoModelForCausalLM": "own.Own"})
    assert load_model(str(base), None, "causal-lm").model.config.model_type == "llama"
    assert not marker.exists()


@pytest.mark.parametrize(
    "values",
    [
        {"attn_implementation": "somebody/kernel"},
        {"_attn_implementation": "somebody/kernel"},
        {"_attn_implementation": "flash_attention_2"},  # the hub's, where it is not installed
        {"attn_implementation": {"text_config": "somebody/kernel"}},
        {"thinker_config": {"text_config": {"attn_implementation": "somebody/kernel"}}},
        {"configuration_files": ["config.4.0.0.json"]},
    ],
)
def test_compiled_code_from_the_hub_is_refused(saved, values):
    change(saved[0] / "config.json", **values)
    told = json.loads((saved[0] / "config.json").read_text())
    change(saved[0] / "config.4.0.0.json", **told | {"attn_implementation": "somebody/kernel"})
    with pytest.raises(ModelError, match=r"somebody/kernel|flash_attention_2"):
        load_model(str(saved[0]), None, "causal-lm")


def test_torch_s_own_attention_may_be_asked_for(saved):
    change(saved[0] / "config.json", attn_implementation="eager")
    assert base_config(str(saved[0])).model_type == "llama"


def test_a_base_with_an_adapter_beside_it_is_refused(saved):
    """transformers would load that one too: two adapters, one upon the other."""
    base, adapter = saved[:2]
    for file in adapter.glob("adapter_*"):
        shutil.copy(file, base)
    for own in (None, str(adapter)):
        with pytest.raises(ModelError, match=r"cannot be the base: there is an adapter_config"):
            load_model(str(base), own, "causal-lm")


def test_no_module_is_imported_for_an_adapter(saved):
    change(saved[1] / "adapter_config.json", megatron_config={"a": 1}, megatron_core="this")
    with pytest.raises(ModelError, match="Megatron"):
        adapter_config(str(saved[1]))
    assert "this" not in sys.modules


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickles_that_would_act_are_refused(saved, tmp_path, llama):
    base, adapter = saved
    marker = tmp_path / "ran"
    weights = load_file(adapter / "adapter_model.safetensors")
    names = [name for name, p in llama.named_parameters() if p.requires_grad]
    torch.save(weights | {"more": Touch(marker)}, adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    torch.save({"lm_head.weight": Touch(marker)}, base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()
    torch.save({"state": Touch(marker), "param_groups": []}, tmp_path / "optimizer.pt")
    for load in (
        lambda: adapter_weights(str(adapter)),
        lambda: load_model(str(base), None, "causal-lm"),
        lambda: second_moments(tmp_path, llama, names),
    ):
        with pytest.raises(ModelError):
            load()
        assert not marker.exists()
    pickle.loads(pickle.dumps(Touch(marker)))  # what it would have done
    assert marker.exists()


def test_plain_tensors_in_a_pickle_are_read(saved):
    adapter = saved[1]
    weights = load_file(adapter / "adapter_model.safetensors")
    torch.save(weights, adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    assert adapter_weights(str(adapter)).keys() == weights.keys()


def test_a_revision_is_asked_for_by_a_name(tmp_path):
    assert at("owner/name@v1.0") == ("owner/name", "v1.0")
    assert at("gpt2@main") == ("gpt2", "main")
    assert at("owner/name") == ("owner/name", None)
    folder = tmp_path / "a@b"
    folder.mkdir()
    assert at(str(folder)) == (str(folder), None)
    assert pinned("owner/name@main:test", COMMIT) == f"owner/name@{COMMIT}:test"
    assert pinned("owner/name", None) == "owner/name"
    assert commit_in(f"/cache/snapshots/{COMMIT}/config.json") == COMMIT
    assert commit_in("/cache/snapshots/main/config.json") is None


def cached(cache: Path, kind: str, name: str, files: Path, commit: str) -> None:
    """A repository as huggingface_hub lays it out."""
    folder = cache / f"{kind}--{name.replace('/', '--')}"
    shutil.copytree(files, folder / "snapshots" / commit)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(commit)


RUN = """
import sys
from datainf.config import RunConfig
from datainf.runs import open_run, run
from pathlib import Path
out, adapter, train, query = sys.argv[1:]
run(RunConfig(train=train, query=query, out=out, adapter=adapter, method="gradient"))
open_run(Path(out))
"""


def test_the_commits_of_what_came_from_the_hub_are_recorded(saved, tmp_path):
    """By a cache as the hub's library leaves it, in a process that sees no hub."""
    base, adapter = saved
    hub, home = tmp_path / "home" / "hub", tmp_path / "home"
    change(adapter / "adapter_config.json", base_model_name_or_path="owner/base")
    cached(hub, "models", "owner/base", base, COMMIT)
    cached(hub, "models", "owner/adapter", adapter, OTHER)
    rows = write_rows(tmp_path / "rows.jsonl", [{"text": text} for text in TEXTS])
    made = datasets.load_dataset(
        "json", data_files=str(rows), split="train", cache_dir=str(tmp_path / "made")
    )
    built = Path(made.cache_files[0]["filename"]).parent
    place = home / "datasets" / "owner___data" / "default" / "0.0.0" / COMMIT
    shutil.copytree(built, place)
    (place / "json-train.arrow").rename(place / "data-train.arrow")
    out = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(out), "owner/adapter@main", "owner/data:train", str(rows)],
        env=os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    settings = yaml.safe_load((out / "run.yaml").read_text())
    assert settings["model"] == f"owner/base@{COMMIT}"
    assert settings["adapter"] == f"owner/adapter@{OTHER}"
    assert settings["train"] == f"owner/data@{COMMIT}:train"
    notes = json.loads((out / "train" / "index.json").read_text())["notes"]
    assert notes["commits"] == {
        "model": ["owner/base", COMMIT], "adapter": ["owner/adapter@main", OTHER],
    }  # fmt: skip
    assert notes["source"] == settings["train"]
