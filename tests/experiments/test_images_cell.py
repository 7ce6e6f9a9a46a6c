"""A whole cell at its smallest, and its parts against what they stand for."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import chain
from types import SimpleNamespace

import peft
import pytest
import torch
from diffusers import DDPMScheduler

import datainf
from datainf.tasks import TextToImage
from experiments.images import cells
from experiments.images.base import load_base
from experiments.images.baselines import embedded_prompts, latents, states_of
from experiments.images.cell import SHEET, run, with_wrong_names
from experiments.images.data import task_rows
from experiments.images.finetune import TARGETS, finetune, mean_loss
from experiments.images.settings import PAPER, QUICK, Tuning
from experiments.images.sizes import Pretraining, Sizes, Steps, UNetSize
from experiments.images.small_pipeline import FoldedPixels, new_unet, small_pipeline
from experiments.images.timesteps import averaged, timestep_norms
from experiments.images.training import Encoded, encode, train

TIMESTEPS = (25, 625)
SMALLEST = replace(
    QUICK,
    sizes=Sizes(style_train=3, style_queries=1),
    pretraining=Pretraining(
        size=UNetSize(pixels=8, channels=(8,)),
        scenes=8,
        steps=Steps(4, batch=4, learning_rate=1e-2),
    ),
    style=Tuning(rank=1, steps=Steps(6, batch=2, learning_rate=5e-2)),
    timesteps=TIMESTEPS,
    dampings=("0.1", "trace:1"),
    sampling_steps=2,
)


@pytest.fixture(scope="module")
def pipeline():
    """Small, of random weights, with a LoRA whose two factors are both random."""
    torch.manual_seed(0)
    made = small_pipeline(new_unet(UNetSize(pixels=8, channels=(8,))))
    made.unet.eval().requires_grad_(False)
    made.unet.add_adapter(peft.LoraConfig(r=2, target_modules=TARGETS, init_lora_weights=False))
    return made


@pytest.fixture(scope="module")
def rows():
    return task_rows("style", "drawn", None, SMALLEST.sizes, seed=0)


def test_a_cell_is_run_and_gives_plain_figures(tmp_path):
    figures = run({"task": "style", "seed": 0}, SMALLEST, tmp_path)
    assert json.loads(json.dumps(figures)) == figures
    assert (figures["rows"], figures["queries"]) == (9, 3)
    base = load_base(SMALLEST, tmp_path)
    before, after = (figures["loss"][f"query, {when}"] for when in ("before", "after"))
    rows = task_rows("style", "drawn", None, SMALLEST.sizes, seed=0)
    assert before == pytest.approx(mean_loss(base, rows.query, TIMESTEPS), rel=1e-5)
    finetune(base, rows.train, SMALLEST.style, seed=0)
    assert after == pytest.approx(mean_loss(base, rows.query, TIMESTEPS), rel=1e-5)
    assert after < before - 1e-3
    detection = figures["detection"]
    assert list(detection) == ["mean", "mean, equal norms", "concatenate", "baselines"]
    for line in [*detection["concatenate"].values(), *detection["baselines"].values()]:
        by_class = list(line["auc_by_class"].values())
        assert line["auc_mean"] == pytest.approx(sum(by_class) / len(by_class))
    stores = [datainf.GradientStore.open(tmp_path / "mean" / part) for part in ("train", "query")]
    scores = datainf.attribute(*stores, "exact", damping="trace:1").values
    found = datainf.evaluation.class_detection(scores, *rows.classes).auc.mean()
    assert figures["damping"]["mean"]["exact"]["trace:1"] == pytest.approx(found)
    assert (tmp_path / SHEET).stat().st_size > 1000


def test_a_base_is_pretrained_once_and_then_found(tmp_path):
    first = load_base(SMALLEST, tmp_path).unet
    again = load_base(replace(SMALLEST, pretraining=None), tmp_path).unet
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    with pytest.raises(ValueError, match="neither a base"):
        load_base(replace(SMALLEST, pretraining=None), tmp_path / "other")


def test_cells_are_every_task_with_every_seed():
    assert cells(QUICK) == [{"task": "style", "seed": 0}, {"task": "subject", "seed": 0}]
    assert len(cells(replace(PAPER, seeds=2))) == 8


def test_averages_are_what_collecting_them_gives(pipeline, rows, tmp_path):
    def collected(name, **options):
        task = TextToImage(pipeline, timesteps=TIMESTEPS, **options)
        return datainf.collect(pipeline.unet, rows.train, task, out=tmp_path / name)

    beside = collected("beside", aggregate="concatenate")
    for weights in ((1.0, 1.0), (0.3, 5.0)):
        made = averaged(beside, weights, tmp_path / f"made {weights}")
        truth = collected(f"truth {weights}", weighting=weights)
        assert made.ids == truth.ids
        assert made.index.blocks == truth.index.blocks
        for name, gradients in truth.blocks.items():
            torch.testing.assert_close(made.blocks[name].to_dense(), gradients.to_dense())


def test_norms_of_a_timestep_are_those_of_its_own_gradients(pipeline, rows, tmp_path):
    task = TextToImage(pipeline, timesteps=TIMESTEPS, aggregate="concatenate")
    beside = datainf.collect(pipeline.unet, rows.query, task, out=tmp_path / "beside")
    norms = timestep_norms(beside, len(TIMESTEPS))
    for position, timestep in enumerate(TIMESTEPS):
        alone = TextToImage(pipeline, timesteps=(timestep,))
        store = datainf.collect(pipeline.unet, rows.query, alone, out=tmp_path / str(timestep))
        truth = store.sq_norms.double().sum(dim=1).sqrt()
        torch.testing.assert_close(norms[:, position], truth, rtol=1e-4, atol=0)


def test_folded_pixels_come_back():
    vae, x = FoldedPixels(4), torch.rand(2, 3, 8, 8)
    z = vae.encode(x).latent_dist.mode()
    assert z.shape == (2, vae.config.latent_channels, 2, 2)
    assert torch.equal(vae.decode(z).sample, x)
    assert 2 ** (len(vae.config.block_out_channels) - 1) == 4
    with pytest.raises(ValueError, match="power of two"):
        FoldedPixels(3)


def test_encoding_is_what_the_task_sees(pipeline, rows):
    encoded = encode(pipeline, rows.train)
    batch = TextToImage(pipeline).collate(rows.train)
    folded = torch.nn.functional.pixel_unshuffle(batch["pixel_values"], 2)
    assert torch.equal(encoded.latents, folded)
    text, _ = pipeline.encode_prompt(batch["text"], "cpu", 1, False)
    torch.testing.assert_close(encoded.text[encoded.caption].float(), text, rtol=2e-3, atol=2e-3)


class OneNumber(torch.nn.Module):
    """Predicts the same noise for all."""

    def __init__(self):
        super().__init__()
        self.guess = torch.nn.Parameter(torch.ones(()))
        self.seen = []

    def forward(self, x, _t, text):
        self.seen.append(text[:, 0, 0].long().tolist())
        return SimpleNamespace(sample=self.guess.expand_as(x))


def trained(prediction, seed=0):
    """On six pictures whose every entry is 1, in batches of two."""
    model, number = OneNumber(), torch.arange(6.0)
    scheduler = DDPMScheduler(prediction_type=prediction)
    examples = Encoded(torch.ones(6, 3, 8, 8), number.reshape(6, 1, 1), number.long())
    steps = Steps(90, batch=2, learning_rate=0.1, warmup=2, seed=seed)
    train(model, scheduler, examples, model.parameters(), steps)
    return model.guess.item(), model.seen, scheduler.alphas_cumprod


def test_training_learns_the_mean_of_what_the_scheduler_asks_for():
    of_noise, _, _ = trained("epsilon")
    of_velocity, _, alphas = trained("v_prediction")
    assert of_noise == pytest.approx(0, abs=0.1)
    assert of_velocity == pytest.approx(-float((1 - alphas).sqrt().mean()), abs=0.1)
    assert trained("epsilon")[0] == of_noise != trained("epsilon", seed=1)[0]


def test_training_takes_every_example_once_an_epoch():
    _, seen, _ = trained("epsilon")
    orders = [list(chain(*seen[3 * epoch : 3 * epoch + 3])) for epoch in range(30)]
    assert all(sorted(order) == list(range(6)) for order in orders)
    assert len(set(map(tuple, orders))) > 10


def test_mean_loss_is_that_of_the_task(pipeline, rows):
    task = TextToImage(pipeline, timesteps=TIMESTEPS)
    with torch.no_grad():
        truth = [task.losses(pipeline.unet, task.collate([row])) for row in rows.train]
    assert mean_loss(pipeline, rows.train, TIMESTEPS) == pytest.approx(
        float(torch.cat(truth).mean()), rel=1e-4
    )


def test_wrong_names_are_of_another_class(rows):
    for row, changed in zip(rows.query, with_wrong_names(rows).query, strict=True):
        assert row["class"] in row["text"]
        assert row["class"] not in changed["text"]
        assert changed["image"] is row["image"]


def test_states_are_the_modules_outputs(pipeline, rows):
    unet, found = pipeline.unet, []
    task = TextToImage(pipeline, timesteps=(425,))
    handle = unet.mid_block.register_forward_hook(lambda *args: found.append(args[2]))
    with torch.no_grad(), handle:
        for row in rows.train:
            task.losses(unet, task.collate([row]))
    truth = torch.cat(found).flatten(2).mean(dim=2)
    states = states_of(unet.mid_block)(pipeline, rows.train)
    torch.testing.assert_close(states, truth, rtol=1e-3, atol=1e-4)
    assert latents(pipeline, rows.train).shape == (9, 3 * 8 * 8)


def test_embedded_prompts_do_not_hang_on_padding(pipeline, rows):
    inputs = pipeline.tokenizer(rows.train[0]["text"], return_tensors="pt")
    with torch.no_grad():
        truth = pipeline.text_encoder(**inputs).last_hidden_state.mean(dim=1)
    found = embedded_prompts(pipeline, rows.train)[:1]
    torch.testing.assert_close(found, truth, rtol=5e-3, atol=5e-3)
