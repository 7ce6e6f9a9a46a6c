"""Bases and adapters that fit, and those that do not."""

from __future__ import annotations

import json
import shutil

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn

from conftest import lora_config, make_base, make_tokenizer, save_model
from datainf import attribute, collect
from datainf.columns import Candidates
from datainf.errors import ModelError, OptionError
from datainf.gradients.parameters import adapter_settings, architecture
from datainf.models import (
    adapter_config,
    base_of,
    candidates,
    device_of,
    dtype_of,
    load_model,
    load_tokenizer,
    make_task,
)


def edited(adapter, tmp_path, change):
    """A copy of an adapter whose tensors went through `change`."""
    copy = shutil.copytree(adapter, tmp_path / "edited")
    path = copy / "adapter_model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})
    return str(copy)


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_a_saved_adapter_gives_the_model_that_was_saved(kind, request, tokenizer):
    base, adapter = request.getfixturevalue(f"saved_{kind}")
    task = candidates(None, str(adapter)).tasks[0]
    loaded = load_model(None, str(adapter), task)
    assert loaded.base == str(base) == base_of(str(adapter))
    assert not loaded.model.training
    auto = {
        "causal-lm": transformers.AutoModelForCausalLM,
        "classification": transformers.AutoModelForSequenceClassification,
    }[task]
    labels = {"num_labels": 3} if task == "classification" else {}
    truth = peft.PeftModel.from_pretrained(auto.from_pretrained(base, **labels), adapter).eval()
    ids = tokenizer("some words", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.equal(loaded.model(input_ids=ids).logits, truth(input_ids=ids).logits)


@pytest.mark.parametrize("kind", ["llama", "bert", "gpt2", "qwen3"])
def test_a_model_in_memory_and_from_its_files_are_the_same_to_a_store(kind, tmp_path, tokenizer):
    base, adapter = save_model(kind, tmp_path, tokenizer)
    in_memory = peft.get_peft_model(make_base(kind), lora_config(kind))
    task = "classification" if kind == "bert" else "causal-lm"
    loaded = load_model(str(base), str(adapter), task).model
    assert architecture(in_memory) == architecture(loaded)
    assert adapter_settings(in_memory) == adapter_settings(loaded) != {}


def without_head(base):
    """A base as pretraining leaves it."""
    weights = load_file(base / "model.safetensors")
    headless = {name: t for name, t in weights.items() if not name.startswith("classifier")}
    save_file(headless, base / "model.safetensors", metadata={"format": "pt"})


def test_a_head_that_the_adapter_replaces_is_nothing_to_a_store(tmp_path, tokenizer):
    """It is drawn anew each time, and has no part in anything."""
    base, adapter = save_model("bert", tmp_path, tokenizer)
    without_head(base)
    rows = [{"text": text, "label": 1} for text in ("a b", "c")]
    for name in ("one", "two"):
        torch.manual_seed(len(name) + (name == "two"))
        loaded = load_model(str(base), str(adapter), "classification")
        task = make_task("classification", loaded.tokenizer)
        collect(loaded.model, rows, task, out=tmp_path / name)
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("one", "two")
    )
    assert one == two
    assert attribute(tmp_path / "one", tmp_path / "two", "datainf").shape == (2, 2)


def test_the_head_has_as_many_classes_as_the_adapter_was_saved_with(tmp_path, tokenizer):
    """The base's own configuration says 2; nobody should have to say 3 again."""
    base, adapter = save_model("bert", tmp_path, tokenizer)
    config = json.loads((base / "config.json").read_text())
    for key in ("id2label", "label2id"):
        config.pop(key)
    (base / "config.json").write_text(json.dumps(config))
    without_head(base)
    loaded = load_model(str(base), str(adapter), "classification")
    assert loaded.model.config.num_labels == 3
    saved = load_file(adapter / "adapter_model.safetensors")
    trained = [p for name, p in loaded.model.named_parameters() if "modules_to_save" in name]
    assert any(torch.equal(saved[name], p) for name in saved for p in trained)


def test_a_head_that_nobody_saved_is_refused(tmp_path, tokenizer):
    base = tmp_path / "base"
    transformers.BertModel(make_base("bert").config).save_pretrained(base)
    tokenizer.save_pretrained(base)
    with pytest.raises(ModelError, match=r"no weights for classifier.bias, ") as e:
        load_model(str(base), None, "classification")
    assert "modules_to_save" in e.value.remedy
    model = transformers.BertForSequenceClassification.from_pretrained(base)
    config = lora_config("bert")
    config.modules_to_save = None
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    # peft saves a SEQ_CLS head by itself: take it out, as an older version would have
    bare = edited(
        tmp_path / "adapter",
        tmp_path,
        lambda weights: {name: t for name, t in weights.items() if "classifier" not in name},
    )
    with pytest.raises(ModelError, match="they would be random"):
        load_model(str(base), bare, "classification")


def test_an_adapter_that_does_not_fit_is_refused(saved_llama, tmp_path, tokenizer):
    _, adapter = saved_llama
    wide, _ = save_model("llama", tmp_path / "wide", tokenizer, hidden_size=32)
    gpt2, _ = save_model("gpt2", tmp_path / "gpt2", tokenizer)
    deep, deep_adapter = save_model("llama", tmp_path / "deep", tokenizer, num_hidden_layers=3)
    shallow, _ = saved_llama
    for base, named, message in [
        (wide, adapter, "does not fit the base .*size mismatch"),
        (gpt2, adapter, "does not fit the base .*(not found|Target modules)"),
        (deep, adapter, "does not fit the base .*missing adapter keys"),
        (shallow, deep_adapter, "does not fit the base .*layers.2.* have no place there"),
    ]:
        with pytest.raises(ModelError, match=message) as caught:
            load_model(str(base), str(named), "causal-lm")
        assert "the base that it was trained on" in caught.value.remedy


def test_an_adapter_without_some_of_its_tensors_is_refused(saved_llama, tmp_path):
    _, adapter = saved_llama
    half = edited(adapter, tmp_path, lambda weights: dict(list(weights.items())[2:]))
    with pytest.raises(ModelError, match="missing adapter keys"):
        load_model(None, half, "causal-lm")


def test_what_is_no_model_or_adapter(saved_llama, tmp_path):
    base, adapter = saved_llama
    broken = shutil.copytree(adapter, tmp_path / "broken")
    (broken / "adapter_model.safetensors").write_bytes(b"junk")
    bare = shutil.copytree(adapter, tmp_path / "bare")
    (bare / "adapter_model.safetensors").unlink()
    for base_name, adapter_name, message in [
        (None, "nowhere", "there is no folder nowhere"),
        (None, str(base), "is not a peft adapter"),
        (None, str(broken), "cannot read the weights"),
        (None, str(bare), "no weights in .*bare: .* neither adapter_model.safetensors nor .*bin\n"),
        (str(tmp_path / "none"), str(adapter), "cannot load a model from"),
        (str(tmp_path / "none"), None, "cannot load a model from"),
    ]:
        with pytest.raises(ModelError, match=message):
            load_model(base_name, adapter_name, "causal-lm")
    with pytest.raises(ModelError, match="no base model was named"):
        base_of(None)
    with pytest.raises(ModelError, match="cannot load a tokenizer"):
        load_tokenizer(str(tmp_path / "none"), None)


def test_what_is_meant_as_a_path_is_not_asked_for_on_the_hub(saved_llama, tmp_path, monkeypatch):
    def hub(*_, **__):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("peft.config.hf_hub_download", hub)
    monkeypatch.chdir(tmp_path)
    work = tmp_path / "work"
    shutil.copytree(saved_llama[1], work / "adapter")
    (work / "data").mkdir()
    (work / "notes.txt").touch()
    for name, message in [
        ("work/nope", r"there is no folder work/nope; there is work/adapter"),
        ("work/nope/", r"there is no folder work/nope; there is work/adapter"),
        ("work", r"work is not a peft adapter: .* adapter_config.json in it; .* work/adapter\?"),
        ("wrok", r"there is no folder wrok\n"),
        ("work/data", r"work/data is not a peft adapter: there is no adapter_config.json in it\n"),
        ("work/notes.txt", r"work/notes.txt is a file; there is work/adapter"),
        (str(tmp_path / "a/b"), r"there is no folder .*a/b; there is no folder .*a either"),
        ("./there/is/none", "there is no folder there/is/none; there is no folder there/is either"),
        ("../none", "there is no folder ../none"),
    ]:
        with pytest.raises(ModelError, match=message):
            adapter_config(name)
    assert adapter_config("work/adapter").r == 4
    asked = []
    monkeypatch.setattr("peft.config.hf_hub_download", lambda *a, **_: asked.append(a[0]) or hub())
    with pytest.raises(ModelError, match="owner/name is not a peft adapter"):
        adapter_config("owner/name")
    assert asked == ["owner/name"]


def with_config(adapter, folder, **changes):
    """A copy of an adapter whose configuration says something else."""
    copy = shutil.copytree(adapter, folder)
    config = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps(config | changes))
    return str(copy)


@pytest.mark.parametrize("value", [["a"], 3, {"b": 1}])
@pytest.mark.parametrize("field", ["base_model_name_or_path", "revision"])
def test_a_base_that_is_no_name_is_refused(saved_llama, tmp_path, field, value):
    copy = with_config(saved_llama[1], tmp_path / "copy", **{field: value})
    with pytest.raises(ModelError, match=f"names no base: {field} is "):
        load_model(str(saved_llama[0]), copy, "causal-lm")


@pytest.mark.parametrize(
    "changes", [{"num_hidden_layers": 2**63}, {"inner": {"depths": [2, 2**40]}}]
)
def test_a_base_that_nobody_could_make_is_refused(saved_llama, tmp_path, changes):
    copy = shutil.copytree(saved_llama[0], tmp_path / "base")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(ModelError, match=r"its config.json has .* for (num_hidden_layers|depths)"):
        load_model(str(copy), str(saved_llama[1]), "causal-lm")


def test_what_a_model_can_be_for_is_found(saved_llama, saved_bert, tmp_path):
    llama, llama_adapter = saved_llama
    bert, bert_adapter = saved_bert
    for base, adapter, tasks, sign in [
        (None, llama_adapter, ("causal-lm", "preference"), "the adapter's task type CAUSAL_LM"),
        (llama, None, ("causal-lm", "preference"), "the base's architecture LlamaForCausalLM"),
        (None, bert_adapter, ("classification",), "the adapter's task type SEQ_CLS"),
        (bert, None, ("classification",), "the base's architecture BertForSequenceClassification"),
    ]:
        found = candidates(base and str(base), adapter and str(adapter))
        assert found == Candidates(tasks, sign)
    plain = tmp_path / "plain"
    transformers.BertModel(make_base("bert").config).save_pretrained(plain)
    assert candidates(str(plain), None) is None
    typeless = with_config(llama_adapter, tmp_path / "typeless", task_type=None)
    assert candidates(str(bert), typeless).tasks == ("classification",)
    assert candidates(None, typeless).sign == "the base's architecture LlamaForCausalLM"
    made_on = {"base_model_class": "ViTForImageClassification", "parent_library": "transformers"}
    noted = with_config(llama_adapter, tmp_path / "noted", task_type=None, auto_mapping=made_on)
    assert candidates(None, noted) == Candidates(
        ("image-classification",), "the adapter was made on a ViTForImageClassification"
    )
    other = with_config(llama_adapter, tmp_path / "other", task_type="QUESTION_ANS")
    with pytest.raises(ModelError, match="for QUESTION_ANS, which is not supported yet"):
        candidates(None, other)


def test_pipelines_are_known_by_their_files(saved_llama, tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    assert candidates(str(tmp_path), None).tasks == ("text-to-image",)
    lora = tmp_path / "lora"
    lora.mkdir()
    (lora / "pytorch_lora_weights.safetensors").write_bytes(b"")
    assert candidates(None, str(lora)).tasks == ("text-to-image",)
    with pytest.raises(ModelError, match="no models of transformers"):
        load_model(str(saved_llama[0]), None, "text-to-image")


def test_a_full_model_needs_no_adapter(saved_llama):
    base, _ = saved_llama
    loaded = load_model(str(base), None, "causal-lm")
    assert type(loaded.model).__name__ == "LlamaForCausalLM"


def test_the_adapters_own_tokenizer_comes_first(saved_llama, tmp_path):
    base, adapter = saved_llama
    own = shutil.copytree(adapter, tmp_path / "own")
    make_tokenizer(eos_token="<end>").save_pretrained(own)
    assert load_tokenizer(str(base), str(adapter)).eos_token == "<eos>"
    found = load_tokenizer(str(base), str(own))
    assert found.eos_token == found.pad_token == "<end>"


def test_devices_and_dtypes():
    cpu = torch.device("cpu")
    assert device_of("cpu") == cpu
    assert dtype_of(None, cpu) == torch.float32
    assert dtype_of("bfloat16", cpu) == torch.bfloat16
    assert dtype_of(None, torch.device("cuda")) == "auto"
    for wrong in ("toaster", "cuda:99"):
        with pytest.raises(OptionError, match="cannot be used"):
            device_of(wrong)
    with pytest.raises(OptionError, match="unknown dtype 'float8'"):
        dtype_of("float8", cpu)
    with pytest.raises(OptionError, match="at least 2"):
        make_task("causal-lm", None, {"max_length": 1})
    with pytest.raises(OptionError, match="image-classification has no max length"):
        make_task("image-classification", None, {"max_length": 100})
    assert make_task("seq2seq", None, {"max_target_length": 20}).max_target_length == 20


@pytest.mark.parametrize("kind", ["FourierFTConfig", "VeraConfig", "OFTConfig"])
def test_options_of_an_adapter_that_stand_in_no_tensor_are_known(kind, tmp_path):
    told = {
        "FourierFTConfig": [{"n_frequency": 10}, {"random_loc_seed": 5}],
        "VeraConfig": [{"r": 4, "save_projection": False}, {"projection_prng_key": 5}],
        "OFTConfig": [{"oft_block_size": 4}, {"num_cayley_neumann_terms": 3}],
    }[kind]

    def adapted(**options):
        config = getattr(peft, kind)(target_modules=["q_proj"], task_type="CAUSAL_LM", **options)
        return peft.get_peft_model(make_base("llama"), config)

    plain = adapted(**told[0])
    assert adapter_settings(plain) != adapter_settings(adapted(**told[0], **told[1]))
    plain.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(make_base("llama"), tmp_path)
    assert adapter_settings(loaded) == adapter_settings(plain)


def test_plain_modules_are_known_by_what_they_are():
    models = [nn.Sequential(nn.Linear(2, 2), kind()) for kind in (nn.ReLU, nn.Tanh)]
    assert architecture(models[0]) != architecture(models[1])
