"""Text-to-image: the loss is diffusers' training loss, the gradients are autograd's."""

from __future__ import annotations

import hashlib
import sys
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler
from diffusers.training_utils import compute_loss_weighting_for_sd3, compute_snr
from PIL import Image
from torch import nn

from datainf.errors import (
    CoverageError,
    DataError,
    InputError,
    ModelError,
    OptionError,
    StoreMismatchError,
)
from datainf.gradients.collect import collect
from datainf.gradients.engine import PerExample
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import select
from datainf.gradients.verify import each_alone
from datainf.tasks import TextToImage
from datainf.tasks.noise_schedule import shared_noise
from tiny_pipelines import (
    ATTENTION,
    CONVOLUTIONS,
    NAMES,
    PIXELS,
    TOKENS,
    add_lora,
    clip_encoder,
    denoiser_of,
    make_examples,
    make_pipeline,
)

CPU = torch.device("cpu")
EXAMPLES = make_examples(8)
UNETS = ("sd1", "sd2", "sdxl")


@cache
def adapted(name, dtype=torch.float32):
    """A pipeline and its denoiser with a LoRA adapter; not to be changed."""
    pipeline = make_pipeline(name)
    targets = ATTENTION + (CONVOLUTIONS if name in UNETS else [])
    model = add_lora(denoiser_of(pipeline), targets)
    return pipeline.to(dtype), model.to(dtype)


def task_for(name, **options):
    return make_task(adapted(name)[0], **options)


def make_task(pipeline, **options):
    settings = {"timesteps": 2, "max_sequence_length": TOKENS} | options
    return TextToImage(pipeline, resolution=PIXELS, **settings)


def gradients_of(model, task, examples, batch):
    """Losses [n] and gradients by name [n, d], `batch` examples at a time."""
    found = []
    with evaluating(model):
        capture = PerExample(model, select(model), task.for_model(model), CPU, fallback=False)
        for start in range(0, len(examples), batch):
            found.append(capture(examples[start : start + batch]))
    losses = torch.cat([part.losses for part in found])
    return losses, {n: torch.cat([p.gradients[n] for p in found]) for n in found[0].gradients}


def largest_error(found, truth):
    """Over blocks and examples, relative to the block's norm."""
    return max(
        float((found[n] - truth[n]).norm(dim=1).div(truth[n].norm(dim=1)).max()) for n in truth
    )


# float32 rounds to 5e-4 of the smallest tensors of the UNets; float64 shows that it is rounding.
@pytest.mark.parametrize(
    ("dtype", "tolerance", "sizes"),
    [(torch.float32, 1e-3, (3,)), (torch.float64, 1e-10, (1, 3, 8))],
)
@pytest.mark.parametrize("name", NAMES)
def test_gradients_equal_autograd_at_every_batch_size(name, dtype, tolerance, sizes):
    pipeline, model = adapted(name, dtype)
    task = make_task(pipeline).for_model(model)
    with evaluating(model):
        truth = each_alone(model, select(model), task, EXAMPLES, CPU)
    assert truth.unused == []
    for batch in sizes:
        losses, gradients = gradients_of(model, task, EXAMPLES, batch)
        assert torch.allclose(losses, truth.losses, rtol=1e-5)
        assert gradients.keys() == {n for n, p in model.named_parameters() if p.requires_grad}
        assert largest_error(gradients, truth.gradients) < tolerance


@pytest.mark.parametrize("name", ["sd2", "sd3"])
def test_timesteps_fold(name):
    """One pass over K timesteps is the mean of K passes, or each pass's own part, in its place."""
    pipeline, model = adapted(name, torch.float64)
    steps = (40, 500, 900)
    options = {"weighting": "snr" if name == "sd2" else "cosmap"}
    alone = [
        gradients_of(model, make_task(pipeline, timesteps=[t], **options), EXAMPLES[:3], 3)
        for t in steps
    ]
    together = make_task(pipeline, timesteps=steps, **options)
    losses, gradients = gradients_of(model, together, EXAMPLES[:3], 3)
    assert torch.allclose(losses, sum(part for part, _ in alone) / 3, rtol=1e-10)
    for n, gradient in gradients.items():
        assert torch.allclose(gradient, sum(part[n] for _, part in alone) / 3, rtol=1e-8)
    apart = make_task(pipeline, timesteps=steps, aggregate="concatenate", **options)
    losses, gradients = gradients_of(model, apart, EXAMPLES[:3], 2)
    assert torch.allclose(losses, sum(part for part, _ in alone) / 3, rtol=1e-10)
    for n, gradient in gradients.items():
        assert torch.allclose(gradient, torch.cat([part[n] for _, part in alone], 1), rtol=1e-8)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("weighting", ["none", "snr"])
def test_the_loss_is_that_of_train_text_to_image(prediction, weighting):
    """Against diffusers' add_noise, get_velocity and compute_snr, an example at a time."""
    pipeline = make_pipeline("sd1")
    pipeline.scheduler = DDPMScheduler.from_config(
        pipeline.scheduler.config, prediction_type=prediction
    )
    task, model = make_task(pipeline, timesteps=(25, 325, 925), weighting=weighting), pipeline.unet
    batch = task.collate(EXAMPLES[:3])
    found = task.part_losses(model, batch)
    for row in range(3):
        x = pipeline.vae.encode(batch["pixel_values"][row : row + 1]).latent_dist.mean
        x = x * pipeline.vae.config.scaling_factor
        text = batch["text"][row]
        tokens = pipeline.tokenizer(
            text, padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids
        embeds = pipeline.text_encoder(tokens)[0]
        for k, step in enumerate((25, 325, 925)):
            t = torch.tensor([step])
            noise = shared_noise([step], x.shape[1:], 0)
            noisy = pipeline.scheduler.add_noise(x, noise, t)
            predicted = model(noisy, t, embeds, return_dict=False)[0]
            target = {
                "epsilon": noise, "sample": x,
                "v_prediction": pipeline.scheduler.get_velocity(x, noise, t),
            }[prediction]  # fmt: skip
            loss = F.mse_loss(predicted.float(), target.float())
            if weighting == "snr":
                snr = compute_snr(pipeline.scheduler, t)
                weight = snr.clamp(max=5.0)
                divisor = {"epsilon": snr, "v_prediction": snr + 1, "sample": 1.0}
                loss = loss * weight / divisor[prediction]
            assert float(found[row, k]) == pytest.approx(float(loss), rel=1e-5)


@pytest.mark.parametrize("name", ["sd3", "flux"])
@pytest.mark.parametrize("weighting", ["none", "sigma_sqrt", "cosmap"])
def test_the_loss_is_that_of_the_flow_matching_scripts(name, weighting):
    pipeline, model = adapted(name)
    positions = [100, 700]  # as the scripts index the schedule, whose noise decreases
    task = task_for(name, timesteps=[1000 - i for i in positions], weighting=weighting)
    batch = task.collate(EXAMPLES[:2])
    with evaluating(model):
        found = task.part_losses(model, batch)
    config = pipeline.vae.config
    x = pipeline.vae.encode(batch["pixel_values"]).latent_dist.mean
    x = (x - config.shift_factor) * config.scaling_factor
    scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    for k, position in enumerate(positions):
        timesteps = scheduler.timesteps[[position] * 2]
        sigmas = scheduler.sigmas[[position] * 2][:, None, None, None]
        noise = shared_noise([1000 - position], x.shape[1:], 0)[0].expand_as(x)
        noisy = (1.0 - sigmas) * x + sigmas * noise
        with evaluating(model):
            predicted = script_prediction(name, pipeline, model, batch["text"], noisy, timesteps)
        weight = compute_loss_weighting_for_sd3(weighting, sigmas)
        target = noise - x
        loss = (weight * (predicted - target) ** 2).reshape(2, -1).mean(1)
        assert torch.allclose(found[:, k], loss, rtol=1e-4)


def script_prediction(name, pipeline, model, texts, noisy, timesteps):
    """The forward pass of train_dreambooth_lora_sd3.py and train_dreambooth_lora_flux.py."""
    if name == "sd3":
        embeds, _, pooled, _ = pipeline.encode_prompt(
            texts, texts, texts, do_classifier_free_guidance=False, max_sequence_length=TOKENS
        )
        return model(
            hidden_states=noisy, timestep=timesteps, encoder_hidden_states=embeds,
            pooled_projections=pooled, return_dict=False,
        )[0]  # fmt: skip
    embeds, pooled, text_ids = pipeline.encode_prompt(texts, texts, max_sequence_length=TOKENS)
    packed = pipeline._pack_latents(noisy, *noisy.shape)
    predicted = model(
        hidden_states=packed, timestep=timesteps / 1000, guidance=torch.tensor([1.0]).expand(2),
        pooled_projections=pooled, encoder_hidden_states=embeds, txt_ids=text_ids,
        img_ids=pipeline._prepare_latent_image_ids(2, 8, 8, CPU, torch.float32), return_dict=False,
    )[0]  # fmt: skip
    return pipeline._unpack_latents(predicted, PIXELS, PIXELS, pipeline.vae_scale_factor)


def test_preconditioned_outputs_are_a_weighting():
    """The SD3 script by default predicts latents, −σ f + x_t, and compares with x_0."""
    _, model = adapted("sd3")
    batch = task_for("sd3").collate(EXAMPLES[:2])
    with evaluating(model):
        plain = task_for("sd3").part_losses(model, batch)
        weighted = task_for("sd3", weighting="sigma_squared")
        assert torch.allclose(
            weighted.part_losses(model, batch), plain * weighted.schedule.noise**2, rtol=1e-5
        )


def test_sdxl_is_told_the_images_sizes():
    """Original size, the cut's corner, target size, as train_text_to_image_lora_sdxl.py."""
    task = task_for("sdxl")
    image = Image.new("RGB", (80, 50))
    assert task.encode({"image": image, "text": "x"})["sizes"] == [50, 80, 0, 10, PIXELS, PIXELS]
    _, model = adapted("sdxl")
    large = {"pixel_values": torch.zeros(3, PIXELS, PIXELS), "text": "x"}
    small = task.encode(large) | {"sizes": [8, 8, 0, 0, PIXELS, PIXELS]}
    with evaluating(model):
        losses = task.losses(model, task.collate([large, small]))
    assert losses[0] != losses[1]


def test_text_encoders_are_attributed_too():
    """They see an example once for all timesteps: averaged, not kept apart."""
    pipeline = make_pipeline("sdxl").to(torch.float64)
    model = nn.ModuleDict(
        {
            "unet": add_lora(pipeline.unet, ["to_q"]),
            "text_encoder": add_lora(pipeline.text_encoder, ["q_proj", "v_proj"]),
            "text_encoder_2": add_lora(pipeline.text_encoder_2, ["out_proj"]),
        }
    ).double()
    task = make_task(pipeline).for_model(model)
    assert task.attributed == ("unet", "text_encoder", "text_encoder_2")
    assert set(task.settings()["frozen"]) == {"vae"}
    with evaluating(model):
        truth = each_alone(model, select(model), task, EXAMPLES[:5], CPU)
    learned = {n.split(".")[0] for n, g in truth.gradients.items() if g.any()}
    assert learned == set(task.attributed)
    _, gradients = gradients_of(model, task, EXAMPLES[:5], 3)
    used = {n: g for n, g in truth.gradients.items() if n not in truth.unused}
    assert largest_error(gradients, used) < 1e-9
    with pytest.raises(CoverageError, match="cannot be kept apart"):
        gradients_of(model, make_task(pipeline, aggregate="concatenate"), EXAMPLES[:2], 2)


def test_a_text_encoder_alone_is_attributed():
    pipeline = make_pipeline("sd1")
    model = add_lora(pipeline.text_encoder, ["q_proj", "v_proj"])
    task = make_task(pipeline).for_model(model)
    assert set(task.settings()["frozen"]) == {"unet", "vae"}
    with evaluating(model):
        capture = PerExample(model, select(model), task, CPU)
        truth = capture.check(EXAMPLES[:3])
    assert not capture.alone
    assert truth.unused == []


def test_gradient_checkpointing_does_no_harm():
    pipeline = make_pipeline("sd1")
    model = add_lora(pipeline.unet, ATTENTION)
    task = make_task(pipeline).for_model(model)
    with evaluating(model):
        truth = each_alone(model, select(model), task, EXAMPLES[:3], CPU)
    pipeline.unet.enable_gradient_checkpointing()
    _, gradients = gradients_of(model.train(), make_task(pipeline), EXAMPLES[:3], 3)
    assert largest_error(gradients, truth.gradients) < 1e-4


def test_weights_of_ones_own():
    _, model = adapted("sd1")
    batch = task_for("sd1").collate(EXAMPLES[:2])
    with evaluating(model):
        plain = task_for("sd1").part_losses(model, batch)
        weighted = task_for("sd1", weighting=(2.0, 0.5)).part_losses(model, batch)
        mean = task_for("sd1", weighting=(2.0, 0.5)).losses(model, batch)
    assert torch.allclose(weighted, plain * torch.tensor([2.0, 0.5]), rtol=1e-6)
    assert torch.allclose(mean, weighted.mean(1))


def test_lengths_are_positions_that_the_denoiser_sees():
    assert task_for("sd1").length(EXAMPLES[0]) == 16 * 16 * 2
    assert task_for("flux", timesteps=5).length(EXAMPLES[0]) == 8 * 8 * 5


def test_no_length_in_tokens_is_named_for_pictures():
    assert task_for("sd1").shortening(99) == ["a smaller --resolution", "fewer --timesteps"]
    assert task_for("sd1", timesteps=1).shortening(None) == ["a smaller --resolution"]


def test_evenly_spaced_timesteps():
    assert task_for("sd1", timesteps=6).schedule.timesteps == (25, 205, 385, 565, 745, 925)
    assert task_for("sd3", timesteps=1).schedule.timesteps == (475,)
    used = task_for("sd3", timesteps=(250,)).schedule
    assert float(used.noise) == pytest.approx(3 * 0.25 / (1 + 2 * 0.25))  # shifted by 3
    assert float(used.times) == pytest.approx(1000 * float(used.noise))


def test_a_pipeline_that_has_sampled_has_the_same_schedule():
    pipeline = make_pipeline("sd3")
    before = make_task(pipeline).schedule
    pipeline.scheduler.set_timesteps(4)
    assert torch.equal(make_task(pipeline).schedule.noise, before.noise)


def test_two_runs_give_the_same_bytes(tmp_path):
    pipeline, model = adapted("sd1")
    hashes = []
    for folder in ("a", "b"):
        task = make_task(pipeline)
        collect(model, EXAMPLES, task, out=tmp_path / folder, shard_rows=3, batch_tokens=1500)
        files = sorted((tmp_path / folder).rglob("*.safetensors"))
        hashes.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == 3


def test_a_store_of_something_else_is_refused(tmp_path):
    pipeline, model = adapted("sd1")
    examples = EXAMPLES[:2]
    collect(model, examples, make_task(pipeline), out=tmp_path / "s")
    changed = [{"seed": 1}, {"timesteps": 3}, {"weighting": "snr"}, {"aggregate": "concatenate"}]
    for options in changed:
        with pytest.raises(StoreMismatchError):
            collect(model, examples, make_task(pipeline, **options), out=tmp_path / "s")
    own = pipeline.vae
    try:
        pipeline.vae = AutoencoderKL.from_config(own.config)  # other weights
        with pytest.raises(StoreMismatchError):
            collect(model, examples, make_task(pipeline), out=tmp_path / "s")
    finally:
        pipeline.vae = own
    assert len(collect(model, examples, make_task(pipeline), out=tmp_path / "s").ids) == 2


def test_noise_is_of_its_timestep_alone():
    both, one = shared_noise([25, 925], (4, 8, 8), 3), shared_noise([925], (4, 8, 8), 3)
    assert torch.equal(both[1], one[0])
    assert not torch.equal(both[0], both[1])
    assert not torch.equal(one, shared_noise([925], (4, 8, 8), 4))
    assert float(both.std()) == pytest.approx(1, abs=0.1)


def test_frozen_parts_have_no_dropout():
    pipeline = make_pipeline("sd1")
    pipeline.text_encoder = clip_encoder()
    encoder = getattr(pipeline.text_encoder, "text_model", pipeline.text_encoder).encoder
    encoder.layers[0].self_attn.dropout = 0.5  # transformers 5.0 has it one level below
    pipeline.text_encoder.train()
    task = make_task(pipeline)
    batch = task.collate(EXAMPLES[:2])
    first = task.losses(pipeline.unet, batch)
    assert torch.equal(first, task.losses(pipeline.unet, batch))
    assert pipeline.text_encoder.training


def test_images_in_every_form_encode_alike(tmp_path):
    task, example = task_for("sd1"), EXAMPLES[3]
    path = tmp_path / "image.png"
    example["image"].save(path)
    truth = task.encode(example)["pixel_values"]
    assert truth.shape == (3, PIXELS, PIXELS)
    forms = [path, str(path), {"path": str(path), "bytes": None}, {"bytes": path.read_bytes()}]
    for form in forms:
        encoded = task.encode({"image": form, "text": "x"})
        assert torch.equal(encoded["pixel_values"], truth)
    ready = task.encode({"pixel_values": truth.float() / 127.5 - 1, "text": "x"})
    batch = task.collate([ready, task.encode(task.encode({"image": path, "text": "x"}))])
    assert torch.allclose(batch["pixel_values"][0], batch["pixel_values"][1], atol=1e-6)
    assert task.describe({"image": path, "text": "a cat"}) == "a cat (image.png)"
    square = Image.new("RGB", (2 * PIXELS, PIXELS), (255, 0, 0))
    square.paste((0, 0, 255), (PIXELS // 2, 0, 3 * PIXELS // 2, PIXELS))
    centre = task.encode({"image": square, "text": "x"})["pixel_values"]
    assert torch.equal(centre[2], torch.full_like(centre[2], 255))  # the centre, not the edges


def test_pillow_is_asked_for_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InputError, match="needs pillow") as caught:
        task_for("sd1").encode({"image": "image.png", "text": "x"})
    assert "datainf[diffusion]" in caught.value.remedy


def test_texts_that_are_cut_are_counted():
    task = task_for("sd1")
    example = EXAMPLES[0]
    assert task.encode(example | {"text": "x"})["truncated_tokens"] == 0
    assert task.encode(example | {"text": "x" * (TOKENS + 1)})["truncated_tokens"] == 3


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"image": EXAMPLES[0]["image"]}, "no text"),
        ({"text": "x"}, "no image"),
        ({"text": "x", "image": "nowhere.png"}, "nowhere.png cannot be read"),
        ({"text": "x", "image": {"bytes": b"no image"}}, "cannot be read"),
        ({"text": "x", "image": 7}, "of type int"),
        ({"text": "x", "pixel_values": torch.zeros(3, 8, 8)}, "shape"),
        ({"text": "x", "pixel_values": torch.full((3, PIXELS, PIXELS), 2.0)}, "outside"),
    ],
)
def test_rows_that_cannot_be_used_are_named(row, message):
    with pytest.raises(DataError, match=message):
        task_for("sd1").encode(row)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sd1", {"timesteps": (25, 1000)}, "1000 is outside"),
        ("sd3", {"timesteps": (0,)}, "0 is outside"),
        ("sd1", {"timesteps": ()}, "none or one twice"),
        ("sd1", {"timesteps": 0}, "at least 1"),
        ("sd1", {"weighting": "sigma_sqrt"}, "not for diffusion"),
        ("sd3", {"weighting": "snr"}, "not for flow matching"),
        ("sd1", {"weighting": (1.0,)}, "1 weights for 2"),
        ("sd1", {"weighting": (1.0, float("nan"))}, "weights"),
        ("sd1", {"aggregate": "sum"}, "aggregate"),
    ],
)
def test_options_are_checked(name, options, message):
    with pytest.raises(OptionError, match=message):
        task_for(name, **options)


def test_resolutions_are_checked():
    pipeline, _ = adapted("flux")
    with pytest.raises(OptionError, match="multiple of 4") as caught:
        TextToImage(pipeline, resolution=30)
    assert "resolution=32" in caught.value.remedy
    assert TextToImage(adapted("sd1")[0]).side == PIXELS


def test_pipelines_of_another_kind_are_refused():
    pipeline = make_pipeline("sd1")
    pipeline.unet.register_to_config(in_channels=9)
    with pytest.raises(ModelError, match="inpainting"):
        make_task(pipeline)
    pipeline.unet.register_to_config(in_channels=4, addition_embed_type="image")
    with pytest.raises(ModelError, match="UNet2DConditionModel is not known"):
        make_task(pipeline)
    pipeline.unet.register_to_config(addition_embed_type=None)
    pipeline.scheduler.register_to_config(prediction_type="flow_prediction")
    with pytest.raises(ModelError, match="flow_prediction"):
        make_task(pipeline)
    with pytest.raises(ModelError, match="holds no part"):
        task_for("sd1").for_model(nn.Linear(2, 2))
