"""Parts of gradients' products by position, against the products themselves and a finite truth."""

from __future__ import annotations

import peft
import pytest
import torch

from conftest import make_base, make_model, make_rows
from datainf import tasks
from datainf.gradients.engine import PerExample
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import select
from datainf.gradients.positions import Parts, Positions
from datainf.gradients.verify import one_at_a_time
from datainf.tasks.base import prompt_widths, soft_prompt_tokens
from datainf.tasks.streams import Stream, pieces
from tiny_models import TINY, tiny_lora, tiny_task

CPU = torch.device("cpu")


def ready(model, task, rows):
    """Model and task in float64, and what reads positions."""
    model = model.double()
    task = task.for_model(model)
    chosen = select(model)
    gradients = PerExample(model, chosen, task, CPU)
    gradients.check([task.encode(row) for row in rows[:3]])
    return task, chosen, Positions(gradients)


def random_directions(chosen, k=3):
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(k, p.numel(), generator=generator, dtype=torch.float64)
        for name, p in chosen.items()
    }


def products(model, chosen, task, example, directions):
    _, gradient = one_at_a_time(model, chosen, task, example, CPU)
    return sum(directions[name] @ g for name, g in gradient.items())


def check(model, task, rows):
    """The parts of every row sum to its products; returns what the last row's were."""
    with evaluating(model):
        task, chosen, positions = ready(model, task, rows)
        ways = random_directions(chosen)
        for row in rows:
            example = task.encode(row)
            truth = products(model, chosen, task, example, ways)
            parts = positions.parts(example, ways)
            assert torch.allclose(parts.total, truth, rtol=1e-8, atol=1e-10)
            streams = task.streams(example)
            prompts, apart = soft_prompt_tokens(model), prompt_widths(model)
            along, elsewhere = parts.along(streams, prompts, apart)
            total = elsewhere + sum(part.sum(dim=1) for part in along)
            assert torch.allclose(total, truth, rtol=1e-8, atol=1e-10)
            for stream, part in zip(streams, along, strict=True):
                assert part.shape == (3, len(stream.tokens))
    return streams, along, elsewhere


LANGUAGE = ["llama", "qwen3", "gpt2"]


@pytest.mark.parametrize("name", LANGUAGE)
def test_the_tokens_parts_sum_to_the_product(name, tokenizer):
    _, along, elsewhere = check(make_model(name), tasks.CausalLM(tokenizer), make_rows(name))
    assert torch.allclose(elsewhere, torch.zeros(3, dtype=torch.float64))
    assert (along[0][:, :-1] != 0).any(dim=0).all()
    assert (along[0][:, -1] == 0).all(), "nothing is predicted from the last"


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_a_head_s_part_lies_at_no_token(name, tokenizer):
    _, along, elsewhere = check(
        make_model(name), tasks.SequenceClassification(tokenizer), make_rows(name)
    )
    assert (elsewhere.abs() > 1e-6).all()
    assert (along[0].abs() > 0).any()


OLD = pytest.mark.xfail(torch.__version__ < "2.10", reason="T5 rounds more there", strict=False)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[OLD] if n == "t5" else []) for n in TINY if n != "vit"]
)
def test_every_task_of_text_has_its_streams(name, tokenizer):
    model = tiny_lora(name)
    streams, along, _ = check(model, tiny_task(name, model, tokenizer), TINY[name].rows)
    assert streams
    assert all((part.abs() > 0).any() for part in along)


def test_pictures_have_no_tokens(tokenizer):
    model = tiny_lora("vit")
    streams, *_ = check(model, tiny_task("vit", model, tokenizer), TINY["vit"].rows)
    assert streams == []


def test_source_and_target_of_one_length_are_told_apart(tokenizer):
    rows = [{"source": "abcd", "target": "wxyz"}, {"source": "to be", "target": "or"}]
    model = tiny_lora("t5")
    streams, *_ = check(model, tiny_task("t5", model, tokenizer), rows[::-1])
    assert [stream.name for stream in streams] == ["source", "target"]
    assert len(streams[0].tokens) != len(streams[1].tokens)


def test_both_halves_of_a_pair(tokenizer):
    rows = [
        {"prompt": "say ", "chosen": "good things", "rejected": "bad"},
        {"prompt": "", "chosen": "aye aye", "rejected": "no, never again"},
        {"prompt": "one or ", "chosen": "two", "rejected": "tea"},
    ]
    streams, along, _ = check(make_model("llama"), tasks.Preference(tokenizer), rows)
    assert [stream.name for stream in streams] == ["chosen", "rejected"]
    assert "".join(streams[1].tokens).startswith("one or tea")
    assert all((part.abs() > 0).any() for part in along)


ADAPTERS = {
    "dora": lambda: peft.LoraConfig(
        task_type="CAUSAL_LM", r=4, use_dora=True, init_lora_weights=False,
        target_modules=["q_proj", "v_proj"],
    ),
    "ia3": lambda: peft.IA3Config(
        task_type="CAUSAL_LM", target_modules=["k_proj", "v_proj", "down_proj"],
        feedforward_modules=["down_proj"], init_ia3_weights=False,
    ),
    "loha": lambda: peft.LoHaConfig(
        task_type="CAUSAL_LM", r=4, init_weights=False, target_modules=["q_proj", "v_proj"]
    ),
    "prompt": lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    "norms": lambda: peft.LNTuningConfig(
        task_type="CAUSAL_LM", target_modules=["input_layernorm", "norm"]
    ),
    "embedding": lambda: peft.LoraConfig(
        task_type="CAUSAL_LM", r=4, init_lora_weights=False,
        target_modules=["embed_tokens", "q_proj"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_adapters_of_every_kind(adapter, tokenizer):
    base = make_base("llama")
    model = peft.get_peft_model(base, ADAPTERS[adapter]())
    check(model, tasks.CausalLM(tokenizer), make_rows("llama"))


SOFT_PROMPTS = {
    "prompt": lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5),
    "prefix": lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5),
    "p-tuning": lambda: peft.PromptEncoderConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=5, encoder_hidden_size=8
    ),
}


@pytest.mark.parametrize("adapter", SOFT_PROMPTS)
def test_a_soft_prompt_lies_at_no_token(adapter, tokenizer):
    """Nor of an example that is as long as the prompt is."""
    model = peft.get_peft_model(make_base("llama"), SOFT_PROMPTS[adapter]())
    rows = [{"input_ids": list(range(7, 7 + length))} for length in (3, 8, 5)]
    for row in rows:
        _, along, elsewhere = check(model, tasks.CausalLM(tokenizer), [row])
        assert (along[0] == 0).all()
        assert (elsewhere != 0).all()


def test_a_part_is_what_its_position_alone_would_give(tokenizer):
    """Of a linear layer with weight W: the part of position t is the product where the layer's
    other positions are cut off from its weight."""
    model = make_model("llama")
    with evaluating(model):
        task, chosen, positions = ready(model, tasks.CausalLM(tokenizer), make_rows("llama"))
        name = next(n for n in chosen if "layers.1" in n and "q_proj.lora_A" in n)
        module = model.get_submodule(name.removesuffix(".weight"))
        ways = {name: random_directions(chosen)[name]}
        example = task.encode(make_rows("llama")[1])
        along = positions.parts(example, ways).along(task.streams(example))[0][0]
        for t in (0, 3, 7):

            def only(_module, _args, output, t=t):
                kept = output.detach().clone()
                kept[:, t] = output[:, t]
                return kept

            handle = module.register_forward_hook(only)
            try:
                truth = products(model, {name: chosen[name]}, task, example, ways)
            finally:
                handle.remove()
            assert torch.allclose(along[:, t], truth, rtol=1e-8, atol=1e-12)


def test_parts_go_to_their_own_stream_row_and_place():
    """Of two rows of 5 positions with 2 prompts in front, and 4 of another axis."""
    first, second = torch.arange(7.0).double(), 10 + torch.arange(7.0).double()
    other = 100 + torch.arange(4.0).double()
    parts = Parts({7: torch.stack([first, second])[None], 4: other[None, None]}, torch.ones(1))
    streams = [
        Stream("chosen", list("abcde")), Stream("rejected", list("vwx"), row=1),
        Stream("source", list("pqrs"), axis="source"),
    ]  # fmt: skip
    found, elsewhere = parts.along(streams, prompts=2)
    assert found[0].tolist() == [[2, 3, 4, 5, 6]]
    assert found[1].tolist() == [[12, 13, 14]]
    assert found[2].tolist() == [[100, 101, 102, 103]]
    assert elsewhere.tolist() == [1 + 0 + 1 + 10 + 11 + 15 + 16]


def test_positions_that_may_be_of_two_axes_are_of_none():
    parts = Parts({3: torch.ones(1, 1, 3).double()}, torch.zeros(1).double())
    streams = [Stream("source", list("abc"), axis="source"), Stream("target", list("xyz"))]
    found, elsewhere = parts.along(streams)
    assert [part.sum() for part in found] == [0, 0]
    assert elsewhere.tolist() == [3]


def test_a_parameter_s_own_hook_is_followed(tokenizer):
    model = make_model("llama")
    name, parameter = next((n, p) for n, p in model.named_parameters() if "lora_A" in n)
    handle = parameter.register_hook(lambda g: g * torch.arange(g.numel()).reshape(g.shape))
    try:
        _, _, elsewhere = check(model, tasks.CausalLM(tokenizer), make_rows("llama"))
    finally:
        handle.remove()
    assert (elsewhere.abs() > 0).all(), f"{name} has no positions"


@pytest.mark.parametrize(
    "text", ["plain words here", "naïve café — ünïcödé", "日本語 and emoji 🎈", ""]
)
def test_pieces_read_as_the_text_does(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    read = pieces(tokenizer, ids)
    assert len(read) == len(ids)
    assert "".join(read).replace("·", "") == text
