"""Greedy completions, batched with padding, are those of each prompt alone."""

from __future__ import annotations

import torch

from conftest import make_base
from datainf.tasks import CausalLM
from experiments.text import generate
from experiments.text.generate import completions, mean_loss, quality

PROMPTS = ["ab -> ", "a much longer prompt than that -> ", "xyz -> "]


def rows(answers: list[str]) -> list[dict]:
    return [
        {"id": str(i), "prompt": prompt, "completion": answer, "class": "even" if i % 2 else "odd"}
        for i, (prompt, answer) in enumerate(zip(PROMPTS, answers, strict=True))
    ]


def alone(model, tokenizer, prompt: str, count: int) -> str:
    """Token after token, by the most likely one."""
    ids = tokenizer(prompt)["input_ids"]
    start = len(ids)
    with torch.no_grad():
        for _ in range(count):
            best = int(model(torch.tensor([ids])).logits[0, -1].argmax())
            if best == tokenizer.eos_token_id:
                break
            ids.append(best)
    return tokenizer.decode(ids[start:], skip_special_tokens=True).strip()


def test_completions_are_those_of_each_prompt_alone(tokenizer):
    model = make_base("llama").eval()
    found = completions(model, tokenizer, rows(["12345"] * 3))
    assert found == [alone(model, tokenizer, prompt, 6) for prompt in PROMPTS]
    assert len(set(found)) > 1


def test_quality_counts_exact_matches_by_class(tokenizer, monkeypatch):
    model, task = make_base("llama").eval(), CausalLM(tokenizer)
    monkeypatch.setattr(generate, "completions", lambda *_: ["one", "two", "three"])
    found = quality(model, task, rows(["one", "two!", "four"]))
    assert found["accuracy"] == 1 / 3
    assert found["by_class"] == {"odd": 0.5, "even": 0.0}
    assert found["any_class"] == 1 / 3
    shared = [row | {"phrase": "same"} for row in rows(["two", "one", "four"])]
    both = quality(model, task, shared)
    assert both["accuracy"] == 0
    assert both["any_class"] == 2 / 3


def test_mean_loss_is_the_models_own(tokenizer):
    model, task = make_base("llama").eval(), CausalLM(tokenizer)
    given = rows(["one", "a much longer answer", "x"])
    own = []
    for row in given:
        encoded = task.collate([row])
        own.append(model(**encoded).loss.item())
    assert abs(mean_loss(model, task, given) - sum(own) / 3) < 1e-5
