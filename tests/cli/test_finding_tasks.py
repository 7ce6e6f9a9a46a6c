"""attribute and collect find task and columns by themselves, on models as people save them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
import yaml
from PIL import Image

from conftest import TEXTS, make_tokenizer, write_rows
from datainf import GradientStore, Scores
from datainf.data import load
from datainf.errors import ModelError
from datainf.models import load_model, make_task
from tiny_models import (
    NUMBERS,
    PAIRED,
    SEVERAL,
    TAGGED,
    TINY,
    image_processor,
    tiny_base,
    tiny_lora,
)
from tiny_pipelines import ATTENTION, add_lora, make_examples, make_pipeline


@pytest.fixture
def datainf(datainf):
    """The program, its messages without their line breaks."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code, out, err = datainf(*arguments)
        return code, out, " ".join(err.split())

    return call


def save(name, folder):
    """Base (without its head, where the adapter has one) and adapter; → the adapter's folder."""
    base = tiny_base(name)
    if TINY[name].head:  # as a person starts: a pretrained body
        body = base.base_model
        body.config.architectures = None
        for entry in ("problem_type", "id2label", "label2id"):
            vars(body.config).pop(entry, None)
        body.save_pretrained(folder / "base")
        cls = getattr(transformers, TINY[name].model)
        base = cls.from_pretrained(
            folder / "base", num_labels=TINY[name].settings["num_labels"],
            problem_type=TINY[name].settings.get("problem_type"),
        )  # fmt: skip
    else:
        base.save_pretrained(folder / "base")
        base = getattr(transformers, TINY[name].model).from_pretrained(folder / "base")
    reader = (
        image_processor()
        if TINY[name].task == "image-classification"
        else make_tokenizer(pad_token="<pad>", eos_token="<eos>")
    )
    reader.save_pretrained(folder / "base")
    tiny_lora(name, base).save_pretrained(folder / "adapter")
    return folder / "adapter"


def image_folder(folder):
    """Six pictures, in a folder for each of two classes, and metadata with class indices."""
    generator = np.random.default_rng(0)
    rows = []
    for i in range(6):
        name = f"{'cat' if i % 2 else 'dog'}/{i}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 255, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
        rows.append({"file_name": name, "label": i % 3})
    write_rows(folder / "metadata.jsonl", rows)
    return folder


def rows_for(name, folder):
    if name == "vit":
        return image_folder(folder / "pictures")
    rows = {
        "bert-tags": [{"tokens": row["tokens"], "ner_tags": row["tags"]} for row in TAGGED],
        "t5": [{"document": row["source"], "summary": row["target"]} for row in PAIRED],
        "bart": [{"question": row["source"], "answer": row["target"]} for row in PAIRED],
        "bert-regression": [{"text": t, "label": n} for t, n in zip(TEXTS, NUMBERS, strict=True)],
        "bert-several": [{"text": t, "label": n} for t, n in zip(TEXTS, SEVERAL, strict=True)],
    }[name]
    return write_rows(folder / "train.jsonl", rows)


FOUND = {
    "bert-tags": (
        "task: token-classification (the adapter's task type TOKEN_CLS); --task overrules",
        "6 examples; tokens=tokens, tags=ner_tags; --tokens-column, --tags-column overrule",
    ),
    "t5": (
        "task: seq2seq (the adapter's task type SEQ_2_SEQ_LM); --task overrules",
        "6 examples; source=document, target=summary; --source-column, --target-column overrule",
    ),
    "bart": (
        "task: seq2seq (the adapter's task type SEQ_2_SEQ_LM); --task overrules",
        "6 examples; source=question, target=answer; --source-column, --target-column overrule",
    ),
    "vit": (
        "task: image-classification (the adapter was made on a ViTForImageClassification); "
        "--task overrules",
        "6 examples; image=image, label=label; --image-column, --label-column overrule",
    ),
    "bert-regression": (
        "task: classification (the adapter's task type SEQ_CLS); --task overrules",
        "6 examples; text=text, label=label; --text-column, --label-column overrule",
    ),
    "bert-several": (
        "task: classification (the adapter's task type SEQ_CLS); --task overrules",
        "6 examples; text=text, label=label",
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_attribute_needs_no_more_than_adapter_and_data(name, datainf, tmp_path):
    adapter, data = save(name, tmp_path), rows_for(name, tmp_path)
    run = tmp_path / "run"
    code, out, err = datainf("attribute", "--adapter", adapter, "--train", data, "--query", data,
                             "--query-limit", 2, "--out", run)  # fmt: skip
    assert code == 0, err
    for part in FOUND[name]:
        assert part in err
    assert "most helpful" in out
    assert Scores.load(run / "scores.safetensors").shape == (2, 6)
    store = GradientStore.open(run / "train")
    assert store.index.task["name"] == TINY[name].task
    heads = TINY[name].head or []
    assert all(any(head in block.name for block in store.index.blocks) for head in heads)
    loaded = load_model(None, str(adapter), TINY[name].task)
    task = make_task(TINY[name].task, loaded.tokenizer).for_model(loaded.model)
    with torch.no_grad():
        own = [float(loaded.model(**task.collate([row])).loss) for row in load(data)]
    assert store.losses.tolist() == pytest.approx(own, rel=1e-5)
    code, out, err = datainf("top", run, "--query", 1)
    assert code == 0, err


def test_the_bases_own_head_makes_way_for_the_adapters(tmp_path):
    """A head of seven classes, say ImageNet's thousand, for one of three."""
    adapter = save("vit", tmp_path)
    torch.manual_seed(1)
    other = transformers.ViTConfig(**TINY["vit"].settings | {"num_labels": 7})
    transformers.ViTForImageClassification(other).save_pretrained(tmp_path / "wide")
    image_processor().save_pretrained(tmp_path / "wide")
    loaded = load_model(str(tmp_path / "wide"), str(adapter), "image-classification")
    assert loaded.model.config.num_labels == 3
    head = loaded.model.get_base_model().classifier.modules_to_save["default"]
    assert head.weight.shape == (3, 16)


@pytest.mark.parametrize("name", ["vit", "bert-tags"])
def test_a_head_that_nobody_saved_is_refused(name, tmp_path):
    save(name, tmp_path)
    with pytest.raises(ModelError, match=r"no weights for classifier.bias, .* would be random"):
        load_model(str(tmp_path / "base"), None, TINY[name].task)


def test_options_overrule_and_run_yaml_replays_them(datainf, tmp_path):
    adapter = save("t5", tmp_path)
    rows = [{"a": row["source"], "b": row["target"], "text": "x", "summary": "y"} for row in PAIRED]
    data, run = write_rows(tmp_path / "train.jsonl", rows), tmp_path / "run"
    code, _, err = datainf(
        "attribute", "--adapter", adapter, "--train", data, "--query", data, "--out", run,
        "--source-column", "a", "--target-column", "b", "--max-target-length", 3,
        "--task", "seq2seq",
    )  # fmt: skip
    assert code == 0, err
    assert "task: seq2seq (--task)" in err
    assert "6 examples; source=a, target=b " in err
    settings = yaml.safe_load((run / "run.yaml").read_text())
    assert (settings["source_column"], settings["target_column"]) == ("a", "b")
    scores = (run / "scores.safetensors").read_bytes()
    code, _, err = datainf("attribute", "--config", run / "run.yaml", "--out", tmp_path / "again")
    assert code == 0, err
    assert (tmp_path / "again" / "scores.safetensors").read_bytes() == scores
    code, _, err = datainf("collect", "--adapter", adapter, "--data", data, "--out", tmp_path / "s",
                           "--source-column", "a", "--target-column", "b",
                           "--max-target-length", 3)  # fmt: skip
    assert code == 0, err
    assert "5 of 6 examples were cut to 3 tokens" in err
    assert GradientStore.open(tmp_path / "s").losses.tolist() == (
        GradientStore.open(run / "train").losses.tolist()
    )


def test_model_and_data_that_disagree_say_what_each_says(
    saved_bert, saved_llama, datainf, tmp_path
):
    texts = write_rows(tmp_path / "texts.jsonl", [{"text": "a"}])
    code, _, err = datainf("attribute", "--adapter", saved_bert[1], "--train", texts,
                           "--query", texts, "--out", tmp_path / "run")  # fmt: skip
    assert code == 1
    assert "the model is for classification (the adapter's task type SEQ_CLS)" in err
    assert "the columns text are those of causal-lm" in err
    assert "--label-column" in err
    both = write_rows(tmp_path / "both.jsonl", [{"messages": [], "chosen": "a", "rejected": "b"}])
    code, _, err = datainf("collect", "--adapter", saved_llama[1], "--data", both,
                           "--out", tmp_path / "s")  # fmt: skip
    assert code == 1
    assert (
        "columns are those of several tasks: causal-lm (messages); preference (chosen, rejected)"
        in err
    )
    assert "--task causal-lm or --task preference" in err


def test_an_adapter_without_task_type_works_by_the_bases_architecture_or_by_task(
    saved_llama, datainf, tmp_path
):
    _, adapter = saved_llama
    typeless = shutil.copytree(adapter, tmp_path / "typeless")
    config = json.loads((typeless / "adapter_config.json").read_text()) | {"task_type": None}
    (typeless / "adapter_config.json").write_text(json.dumps(config))
    data = write_rows(tmp_path / "d.jsonl", [{"text": "some words"}, {"text": "others"}])
    code, _, err = datainf("collect", "--adapter", typeless, "--data", data, "--out",
                           tmp_path / "s")  # fmt: skip
    assert code == 0, err
    assert "task: causal-lm (the base's architecture LlamaForCausalLM)" in err
    code, _, err = datainf("collect", "--adapter", typeless, "--data", data, "--task", "causal-lm",
                           "--out", tmp_path / "t")  # fmt: skip
    assert code == 0, err
    assert "task: causal-lm (--task)" in err


@pytest.mark.parametrize(("name", "row", "message"), [
    ("bert-tags", {"tokens": ["a", "b"], "tags": [1]}, "2 tokens and 1 tags"),
    ("bert-tags", {"tokens": [], "tags": []}, "tokens is not a list of words"),
    ("bert-tags", {"tokens": ["a"], "tags": [9]}, "label 9 is out of range"),
    ("bert-regression", {"text": "a", "label": "good"}, "'good' is not a finite number"),
    ("bert-regression", {"text": "a", "label": float("nan")}, "label is missing"),
    ("bert-regression", {"text": "a", "label": [1, 2]}, "holds 2 numbers and the model gives 1"),
    ("bert-several", {"text": "a", "label": ["x"]}, "label 'x' is not a class of the model"),
    ("vit", {"image": "none.png", "label": 1}, "none.png cannot be read: there is no such file"),
    ("t5", {"source": "a", "target": ""}, "target is empty"),
])  # fmt: skip
def test_nonsense_names_file_and_row(name, row, message, datainf, tmp_path):
    adapter = save(name, tmp_path)
    data = write_rows(tmp_path / "train.jsonl", [row])
    code, _, err = datainf("collect", "--adapter", adapter, "--data", data, "--out",
                           tmp_path / "s")  # fmt: skip
    assert code == 1
    assert "train.jsonl, row 0 (line 1): " in err
    assert message in err
    assert "Traceback" not in err


def test_preference_pairs_by_the_command_line(datainf, tmp_path, saved_llama):
    _, adapter = saved_llama
    rows = [{"prompt": t, "chosen": TEXTS[-i], "rejected": t[::-1]} for i, t in enumerate(TEXTS)]
    data = write_rows(tmp_path / "pairs.jsonl", rows)
    run = tmp_path / "run"
    code, out, err = datainf("attribute", "--adapter", adapter, "--train", data, "--query", data,
                             "--out", run, "--beta", 0.3, "--preference-loss", "ipo")  # fmt: skip
    assert code == 0, err
    assert "task: preference" in err
    assert "most helpful" in out
    settings = GradientStore.open(run / "train").index.task
    assert (settings["beta"], settings["loss"]) == (0.3, "ipo")
    code, _, err = datainf("attribute", "--adapter", adapter, "--train", data, "--query", data,
                           "--out", run, "--timesteps", "3")  # fmt: skip
    assert code == 1
    assert "preference has no timesteps" in err


def test_pictures_by_the_command_line(datainf, tmp_path):
    pipeline = make_pipeline("sd1")
    pipeline.save_pretrained(tmp_path / "base")
    unet = add_lora(pipeline.unet, ATTENTION)
    unet.save_pretrained(tmp_path / "adapter")
    rows = []
    for i, example in enumerate(make_examples(6)):
        example["image"].save(tmp_path / f"{i}.png")
        rows.append({"image": f"{i}.png", "caption": example["text"]})
    data, run = write_rows(tmp_path / "train.jsonl", rows), tmp_path / "run"
    said = ("attribute", "--model", tmp_path / "base", "--adapter", tmp_path / "adapter",
            "--train", data, "--query", data, "--query-limit", 2)  # fmt: skip
    code, out, err = datainf(*said, "--out", run, "--timesteps", 2, "--seed", 5)
    assert code == 0, err
    assert "task: text-to-image" in err
    assert "0.png" in out
    store = GradientStore.open(run / "train")
    assert (len(store.index.task["timesteps"]), store.index.task["seed"]) == (2, 5)
    code, out, _ = datainf("top", run, "--query", 1)
    assert code == 0
    assert "1.png" in out
    other = tmp_path / "concatenated"
    code, _, err = datainf(*said, "--out", other, "--timesteps", "25,525",
                           "--timestep-gradients", "concatenate")  # fmt: skip
    assert code == 0, err
    blocks = GradientStore.open(other / "train").index.blocks
    assert all(b.width == 2 * a.width for a, b in zip(store.index.blocks, blocks, strict=True))
    code, _, err = datainf(*said, "--out", tmp_path / "x", "--timesteps", "two")
    assert code == 1
    assert "how many, 6, or which" in err


def test_a_folder_for_each_class_needs_no_names(datainf, tmp_path):
    """As people have them: the base knows none of the classes, and peft saves no names."""
    adapter, folder = save("vit", tmp_path), tmp_path / "pictures"
    generator = np.random.default_rng(0)
    for name in ("red", "blue", "green", "red"):
        for i in range(2):
            (folder / name).mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(0, 255, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    said = ("attribute", "--adapter", adapter, "--train", folder, "--query", folder)
    code, _, err = datainf(*said, "--out", tmp_path / "run")
    assert code == 0, err
    assert "classes: blue, green, red; --labels overrules" in err
    found = GradientStore.open(tmp_path / "run" / "train").index.task["label2id"]
    assert found == {"blue": 0, "green": 1, "red": 2}
    # New pictures lack a class, and the run knows it: their losses are what they were.
    shutil.copytree(folder / "red", tmp_path / "new" / "red")
    code, _, err = datainf(
        "collect", tmp_path / "run", "--data", tmp_path / "new", "--out", tmp_path / "more"
    )
    assert code == 0, err
    asked, known = (
        GradientStore.open(path) for path in (tmp_path / "more", tmp_path / "run" / "train")
    )
    assert asked.index.task["label2id"] == found
    assert asked.losses.tolist() == pytest.approx(known.losses[-len(asked) :].tolist(), rel=1e-5)
    code, _, err = datainf(*said, "--out", tmp_path / "other", "--labels", "red, green, blue")
    assert code == 0, err
    found = GradientStore.open(tmp_path / "other" / "train").index.task["label2id"]
    assert found == {"red": 0, "green": 1, "blue": 2}
    code, _, err = datainf(*said, "--out", tmp_path / "x", "--labels", "red,green")
    assert code == 1
    assert "2 classes were named (red, green), and the model has 3" in err


def test_names_of_tags_are_given_by_option(datainf, tmp_path):
    adapter = save("bert-tags", tmp_path)
    names = ["O", "PER", "LOC"]
    rows = [
        {"tokens": row["tokens"], "ner_tags": [names[t] for t in row["tags"]]} for row in TAGGED
    ]
    data = write_rows(tmp_path / "train.jsonl", rows)
    said = ("attribute", "--adapter", adapter, "--train", data, "--query", data)
    code, _, err = datainf(*said, "--out", tmp_path / "run")
    assert code == 1
    assert "--labels NAME,NAME,…" in err
    code, _, err = datainf(*said, "--out", tmp_path / "run", "--labels", "O,PER,LOC")
    assert code == 0, err
    plain = write_rows(tmp_path / "plain.jsonl", TAGGED)
    code, _, err = datainf("collect", "--adapter", adapter, "--data", plain, "--out",
                           tmp_path / "plain")  # fmt: skip
    stores = [GradientStore.open(tmp_path / name) for name in ("run/train", "plain")]
    assert stores[0].losses.tolist() == stores[1].losses.tolist()


def test_what_has_no_adapter_is_asked_for_its_parameters(datainf, tmp_path, saved_llama):
    base, _ = saved_llama
    rows = write_rows(tmp_path / "rows.jsonl", [{"text": "to be"}, {"text": "or not"}])
    said = ("attribute", "--model", base, "--train", rows, "--query", rows)
    code, _, err = datainf(*said, "--out", tmp_path / "run")
    assert code == 1
    assert "no adapter was named" in err
    code, _, err = datainf(*said, "--out", tmp_path / "run", "--trainable", "*")
    assert code == 0, err


def test_a_pipeline_is_asked_for(datainf, tmp_path):
    folder = tmp_path / "lora"
    folder.mkdir()
    (folder / "pytorch_lora_weights.safetensors").write_bytes(b"")
    image_folder(tmp_path / "pictures")
    rows = [{"image": "dog/0.png", "text": "a dog"}]
    data = write_rows(tmp_path / "pictures" / "rows.jsonl", rows)
    code, _, err = datainf("attribute", "--adapter", folder, "--train", data, "--query", data,
                           "--out", tmp_path / "run")  # fmt: skip
    assert code == 1
    assert "--model with the folder or hub id of the pipeline" in err
