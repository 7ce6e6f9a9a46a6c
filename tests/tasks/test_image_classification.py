"""Images through the model's processor, and what a batch of them costs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from datainf import tasks
from datainf.errors import DataError
from tiny_models import image_processor, pictures, tiny_base


@pytest.fixture
def task():
    return tasks.ImageClassification(image_processor()).for_model(tiny_base("vit"))


def picture(size=(40, 30), value=200):
    return Image.fromarray(np.full((size[1], size[0], 3), value, dtype=np.uint8))


def test_images_go_through_the_processor(task, tmp_path):
    pixels = task.encode({"image": picture(), "label": 1})["pixel_values"]
    assert pixels.shape == (3, 16, 16)
    assert torch.allclose(pixels, torch.tensor((200 / 255 - 0.5) / 0.5), atol=1e-6)
    picture().save(tmp_path / "x.png")
    for form in (str(tmp_path / "x.png"), {"bytes": (tmp_path / "x.png").read_bytes()}):
        assert torch.equal(task.encode({"image": form, "label": 1})["pixel_values"], pixels)
    encoded = task.encode({"image": picture(), "label": 1})
    assert task.encode(encoded) == encoded
    given = task.encode({"pixel_values": pixels.tolist(), "label": 1})["pixel_values"]
    assert torch.equal(given, pixels)


def test_length_is_the_number_of_tokens(task):
    """16 patches of 4 by 4 pixels, and the class token."""
    model = tiny_base("vit")
    encoded = task.encode(pictures()[0])
    hidden = model.vit(encoded["pixel_values"][None]).last_hidden_state
    assert task.length(encoded) == 17 == hidden.shape[1]


def test_rows_that_do_not_fit(task, tmp_path):
    (tmp_path / "junk.png").write_bytes(b"junk")
    for row, message in [
        ({"image": str(tmp_path / "none.png"), "label": 0}, "none.png cannot be read"),
        ({"image": str(tmp_path / "junk.png"), "label": 0}, "junk.png cannot be read"),
        ({"image": picture(), "label": 3}, "out of range"),
        ({"image": picture()}, "has no label"),
        ({"label": 0}, "no image in the example"),
        ({"pixel_values": [[1.0]], "label": 0}, r"shape \(1, 1\) are no image"),
        ({"pixel_values": "red", "label": 0}, "cannot be used"),
        ({"pixel_values": torch.full((3, 2, 2), torch.nan), "label": 0}, "finite"),
    ]:
        with pytest.raises(DataError, match=message):
            task.encode(row)
    sizes = [{"pixel_values": torch.zeros(3, n, n), "label": 0} for n in (8, 16)]
    with pytest.raises(DataError, match="different sizes"):
        task.collate(sizes)


def test_settings_tell_processors_apart(task):
    other = tasks.ImageClassification(image_processor()).for_model(tiny_base("vit"))
    assert other.settings() == task.settings()
    other.processor.image_mean = [0.4, 0.5, 0.5]
    assert other.settings() != task.settings()


def test_description(task):
    assert task.describe({"image": "a/cat.png", "label": "cat"}) == "[cat] cat.png"
    named = {"image": {"bytes": b"", "path": "dog.png"}, "label": 1}
    assert task.describe(named) == "[1] dog.png"
    assert task.describe({"image": picture(), "label": 1}) == "[1] an image without a name"
