"""No code of a pipeline's folder runs, with any diffusers that may be installed: what would have it
run is refused before diffusers looks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import datainf.demos
from datainf.errors import ModelError
from datainf.pipelines import load_pipeline

BASE = Path(datainf.demos.__file__).parent / "images_base"


@pytest.fixture
def pipeline(tmp_path):
    """A pipeline's folder, to be changed."""
    return Path(shutil.copytree(BASE, tmp_path / "pipeline"))


@pytest.fixture
def evil(tmp_path):
    """Python code that leaves a mark, which is looked for in the end."""
    marker = tmp_path / "ran"
    yield f"open({str(marker)!r}, 'w')\nclass Evil: pass\n"
    assert not marker.exists()


def change(path: Path, **values: object) -> None:
    told = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(told | values))


@pytest.mark.parametrize(
    "values",
    [
        {"scheduler": ["evil", "Evil"]},
        {"scheduler": ["diffusers", "DiffusionPipeline"]},  # with an index of its own
        {"scheduler": ["diffusers", "StableDiffusionPipeline"]},
        {"tokenizer": ["transformers", "AutoTokenizer"]},  # asks on the terminal
        {"tokenizer": ["transformers", ["evil"]]},
        {"tokenizer": [["evil"], "Evil"]},
        {"_class_name": ["evil", "Evil"]},
        {"_class_name": "Evil"},
        {"_class_name": "DDPMScheduler"},
        {"_class_name": "StableCascadeCombinedPipeline"},  # fetches another, by its README
    ],
)
def test_classes_of_others_are_refused(pipeline, evil, values, tmp_path, monkeypatch):
    for place in (pipeline, pipeline / "scheduler", tmp_path):
        (place / "evil.py").write_text(evil)
    monkeypatch.syspath_prepend(tmp_path)
    change(pipeline / "model_index.json", **values)
    with pytest.raises(ModelError, match=r"asks for .*runs no code but"):
        load_pipeline(str(pipeline))


@pytest.mark.parametrize("name", ["None.py", "scheduler/diffusers.py", "tokenizer/transformers.py"])
def test_files_that_diffusers_would_run_are_refused(pipeline, evil, name):
    (pipeline / name).write_text(evil)
    with pytest.raises(ModelError, match=f"its own {name}"):
        load_pipeline(str(pipeline))


def test_other_files_of_code_lie_there_unread(pipeline, evil):
    """As a repository has them that serves its model; and a checker of images is never loaded."""
    for name in ("handler.py", "scheduler/evil.py", "evil.py"):
        (pipeline / name).write_text(evil)
    change(pipeline / "model_index.json", safety_checker=["stable_diffusion", "Some"])
    assert load_pipeline(str(pipeline)).pipeline.safety_checker is None


@pytest.mark.parametrize("asked", ["somebody/kernel", "flash_attention_2"])
def test_compiled_code_is_refused_in_every_part(pipeline, asked):
    change(pipeline / "text_encoder" / "config.json", _attn_implementation=asked)
    with pytest.raises(ModelError, match=asked):
        load_pipeline(str(pipeline))


def test_a_part_that_is_an_adapter_is_refused(pipeline):
    """transformers would take its base from elsewhere, unseen."""
    change(pipeline / "text_encoder" / "adapter_config.json", base_model_name_or_path="x/y")
    with pytest.raises(ModelError, match="an adapter as its text_encoder"):
        load_pipeline(str(pipeline))


@pytest.mark.parametrize("name", ["processor_config.json", "tokenizer_config.json"])
def test_code_that_transformers_would_ask_about_is_refused(pipeline, evil, name):
    (pipeline / "tokenizer" / "own.py").write_text(evil)
    change(pipeline / "tokenizer" / name, auto_map={"AutoTokenizer": ["own.Evil", None]})
    with pytest.raises(ModelError, match="auto_map, for its tokenizer"):
        load_pipeline(str(pipeline))


def test_a_pipeline_of_the_hub_is_one_commit_s(pipeline, tmp_path, monkeypatch):
    """What was looked at is what is loaded."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "snapshots" / commit
    shutil.copytree(pipeline, snapshot)
    asked = []

    def download(name, **options):
        asked.append((name, options))
        return snapshot

    index = str(snapshot / "model_index.json")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: index)
    monkeypatch.setattr("diffusers.DiffusionPipeline.download", download)
    assert load_pipeline("owner/name@main").base == "owner/name@main"
    ((name, options),) = asked
    assert (name, options["revision"]) == ("owner/name", commit)
    assert options["use_safetensors"]
    assert not options["trust_remote_code"]
    change(snapshot / "model_index.json", scheduler=["evil", "Evil"])
    with pytest.raises(ModelError, match=r"evil\.Evil as its scheduler"):
        load_pipeline("owner/name@main")
    assert len(asked) == 1
