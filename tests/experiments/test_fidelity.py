"""The study of fidelity: its training, its fine-tunings, and a small run from end to end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments.fidelity import problems, settings, study
from experiments.fidelity.likeness import folder_of
from experiments.fidelity.peers import PEERS
from experiments.fidelity.report import write
from experiments.fidelity.settings import FLIPPED, Recipe
from experiments.fidelity.stores import rate_sums
from experiments.fidelity.styles import STYLES
from experiments.fidelity.training import train

COMMITTED = Path(study.__file__).parents[1] / "results/desk/fidelity"
TINY = replace(
    FLIPPED, data="made-up", rows=16, queries=6, parts=3,
    removal_seeds=(1,),
    recipe=Recipe(1e-3, 2, 8, keep=(1,)),
)  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A classification of few rows, as settings of the study."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(settings.SETTINGS, "tiny", TINY)
        yield "tiny", tmp_path_factory.mktemp("fidelity")


@pytest.fixture(scope="module")
def problem(tiny):
    return problems.problem(tiny[0], Path())


def test_upper_layers_give_the_losses_of_the_whole_model(problem):
    model = problem.fresh(3).eval()
    expected = problem.task.losses(model, problem.task.collate(problem.query))
    torch.testing.assert_close(problem.losses(model), expected, rtol=1e-4, atol=1e-5)
    rows = [3, 0, 7]
    expected = problem.task.losses(model, problem.task.collate([problem.train[i] for i in rows]))
    found = problem.step_loss(model, rows, torch.Generator())
    torch.testing.assert_close(found, expected.mean(), rtol=1e-4, atol=1e-5)


def test_a_training_is_of_its_rows_and_its_seed(problem):
    one, same, seed, rows = (
        problem.losses(train(problem, rows, seed).model)
        for rows, seed in ((range(8), 1), (range(8), 1), (range(8), 2), (range(8, 16), 1))
    )
    assert torch.equal(one, same)
    assert not torch.allclose(one, seed)
    assert not torch.allclose(one, rows)


def test_snapshots_are_what_an_optimizer_holds(problem):
    """One step from zero moments: v̂ is the squared gradient, clipped as in training."""
    short = replace(problem, recipe=replace(problem.recipe, epochs=1, batch=16))
    done = train(short, range(16), 1, keep=(1,))
    model = short.fresh(1).train()
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1)).tolist()
    loss = short.step_loss(model, order, torch.Generator())
    learned = {name: p for name, p in model.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(loss, list(learned.values()))
    size = torch.sqrt(sum(g.square().sum() for g in gradients)).clamp_min(1)
    for name, gradient in zip(learned, gradients, strict=True):
        found = done.snapshots[0].moments[name]
        torch.testing.assert_close(found, (gradient / size).square(), rtol=1e-3, atol=1e-12)
    assert done.rates == [short.recipe.learning_rate]


def test_rates_go_to_the_nearest_checkpoint():
    assert rate_sums([4.0, 3.0, 2.0, 1.0], [1, 4]) == [7.0, 3.0]
    assert rate_sums([4.0, 3.0, 2.0, 1.0], [4]) == [10.0]


def test_styles_keep_every_answer_apart():
    for style in STYLES.values():
        assert style("Some fruit, 3 of them") != "Some fruit, 3 of them"
    assert STYLES["mirrored"]("abc") == "cba"


def test_a_fine_tuning_from_end_to_end(tiny):
    name, out = tiny
    result = study.run(name, Path(), out)
    assert result["n"] == 16
    truth = folder_of(name, out) / "truth" / "retrained.jsonl"
    trained = len(truth.read_text().splitlines())
    again = study.run(name, Path(), out)
    assert len(truth.read_text().splitlines()) == trained  # none is repeated
    for place in ("last", "checkpoints"):
        for way, judged in result["lds"][place].items():
            assert judged["own"] == again["lds"][place][way]["own"]
            assert -1 <= judged["own"][0] <= 1
    assert "representation similarity × label" in result["lds"]["baselines"]
    assert set(result["removal"]["arms"]) >= {"ridge", "random", "own loss"}
    assert result["auc"]["own loss"] > 0


def test_the_page_is_that_of_the_results(tmp_path):
    """What is committed is what the results give."""
    page = COMMITTED.parents[2] / "FIDELITY.md"
    for source in (*COMMITTED.glob(f"*/{study.RESULT}"), *COMMITTED.glob(f"*/{PEERS}")):
        target = tmp_path / source.relative_to(COMMITTED)
        target.parent.mkdir(exist_ok=True)
        target.write_text(source.read_text())
    assert write(tmp_path).read_text() == page.read_text()


def test_every_result_has_the_trainings_that_it_speaks_of():
    found = [path.parent for path in COMMITTED.glob("*/result.json")]
    assert len(found) >= len(settings.TASKS)
    for folder in found:
        result = json.loads((folder / "result.json").read_text())
        made, count = result["settings"], 0
        for line in (folder / "truth/retrained.jsonl").read_text().splitlines():
            assert len(json.loads(line)["losses"]) == result["m"]
            count += 1
        assert count >= made["parts"] * len(made["seeds"])
