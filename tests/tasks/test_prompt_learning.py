"""Prompt tuning, P-tuning and prefix tuning: losses are those of the adapted model itself for a
batch of one, at any batch size, and gradients those of one-at-a-time autograd."""

from __future__ import annotations

import peft
import pytest
import torch
import transformers

from conftest import KV, SMALL, TEXTS, make_base, make_rows
from datainf import tasks
from datainf.errors import CoverageError
from datainf.gradients.engine import FallbackWarning, PerExample
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import select
from datainf.gradients.verify import one_at_a_time
from datainf.tasks.base import IGNORE, soft_prompt_tokens, virtual_tokens
from support import NO_PREFIX, takes_prefix
from tiny_models import NUMBERS, TINY, tiny_base

CPU = torch.device("cpu")
VIRTUAL = 5
PROMPTS = {
    "prompt": lambda task: peft.PromptTuningConfig(task_type=task, num_virtual_tokens=VIRTUAL),
    "p-tuning": lambda task: peft.PromptEncoderConfig(
        task_type=task, num_virtual_tokens=VIRTUAL, encoder_hidden_size=12
    ),
    "prefix": lambda task: peft.PrefixTuningConfig(task_type=task, num_virtual_tokens=VIRTUAL),
}
BASES = {
    "llama": ("CAUSAL_LM", tasks.CausalLM),
    "gpt2": ("CAUSAL_LM", tasks.CausalLM),
    "t5": ("SEQ_2_SEQ_LM", tasks.Seq2Seq),
    "bart": ("SEQ_2_SEQ_LM", tasks.Seq2Seq),
    "bert": ("SEQ_CLS", tasks.SequenceClassification),
    "bert-tags": ("TOKEN_CLS", tasks.TokenClassification),
}


def adapted(name, kind):
    base = tiny_base(name) if name in TINY else make_base(name)
    model = peft.get_peft_model(base, PROMPTS[kind](BASES[name][0]))
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.normal_(0, 0.5, generator=generator)
    return model.eval()


def rows_of(name):
    return TINY[name].rows if name in TINY else make_rows(name)


def own_loss(model, batch, name):
    """What the model returns for a batch of one. peft hands a token classifier the labels without
    any for the soft prompt, which then do not fit: here they are put in front."""
    if name == "bert-tags" and soft_prompt_tokens(model):
        front = torch.full((1, VIRTUAL), IGNORE)
        batch = batch | {"labels": torch.cat((front, batch["labels"]), dim=1)}
    return float(model(**batch).loss)


@pytest.mark.parametrize("kind", PROMPTS)
@pytest.mark.parametrize("name", BASES)
def test_losses_are_the_models_own(name, kind, tokenizer):
    if kind == "prefix" and name.startswith("bert") and not takes_prefix():
        pytest.skip(NO_PREFIX)
    model = adapted(name, kind)
    assert virtual_tokens(model) == VIRTUAL
    task, rows = BASES[name][1](tokenizer).for_model(model), rows_of(name)
    with torch.no_grad():
        losses = task.losses(model, task.collate(rows)).tolist()
        own = [own_loss(model, task.collate([row]), name) for row in rows]
    assert losses == pytest.approx(own, rel=1e-5)


@pytest.mark.parametrize(("name", "kind"), [("llama", "prompt"), ("t5", "p-tuning")])
def test_gradients_equal_autograd(name, kind, tokenizer):
    model = adapted(name, kind)
    task, rows, chosen = BASES[name][1](tokenizer).for_model(model), rows_of(name), select(model)
    with evaluating(model):
        gradients = PerExample(model, chosen, task, CPU)
        gradients.check(rows[:3])
        found = gradients(rows)
        for i, row in enumerate(rows):
            _, truth = one_at_a_time(model, chosen, task, row, CPU)
            for block, gradient in truth.items():
                error = (found.gradients[block][i] - gradient).norm()
                assert error <= 1e-5 * gradient.norm()


def test_virtual_tokens_take_positions(tokenizer):
    model = adapted("gpt2", "prompt")
    task = tasks.CausalLM(tokenizer).for_model(model)
    assert task.max_length == 96 - VIRTUAL
    with torch.no_grad():
        task.losses(model, task.collate([{"text": "x" * 300}]))


def test_a_decoder_that_classifies_behind_a_soft_prompt_takes_examples_alone(tokenizer):
    """It gets embeddings, sees no padding among them, and would classify at a padding token."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SMALL | KV | {"num_labels": 1})
    base = transformers.LlamaForSequenceClassification(config)
    model = peft.get_peft_model(base, PROMPTS["prompt"]("SEQ_CLS")).eval()
    task = tasks.SequenceClassification(tokenizer).for_model(model)
    rows = [{"text": t, "label": n} for t, n in zip(TEXTS, NUMBERS, strict=True)]
    with pytest.raises(CoverageError, match="classifies at the last position"):
        task.losses(model, task.collate(rows))
    with evaluating(model):
        gradients = PerExample(model, select(model), task, CPU)
        with pytest.warns(FallbackWarning, match="last position"):
            gradients.check(rows[:3])
        losses = gradients(rows).losses
    with torch.no_grad():
        own = [float(model(**task.collate([row])).loss) for row in rows]
    assert losses.tolist() == pytest.approx(own, rel=1e-5)
