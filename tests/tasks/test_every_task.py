"""Each task on tiny models of real architectures: losses are the model's own for a batch of one,
gradients those of one-at-a-time autograd, whatever the batch."""

from __future__ import annotations

import pytest
import torch

from datainf.gradients.engine import PerExample
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import select
from datainf.gradients.verify import one_at_a_time
from tiny_models import TINY, tiny_base, tiny_lora, tiny_task

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", TINY)
def test_losses_are_the_models_own(name, tokenizer):
    model = tiny_base(name).eval()
    task, rows = tiny_task(name, model, tokenizer), TINY[name].rows
    with torch.no_grad():
        losses = task.losses(model, task.collate(rows))
        own = [float(model(**task.collate([row])).loss) for row in rows]
    assert losses.tolist() == pytest.approx(own, rel=1e-5, abs=1e-7)
    assert losses.dtype == torch.float32


@pytest.mark.parametrize("name", TINY)
def test_gradients_equal_autograd_at_any_batch_size(name, tokenizer):
    model, rows = tiny_lora(name), [*TINY[name].rows, *TINY[name].rows[:2]]
    task, chosen = tiny_task(name, model, tokenizer), select(model)
    heads = TINY[name].head or []
    assert all(any(head in block for block in chosen) for head in heads)
    with evaluating(model):
        truth = [one_at_a_time(model, chosen, task, row, CPU) for row in rows]
        gradients = PerExample(model, chosen, task, CPU)
        gradients.check(rows[:3])
        for size in (1, 3, 8):
            for start in range(0, len(rows), size):
                part = rows[start : start + size]
                found = gradients(part)
                for i, (loss, alone) in enumerate(truth[start : start + size]):
                    assert torch.allclose(found.losses[i], loss, rtol=1e-5, atol=1e-7)
                    whole = torch.cat(list(alone.values())).norm()
                    for block, gradient in alone.items():
                        error = (found.gradients[block][i] - gradient).norm()
                        # A block that is next to nothing holds rounding of the others alone.
                        assert error <= 5e-5 * max(gradient.norm(), 1e-2 * whole)
        assert not gradients.alone
