"""Whatever a trainer minimised: its own loss by example, as one-at-a-time autograd has it."""

from __future__ import annotations

import copy
import functools
import json
import types
import warnings

import datasets
import numpy as np
import peft
import pytest
import torch
import transformers
from torch import nn

from conftest import SMALL, TEXTS, lora_config, make_base, make_tokenizer
from datainf import collect, tasks
from datainf.errors import CoverageError, DataError, OptionError
from datainf.gradients.engine import FallbackWarning, PerExample
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import select
from datainf.tasks.base import TRUNCATED

CPU = torch.device("cpu")
LINES = [*TEXTS, "five wizards", "we promptly judged antique ivory buckles for the next prize"]
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{% if m['role'] == 'assistant' %}{% generation %}"
    "{{ m['content'] }}</>{% endgeneration %}{% else %}{{ m['content'] }}</>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def without_dropout(name, **options):
    config = lora_config(name, **options)
    config.lora_dropout = 0.0
    return config


def lora(name, **changes):
    """A LoRA model without dropout, whose training losses can be told beforehand."""
    base = make_base(name, **changes)
    for module in base.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return peft.get_peft_model(base, without_dropout(name))


def arguments(kind, folder, **options):
    """A step over all eight rows at a learning rate of 0."""
    settings = {
        "output_dir": str(folder), "report_to": "none", "use_cpu": True, "bf16": False,
        "disable_tqdm": True,
        "learning_rate": 0.0, "max_steps": 1, "logging_steps": 1, "save_strategy": "no",
        "per_device_train_batch_size": 8, "per_device_eval_batch_size": 8,
    }  # fmt: skip
    return kind(**(settings | options))


def both(rows):
    """The rows to train on and to evaluate on, which are the same."""
    rows = datasets.Dataset.from_list(rows)
    return {"train_dataset": rows, "eval_dataset": rows}


def trainer_of(folder, model, collator, rows, kind=transformers.Trainer, given=None, **options):
    return kind(
        model=model, args=arguments(transformers.TrainingArguments, folder, **options),
        data_collator=collator, **both(rows), **(given or {}),
    )  # fmt: skip


def token_rows(tokenizer):
    return [{"input_ids": tokenizer(line + "<eos>")["input_ids"], "note": line} for line in LINES]


def bert(folder, tokenizer):
    rows = [{**tokenizer(line), "label": i % 3, "id": f"row {i}"} for i, line in enumerate(LINES)]
    return trainer_of(
        folder, lora("bert"), transformers.DataCollatorWithPadding(tokenizer), rows,
    )  # fmt: skip


def language(tokenizer, side="right", **options):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.padding_side = side
    return transformers.DataCollatorForLanguageModeling(tokenizer, mlm=False, **options)


def llama(folder, tokenizer, **options):
    steps = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    model, collator = lora("llama"), language(tokenizer)
    return trainer_of(folder, model, collator, token_rows(tokenizer), **steps, **options)


def left(name, **options):
    def make(folder, tokenizer):
        collator = language(tokenizer, "left", **options)
        return trainer_of(folder, lora(name), collator, token_rows(tokenizer))

    return make


def regression(folder, tokenizer):
    rows = [{**tokenizer(line), "label": i / 4} for i, line in enumerate(LINES)]
    collator = transformers.DataCollatorWithPadding(tokenizer)
    return trainer_of(folder, lora("bert", num_labels=1), collator, rows)


def tagger(folder, tokenizer):
    torch.manual_seed(0)
    config = make_base("bert").config
    model = transformers.BertForTokenClassification(config)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    model = peft.get_peft_model(model, without_dropout("bert"))
    rows = [{**tokenizer(line), "labels": [-100] + [len(line) % 3] * (len(line) - 1)}
            for line in LINES]  # fmt: skip
    collator = transformers.DataCollatorForTokenClassification(tokenizer)
    return trainer_of(folder, model, collator, rows)


def t5(folder, tokenizer):
    torch.manual_seed(0)
    model = transformers.T5ForConditionalGeneration(transformers.T5Config(
        vocab_size=258, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, dropout_rate=0.0,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, initializer_factor=1.0,
    ))  # fmt: skip
    config = peft.LoraConfig(
        task_type="SEQ_2_SEQ_LM", target_modules=["q", "v"], r=4, init_lora_weights=False
    )
    model = peft.get_peft_model(model, config)
    rows = [{"input_ids": tokenizer(line)["input_ids"],
             "labels": tokenizer(LINES[-i - 1] + "<eos>")["input_ids"]}
            for i, line in enumerate(LINES)]  # fmt: skip
    return transformers.Seq2SeqTrainer(
        model=model, args=arguments(transformers.Seq2SeqTrainingArguments, folder),
        data_collator=transformers.DataCollatorForSeq2Seq(tokenizer, model=model), **both(rows),
    )  # fmt: skip


def sft(rows, chat=False, name="llama", **options):
    def make(folder, tokenizer):
        trl = pytest.importorskip("trl")
        if chat:
            tokenizer = make_tokenizer(pad_token="<pad>", eos_token="<eos>")
            tokenizer.chat_template = TEMPLATE
        args = arguments(trl.SFTConfig, folder, **options)
        return trl.SFTTrainer(
            make_base(name), args=args, processing_class=tokenizer,
            peft_config=without_dropout(name), **both(rows),
        )  # fmt: skip

    return make


PAIRS = [{"prompt": line, "chosen": LINES[-i - 1], "rejected": LINES[i - 3]}
         for i, line in enumerate(LINES)]  # fmt: skip
TALKS = [{"messages": [{"role": "user", "content": line},
                       {"role": "assistant", "content": LINES[-i - 1]}]}
         for i, line in enumerate(LINES)]  # fmt: skip
ANSWERS = [{"prompt": line, "completion": LINES[-i - 1]} for i, line in enumerate(LINES)]


def dpo(old_adapter=False, **options):
    def make(folder, tokenizer):
        trl = pytest.importorskip("trl")
        args = arguments(trl.DPOConfig, folder, beta=0.3, **options)
        model = lora("llama") if old_adapter else make_base("llama")
        config = None if old_adapter else without_dropout("llama")
        trainer = trl.DPOTrainer(
            model, args=args, processing_class=tokenizer, peft_config=config, **both(PAIRS),
        )  # fmt: skip
        if old_adapter:  # away from its reference
            with torch.no_grad():
                for parameter in trainer.model.parameters():
                    if parameter.requires_grad:
                        parameter += 0.1 * torch.randn_like(parameter)
        return trainer

    return make


def dpo_other_model(folder, tokenizer, **options):
    trl = pytest.importorskip("trl")
    return trl.DPOTrainer(
        lora("llama"), ref_model=make_base("llama", seed=1), processing_class=tokenizer,
        args=arguments(trl.DPOConfig, folder, beta=0.3, **options), **both(PAIRS),
    )  # fmt: skip


def reward(folder, tokenizer):
    trl = pytest.importorskip("trl")
    rows = [{"chosen": f"{pair['prompt']} {pair['chosen']}",
             "rejected": f"{pair['prompt']} {pair['rejected']}"} for pair in PAIRS]  # fmt: skip
    args = arguments(trl.RewardConfig, folder, center_rewards_coefficient=0.1)
    return trl.RewardTrainer(
        lora("llama-classifier", num_labels=1), args=args, processing_class=tokenizer, **both(rows)
    )


class Focal(transformers.Trainer):
    """A loss of its own."""

    sharpness = 2.0

    def compute_loss(self, model, inputs, return_outputs=False, **_):
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        logps = outputs.logits.log_softmax(-1).gather(1, labels[:, None])[:, 0]
        loss = -((1 - logps.exp()) ** self.sharpness * logps).mean()
        self.last = float(loss)
        return (loss, outputs) if return_outputs else loss


def focal(folder, tokenizer):
    rows = [{**tokenizer(line), "label": i % 3} for i, line in enumerate(LINES)]
    collator = transformers.DataCollatorWithPadding(tokenizer)
    return trainer_of(folder, lora("bert"), collator, rows, kind=Focal)


def squares(outputs, labels, num_items_in_batch=None):
    kept = (labels != -100)[:, 1:]
    chosen = outputs.logits[:, :-1].log_softmax(-1).gather(2, labels[:, 1:, None].clamp(min=0))
    return (chosen[..., 0].square() * kept).sum() / num_items_in_batch


def own_function(folder, tokenizer):
    rows = token_rows(tokenizer)
    given = {"compute_loss_func": squares}
    return trainer_of(folder, lora("llama"), language(tokenizer), rows, given=given)


def smoothed(folder, tokenizer):
    rows = token_rows(tokenizer)
    return trainer_of(folder, lora("llama"), language(tokenizer), rows, label_smoothing_factor=0.2)


class Doubled(transformers.LlamaForCausalLM):
    """A model with a loss of its own."""

    def forward(self, input_ids=None, labels=None, **inputs):
        outputs = super().forward(input_ids=input_ids, labels=labels, **inputs)
        return {"loss": 2 * outputs.loss, "logits": outputs.logits}


def own_forward(folder, tokenizer):
    torch.manual_seed(0)
    model = peft.get_peft_model(Doubled(make_base("llama").config), without_dropout("llama"))
    rows = [{"input_ids": row["input_ids"]} for row in token_rows(tokenizer)]
    return trainer_of(folder, model, language(tokenizer), rows, remove_unused_columns=False)


def patched(folder, tokenizer):
    model = lora("llama")
    inner = model.get_base_model()
    plain = inner.forward

    def forward(input_ids=None, attention_mask=None, labels=None, **rest):
        outputs = plain(
            input_ids=input_ids, attention_mask=attention_mask, labels=labels, **rest
        )  # fmt: skip
        seldom = 2 if input_ids.shape[1] == len(LINES[5]) + 1 else 1  # none of the first ones
        return {"loss": seldom * outputs.loss, "logits": outputs.logits}

    inner.forward = forward
    return trainer_of(folder, model, language(tokenizer), token_rows(tokenizer))


BATCHED = {
    "bert": bert, "llama": llama, "llama, left": left("llama"), "gpt2, left": left("gpt2"),
    "gpt2, left by 8": left("gpt2", pad_to_multiple_of=8),
    "regression": regression, "tagger": tagger, "t5": t5,
    "sft, completions": sft(ANSWERS), "sft, text": sft([{"text": line} for line in LINES]),
    "sft, talks": sft(TALKS, chat=True, assistant_only_loss=True),
    "sft, cut": sft(ANSWERS, max_length=70, completion_only_loss=False),
    "dpo": dpo(), "dpo, ipo": dpo(loss_type=["ipo"]), "dpo, ref": dpo(old_adapter=True),
    "dpo, precomputed": dpo(precompute_ref_log_probs=True), "dpo, model": dpo_other_model,
    "reward": reward,
}  # fmt: skip
ALONE = {
    "focal": focal, "function": own_function, "smoothed": smoothed, "dft": sft(ANSWERS,
    loss_type="dft"), "robust": dpo(loss_type=["robust"], label_smoothing=0.1),
    "own forward": own_forward, "patched": patched,
}  # fmt: skip


def truths(trainer, rows):
    """(loss, gradients by name) of each row by plain autograd of the trainer's own loss."""
    model = trainer.model
    chosen = {name: p for name, p in model.named_parameters() if p.requires_grad}
    collator = trainer._get_collator_with_removed_columns(trainer.data_collator)
    found = []
    with evaluating(model):
        for row in rows:
            inputs = collator([dict(row)])
            counted = {}
            if not type(trainer).__module__.startswith("trl"):
                counted["num_items_in_batch"] = trainer._get_num_items_in_batch([inputs], CPU)
            loss = trainer.compute_loss(model, inputs, **counted)
            found.append((
                float(loss),
                dict(zip(chosen, torch.autograd.grad(loss, list(chosen.values())), strict=True)),
            ))  # fmt: skip
    return found


def state(trainer):
    """All that must not change: attributes, metrics, modes, gradients, weights, generators."""
    model = trainer.model
    attributes = {k: v for k, v in vars(trainer).items() if isinstance(v, int | float | str | list)}
    return (
        copy.deepcopy(attributes), copy.deepcopy(getattr(trainer, "_metrics", None)),
        sorted(vars(trainer)), trainer.state.global_step,
        [module.training for module in model.modules()],
        [(p.requires_grad, p.grad, float(p.detach().double().sum())) for p in model.parameters()],
        [len(m._forward_hooks) for m in model.modules()],
        getattr(model, "active_adapter", None), model.config.problem_type,
        torch.get_rng_state().tolist(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def tokens():
    return make_tokenizer(pad_token="<pad>", eos_token="<eos>")


@pytest.mark.parametrize("name", [*BATCHED, *ALONE])
def test_a_trainers_loss_by_example(name, tokens, tmp_path):
    trainer = (BATCHED | ALONE)[name](tmp_path, tokens)
    trainer.model.train()
    before = state(trainer)
    rows = list(trainer.train_dataset)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store = collect(trainer, out=tmp_path / "store")
    assert state(trainer) == before
    fell_back = any(w.category is FallbackWarning for w in caught)
    assert fell_back == (name in ALONE)

    expected = truths(trainer, rows)
    largest = max(float(g.norm()) for _, gradients in expected for g in gradients.values())
    assert store.losses.tolist() == pytest.approx([loss for loss, _ in expected], rel=1e-4)
    task, chosen = tasks.FromTrainer(trainer), select(trainer.model)
    with evaluating(trainer.model):
        for size, count in ((1, 2), (3, 8), (8, 8)):
            gradients = PerExample(trainer.model, chosen, task, CPU)
            found = [gradients(rows[i : i + size]) for i in range(0, count, size)]
            for block in chosen:
                gathered = torch.cat([batch.gradients[block] for batch in found])
                truth = torch.stack([g[block].reshape(-1) for _, g in expected[:count]])
                assert float((gathered - truth).norm()) < 1e-5 * largest, (size, block)

    if "left" in name or name == "patched":  # what is logged depends on how far a batch is padded
        return
    weights = torch.tensor([task.weight(row) for row in rows])
    mean = float((weights * store.losses).sum() / weights.sum())
    assert trainer.evaluate()["eval_loss"] == pytest.approx(mean, rel=1e-5)
    trainer.train()
    assert trainer.state.log_history[-2]["loss"] == pytest.approx(mean, rel=1e-5)


@pytest.fixture(scope="module")
def classifier(tokens, tmp_path_factory):
    return bert(tmp_path_factory.mktemp("bert"), tokens)


@pytest.fixture(scope="module")
def pairs(tokens, tmp_path_factory):
    return dpo()(tmp_path_factory.mktemp("dpo"), tokens)


@pytest.mark.parametrize("name", ["sft, completions", "dpo", "dpo, model"])
@pytest.mark.filterwarnings("error::datainf.gradients.engine.FallbackWarning")
def test_after_training_in_half_precision(name, tokens, tmp_path):
    """TRL trains under autocast, and leaves it in the model."""
    changes = {"bf16": True, "learning_rate": 1e-2}
    made = {"sft, completions": sft(ANSWERS, **changes), "dpo": dpo(**changes),
            "dpo, model": functools.partial(dpo_other_model, **changes)}  # fmt: skip
    trainer = made[name](tmp_path, tokens)
    trainer.train()
    before = state(trainer)
    forward = trainer.model.forward
    store = collect(trainer, out=tmp_path / "store")
    assert state(trainer) == before
    assert trainer.model.forward is forward or trainer.model.forward == forward
    rows = list(trainer.train_dataset)
    rounded = [loss for loss, _ in truths(trainer, rows)]
    assert store.losses.tolist() == pytest.approx(rounded, abs=0.05)
    assert store.losses.tolist() != pytest.approx(rounded, rel=1e-5)  # it was rounded
    trainer.train()


def test_what_a_store_of_a_trainer_knows(classifier, tokens, tmp_path):
    store = collect(classifier, out=tmp_path / "train")
    assert list(store.ids) == [f"row {i}" for i in range(8)]
    task = tasks.FromTrainer(classifier)
    row = classifier.train_dataset[1]
    assert set(task.encode(row)) == {"input_ids", "attention_mask", "label"}
    assert task.encode(task.encode(row)) == task.encode(row)
    assert task.describe({"input_ids": row["input_ids"]}) == LINES[1]
    assert task.describe({"text": "words", **row, "id": 3}) == "words"
    assert task.length(row) == len(LINES[1])
    given = collect(classifier, classifier.train_dataset.select([5, 2]), out=tmp_path / "given")
    assert list(given.ids) == ["row 5", "row 2"]
    assert given.losses.tolist() == pytest.approx(
        [float(store.losses[5]), float(store.losses[2])], rel=1e-5
    )
    own = tasks.SequenceClassification(tokens)
    again = collect(classifier, task=own, out=tmp_path / "own")
    assert again.losses.tolist() == pytest.approx(store.losses.tolist(), rel=1e-5)


def test_what_is_not_there_is_not_the_training_data(classifier, tmp_path):
    with pytest.raises(DataError, match="the data set is None"):
        collect(classifier, None, out=tmp_path / "s")
    with pytest.raises(DataError, match="is a path"):
        collect(classifier, "rows.jsonl", out=tmp_path / "s")
    with pytest.raises(DataError, match="none of the columns text, label"):
        collect(classifier, [{"text": "raw", "label": 1}], out=tmp_path / "s")


def test_a_pairs_trainer_agrees_with_the_task(pairs, tokens):
    trainers = tasks.FromTrainer(pairs)
    ours = tasks.Preference(tokens, beta=0.3).for_model(pairs.model)
    with evaluating(pairs.model), torch.no_grad():
        fitting = [i for i, row in enumerate(PAIRS) if not ours.encode(row)[TRUNCATED]]
        rows = [pairs.train_dataset[i] for i in fitting]
        theirs = trainers.losses(pairs.model, trainers.collate(rows))
        losses = ours.losses(pairs.model, ours.collate([PAIRS[i] for i in fitting]))
    assert len(fitting) > 4
    assert losses.tolist() == pytest.approx(theirs.tolist(), rel=1e-4)
    assert PAIRS[0]["rejected"] in trainers.describe(pairs.train_dataset[0])
    assert trainers.uses_reference
    assert ours.uses_reference


def test_settings_tell_losses_apart(classifier, tokens, tmp_path):
    settings = [tasks.FromTrainer(classifier).settings()]
    for name, changed in [("focal", 2.0), ("focal", 3.0)]:
        trainer = ALONE[name](tmp_path, tokens)
        trainer.sharpness = changed
        settings.append(tasks.FromTrainer(trainer).settings())
    smooth = [smoothed(tmp_path, tokens) for _ in range(2)]
    smooth[1].args.label_smoothing_factor = 0.3
    settings += [tasks.FromTrainer(trainer).settings() for trainer in smooth]
    for i, one in enumerate(settings):
        assert one not in settings[:i]
    assert tasks.FromTrainer(classifier).settings() == settings[0]
    assert not tasks.FromTrainer(classifier).uses_reference
    assert json.loads(json.dumps(settings)) == settings


def test_a_formula_that_does_not_fit_falls_back(classifier, tmp_path):
    """Weights of classes that a trainer would not tell us about."""
    task = tasks.FromTrainer(classifier)
    halved = types.SimpleNamespace(
        parts=1, losses=lambda model, inputs: task.known.losses(model, inputs) / 2
    )
    wrong = tasks.FromTrainer(classifier)
    object.__setattr__(wrong, "known", halved)
    with pytest.warns(FallbackWarning, match=r"in a batch and .* alone"):
        store = collect(classifier, task=wrong, out=tmp_path / "wrong")
    right = collect(classifier, out=tmp_path / "right")
    assert store.losses.tolist() == pytest.approx(right.losses.tolist(), rel=1e-5)
    with pytest.raises(CoverageError, match="in a batch"):
        collect(classifier, task=wrong, out=tmp_path / "refused", fallback=False)


def test_a_loss_that_is_not_known_says_so(tokens, tmp_path):
    trainer = focal(tmp_path, tokens)
    task = tasks.FromTrainer(trainer)
    assert not task.uses_reference
    trainer.ref_model = None
    assert task.uses_reference  # the model itself
    with pytest.raises(CoverageError, match="Focal"):
        collect(trainer, out=tmp_path / "s", fallback=False)
    rows = list(trainer.train_dataset)
    assert task.losses(trainer.model, task.collate(rows[:1])).shape == (1,)


def test_what_is_refused(classifier, pairs, tokens, tmp_path):
    trl = pytest.importorskip("trl")
    out = tmp_path / "s"
    with pytest.raises(OptionError, match="no data set was given"):
        collect(classifier.model, out=out)
    with pytest.raises(OptionError, match="no task was given"):
        collect(classifier.model, LINES, out=out)
    with pytest.raises(OptionError, match="not a transformers"):
        tasks.FromTrainer(classifier.model)
    with pytest.raises(OptionError, match="not the one that the trainer holds"):
        collect(pairs.model, LINES, tasks.FromTrainer(classifier), out=out)
    with pytest.raises(DataError, match="has no length"):
        collect(classifier, classifier.train_dataset.to_iterable_dataset(), out=out)
    with pytest.raises(DataError, match="several data sets were given: a, b"):
        collect(classifier, {"a": classifier.train_dataset, "b": classifier.train_dataset}, out=out)
    with pytest.raises(DataError, match=r"example 0: the trainer uses none of the columns text"):
        collect(pairs, [{"text": "not tokenised"}], out=out)
    with pytest.raises(DataError, match=r"example 1: input_ids holds 258, and the .* has 258 ids"):
        collect(classifier, [{"input_ids": [5, 6]}, {"input_ids": [5, 258]}], out=out)
    odd = dict(pairs.train_dataset[0]) | {"rejected_ids": [5, -1]}
    with pytest.raises(DataError, match="example 0: rejected_ids holds -1"):
        collect(pairs, [odd], out=out)
    with pytest.raises(DataError, match="packed together"):
        collect(classifier, [{"input_ids": [5, 6], "seq_lengths": [1, 1]}], out=out)
    masking = transformers.DataCollatorForLanguageModeling(tokens, mlm=False)
    masking.mlm = True
    with pytest.raises(OptionError, match="at random"):
        collect(trainer_of(tmp_path, classifier.model, masking, token_rows(tokens)), out=out)
    flat = transformers.DataCollatorWithFlattening()
    with pytest.raises(OptionError, match="packs several"):
        collect(trainer_of(tmp_path, classifier.model, flat, token_rows(tokens)), out=out)
    for packing in (
        {"packing": True, "max_length": 64},
        {"padding_free": True, "max_length": None},
    ):
        args = arguments(trl.SFTConfig, tmp_path, **packing)
        packed = trl.SFTTrainer(
            make_base("llama"), args=args, processing_class=tokens, **both(ANSWERS)
        )
        with pytest.raises(OptionError, match="packing=False"):
            collect(packed, out=out)
    assert not out.exists()


class Placing(transformers.BertForSequenceClassification):
    """Puts something of its own where a row holds an id that has no embedding."""

    def forward(self, input_ids=None, **inputs):
        place = input_ids == self.config.image_token_id
        return super().forward(input_ids=input_ids.masked_fill(place, 0), **inputs)


def test_ids_that_a_model_puts_something_in_the_place_of_are_known(tokens, tmp_path):
    config = transformers.BertConfig(**SMALL, image_token_id=258)
    rows = [{"input_ids": [5, 258, 7], "label": 1}, {"input_ids": [5, 6], "label": 0}]
    model = peft.get_peft_model(Placing(config), without_dropout("bert"))
    trainer = trainer_of(tmp_path, model, transformers.DataCollatorWithPadding(tokens), rows)
    assert len(collect(trainer, out=tmp_path / "s")) == 2
    with pytest.raises(DataError, match="input_ids holds 259"):
        collect(trainer, [{"input_ids": [5, 259], "label": 0}], out=tmp_path / "t")


@pytest.mark.parametrize(
    "ids",
    [[[5, 6], [7, 300, 9]], None, "p-17", torch.tensor([[5, 300]]), [5.0, 300.0], []],
    ids=["ragged", "none", "text", "two dimensions", "numbers", "empty"],
)
def test_what_else_a_collator_takes_is_its_own_to_judge(classifier, ids):
    task = tasks.FromTrainer(classifier)
    assert task.encode({"input_ids": ids})["input_ids"] is ids


@pytest.mark.parametrize("kind", [torch.tensor, np.array], ids=["tensor", "array"])
def test_tokens_that_are_no_list_are_looked_at_too(classifier, kind):
    task = tasks.FromTrainer(classifier)
    with pytest.raises(DataError, match="holds 300"):
        task.encode({"input_ids": kind([5, 300])})
    assert task.encode({"input_ids": kind([5, 6])})


def test_a_routers_own_loss_is_not_left_out(classifier):
    """Half precision would hide it."""
    assert tasks.FromTrainer(classifier).known is not None
    config = classifier.model.get_base_model().config
    config.output_router_logits = True
    try:
        assert tasks.FromTrainer(classifier).known is None
    finally:
        del config.output_router_logits
