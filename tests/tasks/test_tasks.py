"""Losses equal what a Hugging Face model returns for a batch of one."""

from __future__ import annotations

import pytest
import torch

from conftest import make_base, make_model, make_rows, make_tokenizer
from datainf import tasks
from datainf.errors import DataError, ModelError
from datainf.tasks.base import IGNORE, TRUNCATED, token_limit

TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="module")
def chat():
    made = make_tokenizer(pad_token="<pad>", eos_token="<eos>")
    made.chat_template = TEMPLATE
    return made


def supervised(task, row):
    encoded = task.encode(row)
    kept = [label for label in encoded["labels"] if label != IGNORE]
    return task.tokenizer.decode(kept)


def test_what_is_supervised(tokenizer, chat):
    task = tasks.CausalLM(tokenizer)
    assert supervised(task, {"text": "hello"}) == "hello<eos>"
    assert supervised(task, {"text": "hello<eos>"}) == "hello<eos>"
    assert supervised(task, {"prompt": "Q: 1? ", "completion": "yes"}) == "yes<eos>"
    assert supervised(task, {"prompt": "", "completion": "yes"}) == "yes<eos>"
    bare = tasks.CausalLM(tokenizer, append_eos=False)
    assert supervised(bare, {"prompt": "Q", "completion": "yes"}) == "yes"
    talk = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hey"},
        {"role": "user", "content": "bye"},
        {"role": "assistant", "content": "ciao"},
    ]
    assert supervised(tasks.CausalLM(chat), {"messages": talk}) == "hey</>ciao</>"
    with pytest.raises(DataError, match="no chat template"):
        task.encode({"messages": talk})
    with pytest.raises(DataError, match="no token to learn from"):
        tasks.CausalLM(chat).encode({"messages": talk[:1]})


@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt2"])
def test_causal_lm_losses_are_the_models_own(name, tokenizer):
    model = make_base(name).eval()
    task = tasks.CausalLM(tokenizer).for_model(model)
    padded = {"input_ids": [5, 6, 7, 8, 0, 0], "attention_mask": [1, 1, 1, 1, 0, 0]}
    masked = {"input_ids": [5, 6, 7, 8], "labels": [-100, -100, 7, 8]}
    rows = [*make_rows(name), padded, masked]
    losses = task.losses(model, task.collate(rows))
    for row, loss in zip(rows, losses, strict=True):
        encoded = task.encode(row)
        inputs = {key: torch.tensor([encoded[key]]) for key in ("input_ids", "labels")}
        assert float(loss) == pytest.approx(float(model(**inputs).loss), rel=1e-5)
    assert losses.shape == (len(rows),)


@pytest.mark.parametrize("name", ["bert", "roberta", "llama-classifier"])
def test_classification_losses_are_the_models_own(name, tokenizer):
    model = make_base(name).eval()
    task = tasks.SequenceClassification(tokenizer).for_model(model)
    rows = make_rows(name)
    losses = task.losses(model, task.collate(rows))
    for row, loss in zip(rows, losses, strict=True):
        texts = [row["text"], *([row["text_pair"]] if "text_pair" in row else [])]
        inputs = tokenizer(*texts, return_tensors="pt", return_token_type_ids=False)
        truth = model(**inputs, labels=torch.tensor([row["label"]])).loss
        assert float(loss) == pytest.approx(float(truth), rel=1e-5)


def test_a_model_without_padding_token_can_be_batched():
    bare = make_tokenizer(eos_token="<eos>")
    model = make_base("gpt2", vocab_size=257).eval()
    task = tasks.CausalLM(bare).for_model(model)
    rows = make_rows("gpt2")
    alone = [float(task.losses(model, task.collate([row]))) for row in rows]
    assert task.losses(model, task.collate(rows)).tolist() == pytest.approx(alone, rel=1e-5)


def test_a_classifier_with_another_padding_token_is_refused(tokenizer):
    model = make_base("llama-classifier", pad_token_id=5)
    with pytest.raises(ModelError, match="pads with 0 and the model reads 5"):
        tasks.SequenceClassification(tokenizer).for_model(model)
    model.config.pad_token_id = None
    with pytest.raises(ModelError, match="padding"):
        tasks.SequenceClassification(tokenizer).for_model(model)


def test_labels():
    tokenizer = make_tokenizer(pad_token="<pad>", eos_token="<eos>")
    model = make_base("bert")
    model.config.label2id = {"no": 0, "maybe": 1, "yes": 2}
    task = tasks.SequenceClassification(tokenizer).for_model(model)
    for given, index in [("yes", 2), ("1", 1), (0, 0), (True, 1), (2.0, 2)]:
        assert task.encode({"text": "t", "label": given})["label"] == index
    for wrong, message in [
        (3, "out of range: the model's classes are 0 to 2"),
        (-1, "out of range"),
        ("perhaps", r"'perhaps' is not a class of the model \(its classes: no, maybe, yes\)"),
        (0.5, "not a class index"),
        (None, "has no label"),
    ]:
        with pytest.raises(DataError, match=message):
            task.encode({"text": "t", "label": wrong})
    with pytest.raises(DataError, match="no text"):
        task.encode({"label": 1})


def test_truncation_is_counted_and_encoding_is_idempotent(tokenizer):
    for task, row in [
        (tasks.CausalLM(tokenizer, max_length=10), {"text": "0123456789abc"}),
        (
            tasks.SequenceClassification(tokenizer, max_length=10),
            {"text": "0123456", "text_pair": "abcdefg", "label": 0},
        ),
    ]:
        encoded = task.encode(row)
        assert len(encoded["input_ids"]) == 10
        assert encoded[TRUNCATED] == 4
        assert task.encode(encoded) == encoded
        assert task.length(encoded) == 10


def test_token_rows_that_are_too_long_are_refused(tokenizer):
    task = tasks.SequenceClassification(tokenizer, max_length=3)
    assert task.encode({"input_ids": [5, 6, 7], "label": 0})["input_ids"] == [5, 6, 7]
    with pytest.raises(DataError, match="4 tokens and the limit is 3"):
        task.encode({"input_ids": [5, 6, 7, 8], "label": 0})


def test_the_models_limit_is_kept(tokenizer):
    assert token_limit(make_base("llama"), tokenizer) == 96
    assert token_limit(make_base("roberta"), tokenizer) == 95  # positions count from padding + 1
    model = make_model("roberta")
    task = tasks.SequenceClassification(tokenizer, max_length=500).for_model(model)
    assert task.max_length == 95
    task.losses(model, task.collate([{"text": "t" * 300, "label": 0}]))


def test_settings_tell_tokenizers_apart_and_forget_their_last_call(tokenizer):
    task = tasks.CausalLM(tokenizer)
    before = task.settings()
    tokenizer(["a", "bbbb"], padding=True, truncation=True, max_length=3)
    assert task.settings() == before
    other = make_tokenizer(eos_token="<eos>", pad_token="<pad>")
    assert tasks.CausalLM(other).settings() != before


def test_descriptions(tokenizer):
    task = tasks.CausalLM(tokenizer)
    assert task.describe({"prompt": "a", "completion": "b"}) == "ab"
    assert task.describe({"input_ids": tokenizer("xyz")["input_ids"]}) == "xyz"
    assert task.describe({"messages": [{"role": "user", "content": "hi"}]}) == "user: hi"
    pair = {"text": "a", "text_pair": "b", "label": 1}
    assert tasks.SequenceClassification(tokenizer).describe(pair) == "[1] a ‖ b"


def test_a_custom_task_is_told_by_its_source():
    first = tasks.Custom(lambda m, b: m(b).sum(1))
    second = tasks.Custom(lambda m, b: m(b).mean(1))
    assert first.settings() != second.settings()
    assert tasks.Custom(len, length=len, describe=repr).length("abc") == 3
    assert tasks.Custom(len, describe=repr).describe("a") == "'a'"
