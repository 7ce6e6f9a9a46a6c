"""A pair's loss is the paper's, and TRL's on the same rows."""

from __future__ import annotations

import math

import datasets
import peft
import pytest
import torch

from conftest import TEXTS, lora_config, make_base, make_model, make_tokenizer
from datainf import attribute, tasks
from datainf.errors import DataError, ModelError, OptionError, StoreMismatchError
from datainf.gradients.collect import collect
from datainf.gradients.engine import PerExample
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import select
from datainf.gradients.verify import one_at_a_time
from datainf.tasks.base import TRUNCATED

CPU = torch.device("cpu")
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
PAIRS = [
    {"prompt": text, "chosen": TEXTS[-i - 1], "rejected": TEXTS[(i + 2) % 6]}
    for i, text in enumerate(TEXTS)
]


@pytest.fixture(scope="module")
def chat():
    made = make_tokenizer(pad_token="<pad>", eos_token="<eos>")
    made.chat_template = TEMPLATE
    return made


def shown(task, row):
    pair = task.encode(row)
    return [
        task.tokenizer.decode(pair[key]) for key in ("prompt_ids", "chosen_ids", "rejected_ids")
    ]


def turns(*contents):
    return [
        {"role": "assistant" if i % 2 else "user", "content": content}
        for i, content in enumerate(contents)
    ]


def test_what_a_pair_is(tokenizer, chat):
    task = tasks.Preference(tokenizer)
    text = {"prompt": "Q: 1? ", "chosen": "yes", "rejected": "no"}
    assert shown(task, text) == ["Q: 1? ", "yes<eos>", "no<eos>"]
    assert shown(tasks.Preference(tokenizer, append_eos=False), text)[1:] == ["yes", "no"]
    implicit = {"chosen": "tell me: it is", "rejected": "tell me: it was"}
    assert shown(task, implicit) == ["tell me: it", " is<eos>", " was<eos>"]
    alike = {"prompt": "a", "chosen": "b", "rejected": "b"}
    assert shown(task, alike) == ["a", "b<eos>", "b<eos>"]
    answers = {
        "prompt": turns("hi"),
        "chosen": turns("", "hey")[1:],
        "rejected": turns("", "h")[1:],
    }
    expected = ["<user>hi</><assistant>", "hey</>", "h</>"]
    assert shown(tasks.Preference(chat), answers) == expected
    whole = {"chosen": turns("hi", "hey"), "rejected": turns("hi", "h")}
    assert shown(tasks.Preference(chat), whole) == expected
    assert shown(tasks.Preference(chat), {"prompt": "hi", **whole}) == expected
    ids = {"prompt_ids": [5, 6], "chosen_ids": [7], "rejected_ids": [8, 9]}
    encoded = task.encode(ids)
    assert encoded == {**ids, TRUNCATED: 0}
    assert task.encode(encoded) == encoded
    assert task.length(encoded) == 8
    assert task.describe(text) == "Q: 1? \n+ yes\n− no"
    assert task.describe(task.encode(text)) == task.describe(text)


def test_long_pairs_lose_their_prompt_first(tokenizer):
    row = {"prompt": "0123456789", "chosen": "abcd", "rejected": "xy"}
    bare = {"append_eos": False}
    assert shown(tasks.Preference(tokenizer, max_length=9, **bare), row) == ["56789", "abcd", "xy"]
    assert shown(tasks.Preference(tokenizer, max_length=3, **bare), row) == ["9", "ab", "xy"]
    assert tasks.Preference(tokenizer, max_length=9, **bare).encode(row)[TRUNCATED] == 5
    assert tasks.Preference(tokenizer, max_length=3, **bare).encode(row)[TRUNCATED] == 11


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a", "chosen": "b"}, "no pair"),
        ({"prompt": turns("a"), "chosen": "b", "rejected": "c"}, "texts in part"),
        ({"prompt_ids": [], "chosen_ids": [5], "rejected_ids": []}, "no token to learn from"),
    ],
)
def test_rows_that_are_no_pairs(tokenizer, row, message):
    with pytest.raises(DataError, match=message):
        tasks.Preference(tokenizer).encode(row)


@pytest.mark.parametrize(
    "options",
    [{"beta": 0}, {"loss": "nll"}, {"label_smoothing": 0.5}, {"max_length": 1},
     {"label_smoothing": 0.1, "loss": "ipo"}],
)  # fmt: skip
def test_options_out_of_range(tokenizer, options):
    with pytest.raises(OptionError):
        tasks.Preference(tokenizer, **options)


def summed(model, ids, start):
    """Σ log p of the tokens from `start` on, one after the other."""
    logps = model(input_ids=torch.tensor([ids])).logits.double().log_softmax(-1)[0]
    return sum(logps[t - 1, ids[t]].item() for t in range(start, len(ids)))


def by_hand(model, pair, loss, beta, smoothing):
    """The paper's equation."""
    ratios, lengths = [], []
    for key in ("chosen_ids", "rejected_ids"):
        ids, start = pair["prompt_ids"] + pair[key], len(pair["prompt_ids"])
        policy = summed(model, ids, start)
        with model.disable_adapter():
            ratios.append(policy - summed(model, ids, start))
        lengths.append(len(pair[key]))
    if loss == "ipo":
        return (ratios[0] / lengths[0] - ratios[1] / lengths[1] - 1 / (2 * beta)) ** 2
    margin = beta * (ratios[0] - ratios[1])
    if loss == "hinge":
        return max(0.0, 1 - margin)
    return (1 - smoothing) * math.log1p(math.exp(-margin)) + smoothing * math.log1p(
        math.exp(margin)
    )


@pytest.mark.parametrize(
    ("loss", "beta", "smoothing"), [("sigmoid", 0.1, 0.0), ("sigmoid", 2.0, 0.2), ("ipo", 0.5, 0.0),
                                    ("hinge", 0.01, 0.0)],
)  # fmt: skip
def test_losses_are_the_papers(tokenizer, loss, beta, smoothing):
    model = make_model("llama")
    task = tasks.Preference(tokenizer, loss=loss, beta=beta, label_smoothing=smoothing).for_model(
        model
    )
    rows = [*PAIRS, {"prompt": "a", "chosen": "b", "rejected": "b"}]
    with evaluating(model), torch.no_grad():
        losses = task.losses(model, task.collate(rows))
        truth = [by_hand(model, task.encode(row), loss, beta, smoothing) for row in rows]
    assert losses.tolist() == pytest.approx(truth, rel=1e-4, abs=1e-6)


def modules_to_save():
    config = lora_config("llama")
    config.modules_to_save = ["lm_head"]
    return peft.get_peft_model(make_base("llama"), config)


def other_reference():
    model = make_model("llama")
    model.add_adapter("ref", lora_config("llama"))
    for name, parameter in model.named_parameters():
        if ".ref." in name:
            parameter.requires_grad_(False)
    return model


def for_inference(tmp_path):
    make_model("llama").save_pretrained(tmp_path)
    return peft.PeftModel.from_pretrained(make_base("llama"), tmp_path)


@pytest.mark.parametrize("kind", ["lora", "gpt2", "modules_to_save", "ref", "inference"])
def test_gradients_equal_autograd_and_nothing_changes(kind, tokenizer, tmp_path):
    model = {
        "lora": lambda: make_model("llama"),
        "gpt2": lambda: make_model("gpt2"),
        "modules_to_save": modules_to_save,
        "ref": other_reference,
        "inference": lambda: for_inference(tmp_path),
    }[kind]()
    task = tasks.Preference(tokenizer, beta=0.5).for_model(model)
    chosen = select(model)
    assert not any(".ref." in name for name in chosen)
    before = [(p.requires_grad, p.clone()) for p in model.parameters()]
    with evaluating(model):
        gradients = PerExample(model, chosen, task, CPU)
        gradients.check(PAIRS)
        found = gradients(PAIRS)
        assert not gradients.alone
        for i, row in enumerate(PAIRS):
            loss, truth = one_at_a_time(model, chosen, task, row, CPU)
            assert float(found.losses[i]) == pytest.approx(float(loss), rel=1e-5)
            scale = max(float(g.norm()) for g in truth.values())
            for name, gradient in truth.items():
                assert float((found.gradients[name][i] - gradient).norm()) < 1e-5 * scale
    for parameter, (required, weights) in zip(model.parameters(), before, strict=True):
        assert parameter.requires_grad == required
        assert torch.equal(parameter, weights)


def own_loss(model, batch):
    return tasks.Preference(make_tokenizer(eos_token="<eos>")).losses(model, batch)


@pytest.mark.parametrize("made_by", ["the task", "a loss of one's own"])
def test_stores_of_two_references_are_not_of_the_same_weights(made_by, tokenizer, tmp_path):
    """What `modules_to_save` replaced is the head of the reference."""
    task = tasks.Preference(tokenizer)
    if made_by == "a loss of one's own":
        task = tasks.Custom(own_loss, task.collate, reference=True)
    for name, shift in (("same", 0), ("again", 0), ("other", 1)):
        model = modules_to_save()
        with torch.no_grad():
            model.base_model.lm_head.original_module.weight[:9] += shift
        collect(model, PAIRS, task, out=tmp_path / name)
    assert attribute(tmp_path / "same", tmp_path / "again", "gradient").shape == (6, 6)
    with pytest.raises(StoreMismatchError, match="different weights or settings of the base"):
        attribute(tmp_path / "same", tmp_path / "other", "gradient")


def test_a_soft_prompt(tokenizer):
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    torch.manual_seed(0)
    model = peft.get_peft_model(make_base("llama"), config)
    task = tasks.Preference(tokenizer).for_model(model)
    attributes = set(vars(model))
    with evaluating(model):
        gradients = PerExample(model, select(model), task, CPU)
        truth = gradients.check(PAIRS[:3])
        assert not gradients.alone
        with torch.no_grad():
            losses = task.losses(model, task.collate(PAIRS[:3]))
    assert set(vars(model)) == attributes
    assert losses.tolist() == pytest.approx(truth.losses.tolist(), rel=1e-5)
    assert float(truth.gradients["prompt_encoder.default.embedding.weight"].norm()) > 0


@pytest.mark.filterwarnings("error::datainf.gradients.engine.FallbackWarning")
def test_a_pair_of_two_alike_has_no_gradient(tokenizer, llama, tmp_path):
    rows = [{"prompt": "a", "chosen": "bc", "rejected": "bc"}, PAIRS[1]]
    store = collect(llama, rows, tasks.Preference(tokenizer), out=tmp_path / "s")
    norms = sum(block.sq_norms for block in store.blocks.values())
    assert float(norms[0]) < 1e-12 < 1e-6 < float(norms[1])
    assert float(store.losses[0]) == pytest.approx(math.log(2), rel=1e-5)


def test_a_reference_is_asked_for_before_any_work(tokenizer, llama, tmp_path):
    base = make_base("llama")
    with pytest.raises(ModelError, match="nothing to compare with"):
        collect(base, PAIRS, tasks.Preference(tokenizer), out=tmp_path / "s", trainable="*q_proj*")
    given = [{**row, "ref_chosen_logps": -9.0, "ref_rejected_logps": -8.5} for row in PAIRS]
    task = tasks.Preference(tokenizer, beta=0.3)
    store = collect(base, given, task, out=tmp_path / "t", trainable="*q_proj*")
    pair = task.encode(PAIRS[0])
    start = len(pair["prompt_ids"])
    policy = [
        summed(base, pair["prompt_ids"] + pair[k], start) for k in ("chosen_ids", "rejected_ids")
    ]
    margin = 0.3 * (policy[0] + 9.0 - policy[1] - 8.5)
    assert float(store.losses[0]) == pytest.approx(math.log1p(math.exp(-margin)), rel=1e-4)
    with pytest.raises(DataError, match="some examples hold"):
        task.collate([given[0], PAIRS[1]])
    llama.merge_adapter()
    with pytest.raises(ModelError, match="merged"):
        tasks.Preference(tokenizer).for_model(llama)


@pytest.mark.parametrize("loss", ["sigmoid", "ipo", "hinge"])
def test_losses_are_trls(tokenizer, tmp_path, loss):
    trl = pytest.importorskip("trl")
    config = trl.DPOConfig(
        output_dir=str(tmp_path), report_to="none", use_cpu=True, loss_type=loss, beta=0.3,
        max_length=None, disable_tqdm=True,
    )  # fmt: skip
    trainer = trl.DPOTrainer(
        make_base("llama"), args=config, train_dataset=datasets.Dataset.from_list(PAIRS),
        processing_class=tokenizer, peft_config=lora_config("llama"),
    )  # fmt: skip
    task = tasks.Preference(tokenizer, loss=loss, beta=0.3).for_model(trainer.model)
    with evaluating(trainer.model), torch.no_grad():
        losses = task.losses(trainer.model, task.collate(PAIRS))
        for row, prepared, loss in zip(PAIRS, trainer.train_dataset, losses, strict=True):
            keys = ("prompt_ids", "chosen_ids", "rejected_ids")
            assert [task.encode(row)[key] for key in keys] == [prepared[key] for key in keys]
            alone = trainer.compute_loss(trainer.model, trainer.data_collator([prepared]))
            assert float(loss) == pytest.approx(float(alone), rel=1e-4)


def test_conversations_are_tokenised_as_by_trl(chat, tmp_path):
    trl = pytest.importorskip("trl")
    explicit = [{"prompt": turns(row["prompt"]), "chosen": turns("", row["chosen"])[1:],
                 "rejected": turns("", row["rejected"])[1:]} for row in PAIRS]  # fmt: skip
    implicit = [{key: row["prompt"] + row[key] for key in ("chosen", "rejected")}
                for row in explicit]  # fmt: skip
    task = tasks.Preference(chat)
    for rows in (explicit, implicit):
        args = trl.DPOConfig(output_dir=str(tmp_path), report_to="none", use_cpu=True)
        trainer = trl.DPOTrainer(
            make_base("llama"), args=args, train_dataset=datasets.Dataset.from_list(rows),
            processing_class=chat, peft_config=lora_config("llama"),
        )  # fmt: skip
        for row, prepared in zip(rows, trainer.train_dataset, strict=True):
            encoded = task.encode(row)
            for key in ("prompt_ids", "chosen_ids", "rejected_ids"):
                assert encoded[key] == prepared[key]


def test_stacked_adapters_are_put_back_after_the_reference(tokenizer):
    model = make_model("llama")
    for name in ("second", "ref"):
        model.add_adapter(name, peft.LoraConfig(r=2, target_modules=["v_proj"],
                                                init_lora_weights=False))  # fmt: skip
    model.base_model.set_adapter(["default", "second"])
    task = tasks.Preference(tokenizer).for_model(model)
    batch = task.collate(PAIRS[:2])
    with evaluating(model), torch.no_grad():
        first, again = (task.losses(model, batch) for _ in range(2))
    assert list(model.active_adapters) == ["default", "second"]
    assert first.tolist() == again.tolist()
