"""The pretraining learns completions alone, and leaves a base that loads."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from experiments.text.corpus import Sample
from experiments.text.pretrain import Pretraining, batches, byte_tokenizer, pretrain, rate, tensors


def test_labels_are_completions_and_their_ends():
    encoder = byte_tokenizer()
    made = tensors([Sample((("ab -> ", "AB"), ("cd -> ", "CD"))), Sample((("x", "yz"),))], encoder)
    learned = [encoder.decode([int(t) for t in labels if t != -100]) for labels in made["labels"]]
    assert learned == ["AB\nCD<eos>", "yz<eos>"]
    assert encoder.decode(made["input_ids"][0]) == "ab -> AB\ncd -> CD<eos>"


def test_batches_keep_to_their_tokens():
    stream = batches(Pretraining(batch_tokens=500), byte_tokenizer())
    sizes = [next(stream)["input_ids"].shape for _ in range(50)]
    assert all(rows * width <= 500 or rows == 1 for rows, width in sizes)
    assert sum(rows * width for rows, width in sizes) > 50 * 300


def test_rates_rise_stay_and_fall_to_nothing():
    settings = Pretraining(steps=1000, warmup=10, decay_from=0.5)
    assert [rate(step, 0, settings) for step in (0, 9, 400, 750, 1000)] == [0.1, 1, 1, 0.5, 0]
    assert [rate(step, 400, settings) for step in (400, 409)] == [0.1, 1]


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has had Muon since 2.9")
def test_a_short_pretraining_lowers_the_loss_and_loads(tmp_path):
    said = []
    settings = Pretraining(steps=40, batch_tokens=400, warmup=4, layers=1, width=32, hidden=32,
                           heads=2)  # fmt: skip
    pretrain(settings, tmp_path, say=said.append, every=10)
    losses = [float(line.split()[1]) for line in said]
    assert losses[-1] < losses[0] - 0.5
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.config.num_hidden_layers == 1
    assert len(AutoTokenizer.from_pretrained(tmp_path)) == model.config.vocab_size
    went_on: list[str] = []
    pretrain(replace(settings, steps=50), tmp_path, say=went_on.append, every=10)
    assert [line.split()[0] for line in went_on] == ["50"]
    assert float(went_on[0].split()[1]) < losses[0] - 0.5
