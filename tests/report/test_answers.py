"""What a model writes, and where that was cut, held against going on token by token by hand."""

from __future__ import annotations

import pytest
import torch

from conftest import TEXTS, make_base
from datainf import tasks
from datainf.tasks.answers import BEYOND, MOST_NEW_TOKENS, preference
from tiny_models import PAIRED, tiny_base

ROWS = [{"prompt": source["source"], "completion": source["target"]} for source in PAIRED]


def by_hand(model, step, room, ends):
    """The likeliest tokens, one after another, to the first that ends them or as many as there is
    room for."""
    found = []
    while len(found) < room and not ends.intersection(found):
        with torch.no_grad():
            found.append(int(step(model, found).argmax()))
    return found


def after(prompt):
    return lambda model, found: model(input_ids=torch.tensor([prompt + found])).logits[0, -1]


def decoded(source, start):
    def step(model, found):
        inputs = {"input_ids": torch.tensor([source]), "decoder_input_ids": [[start, *found]]}
        inputs["decoder_input_ids"] = torch.tensor(inputs["decoder_input_ids"])
        return model(**inputs).logits[0, -1]

    return step


def asked(name, tokenizer):
    """Model, task, rows, and of each row the step by hand."""
    if name == "llama":
        model = make_base(name).eval()
        task = tasks.CausalLM(tokenizer).for_model(model)
        steps = [after(tokenizer(row["prompt"])["input_ids"]) for row in ROWS]
        return model, task, ROWS, steps
    model = tiny_base(name).eval()
    task = tasks.Seq2Seq(tokenizer).for_model(model)
    start = model.config.decoder_start_token_id
    steps = [decoded(task.encode(row)["input_ids"], start) for row in PAIRED]
    return model, task, PAIRED, steps


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_text_that_had_not_come_to_its_end_is_marked(name, tokenizer):
    model, task, rows, steps = asked(name, tokenizer)
    free = by_hand(model, steps[0], 5, set())
    marked = set()
    for ends in ({1, free[3]}, {1}):  # one that this model does come to, and one that it does not
        model.generation_config.eos_token_id = sorted(ends)
        for row, step, answer in zip(rows, steps, task.answers(model, rows), strict=True):
            encoded = task.encode(row)
            own = sum(label != -100 for label in encoded["labels"])
            left = 10**9 if name == "t5" else task.max_length - len(encoded["input_ids"]) + own
            room = min(MOST_NEW_TOKENS, own + BEYOND, left)
            truth = by_hand(model, step, room, ends)
            assert answer.text == tokenizer.decode(truth, skip_special_tokens=True)
            ended = bool(ends.intersection(truth))
            assert answer.limit == (None if ended else room)
            marked.add(ended)
    assert marked == {True, False}


def test_an_end_that_is_forced_is_none(tokenizer):
    """BART's last token is always its end."""
    model, task, rows, steps = asked("bart", tokenizer)
    free = by_hand(model, steps[0], 5, {1})
    assert 1 not in free
    answers = task.answers(model, rows)
    assert model.generation_config.forced_eos_token_id == 1
    assert answers[0].limit == len(task.encode(rows[0])["labels"]) + BEYOND


def test_texts_of_a_batch_have_room_each(tokenizer):
    """Prompts of one length go together; what is written after one does not depend on the other."""
    model, task, *_ = asked("llama", tokenizer)
    rows = [{"prompt": TEXTS[0], "completion": "x" * n} for n in (1, 30)]
    both = task.answers(model, rows)
    assert both == [task.answers(model, [row])[0] for row in rows]
    assert [answer.limit for answer in both] == [2 + BEYOND, 31 + BEYOND]


def test_which_of_a_pair_is_preferred():
    assert preference(1.2345).text == "prefers the chosen by 1.23"
    assert (preference(-0.5).text, preference(-0.5).agrees) == (
        "prefers the rejected by 0.5",
        False,
    )
    assert (preference(0.0).text, preference(0.0).agrees) == ("prefers neither", None)
    assert preference(float("nan")).agrees is None
