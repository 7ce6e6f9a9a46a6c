"""Checkpoints of real Trainers: which, how much each counts, and whose moment is whose."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
import transformers

from conftest import make_model, make_rows
from datainf import tasks
from datainf.checkpoints import choose, find, second_moments, step_of, weighed
from datainf.errors import ModelError, OptionError
from datainf.gradients.parameters import select

RATE = 1e-2


def train(model, rows, task, folder, **options):
    fitted = task.for_model(model)
    arguments = transformers.TrainingArguments(
        folder, num_train_epochs=3, per_device_train_batch_size=4, learning_rate=RATE,
        save_strategy="epoch", logging_steps=1, report_to=[], use_cpu=True, disable_tqdm=True,
        remove_unused_columns=False, save_total_limit=None, **options,
    )  # fmt: skip
    trainer = transformers.Trainer(
        model, arguments, fitted.collate, train_dataset=[fitted.encode(row) for row in rows]
    )
    trainer.train()
    return trainer


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tokenizer):
    """A classifier with LoRA and a head that has a bias, which has no weight decay."""
    folder = tmp_path_factory.mktemp("output")
    task = tasks.SequenceClassification(tokenizer)
    return train(make_model("bert"), make_rows("bert") * 2, task, folder), folder


def test_checkpoints_are_found_by_step(trained):
    _, folder = trained
    (folder / "checkpoint-best").mkdir()
    (folder / "checkpoint-7").touch()
    found = find(folder)
    (folder / "checkpoint-7").unlink()
    steps = [step_of(path) for path in found]
    assert len(steps) == 3
    assert steps == sorted(steps)
    assert find(folder / "nothing") == []


def test_moments_are_those_of_the_optimizer(trained):
    trainer, folder = trained
    model = trainer.model
    names = list(select(model))
    found = second_moments(find(folder)[-1], model, names)
    assert set(found) == set(names)
    parameters = dict(model.named_parameters())
    optimizer = trainer.optimizer.optimizer
    for name, moments in found.items():
        state = optimizer.state[parameters[name]]
        corrected = state["exp_avg_sq"] / (1 - 0.999 ** float(state["step"]))
        torch.testing.assert_close(moments, corrected)
    assert len({v.shape for v in found.values()}) < len(found)  # shapes alone would not tell


def test_moments_are_found_when_the_adapter_is_loaded_for_inference(trained):
    trainer, folder = trained
    names = list(select(trainer.model))
    wanted = second_moments(find(folder)[-1], trainer.model, names)
    trainer.model.requires_grad_(False)
    try:
        found = second_moments(find(folder)[-1], trainer.model, names)
    finally:
        for name, p in trainer.model.named_parameters():
            p.requires_grad_(name in names)
    assert all(torch.equal(found[name], wanted[name]) for name in names)


@pytest.mark.parametrize(("change", "said"), [
    (lambda names: names[1:], "parameters, and"),
    (lambda names: [*names, "another"], "parameters, and"),
])  # fmt: skip
def test_an_optimizer_of_other_parameters_is_refused(trained, change, said):
    trainer, folder = trained
    with pytest.raises(ModelError, match=said):
        second_moments(find(folder)[-1], trainer.model, change(list(select(trainer.model))))


def test_an_optimizer_without_second_moments_is_refused(tmp_path, tokenizer):
    task = tasks.SequenceClassification(tokenizer)
    trainer = train(make_model("bert"), make_rows("bert"), task, tmp_path, optim="sgd")
    names = list(select(trainer.model))
    with pytest.raises(ModelError, match="and has none"):
        second_moments(find(tmp_path)[-1], trainer.model, names)


def test_a_file_that_would_run_code_is_not_read(trained, tmp_path):
    trainer, _ = trained

    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    torch.save({"state": Evil(), "param_groups": []}, tmp_path / "optimizer.pt")
    with pytest.raises(ModelError, match="cannot be read"):
        second_moments(tmp_path, trainer.model, ["a"])
    assert not (tmp_path / "ran").exists()
    with pytest.raises(ModelError, match=r"has no optimizer\.pt"):
        second_moments(tmp_path / "none", trainer.model, ["a"])


def test_weights_are_the_learning_rates_of_the_steps_nearest(trained):
    """Linear decay to zero; a step half way between two checkpoints goes to the earlier."""
    _, folder = trained
    found = weighed(find(folder))
    last = found[-1].step
    steps = [point.step for point in found]
    sums = dict.fromkeys(steps, 0.0)
    for step in range(1, last + 1):
        sums[min(steps, key=lambda s: abs(s - step))] += RATE * (1 - (step - 1) / last)
    total = sum(sums.values())
    assert [point.weight for point in found] == pytest.approx(
        [sums[step] / total for step in steps], rel=1e-6
    )
    assert found[-1].rate_sum == pytest.approx(total, rel=1e-6)
    assert [point.epoch for point in found] == [1, 2, 3]


def test_sparse_logs_are_filled_from_the_optimizers(trained, tmp_path):
    """Of a log that has the last step alone, the rates between come from optimizer.pt; without
    these, too, their sum is not known, and all steps count alike."""
    _, folder = trained
    exact = weighed(find(folder))
    shutil.copytree(folder, tmp_path / "o")
    folders = find(tmp_path / "o")
    for place in folders:
        state = json.loads((place / "trainer_state.json").read_text())
        state["log_history"] = state["log_history"][-1:]
        state["log_history"][-1].setdefault("learning_rate", 1e-4)
        (place / "trainer_state.json").write_text(json.dumps(state))
    sparse = weighed(folders)
    assert sparse[-1].rate_sum == pytest.approx(exact[-1].rate_sum, rel=1e-6)  # it is a line
    assert [p.weight for p in sparse] == pytest.approx([p.weight for p in exact], rel=1e-6)
    for place in folders:
        (place / "optimizer.pt").unlink()
    bare = weighed(folders)
    assert bare[-1].rate_sum is None
    steps = [point.step for point in bare]
    nearest = [min(steps, key=lambda s: abs(s - step)) for step in range(1, steps[-1] + 1)]
    assert [point.weight for point in bare] == pytest.approx(
        [nearest.count(step) / len(nearest) for step in steps]
    )


def test_a_state_without_learning_rates_is_refused(tmp_path):
    folder = tmp_path / "checkpoint-3"
    folder.mkdir()
    with pytest.raises(ModelError, match="cannot be read"):
        weighed([folder])
    (folder / "trainer_state.json").write_text("[]")
    with pytest.raises(ModelError, match="no state"):
        weighed([folder])
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 3, "log_history": []}))
    with pytest.raises(ModelError, match="no learning rate"):
        weighed([folder])


@pytest.mark.parametrize(("wanted", "steps"), [
    ("all", [10, 20, 30, 40, 50, 60]), ("1", [60]), ("2", [10, 60]), ("3", [10, 20, 60]),
    ("6", [10, 20, 30, 40, 50, 60]), ("20,50", [20, 50]), ("50,20", [20, 50]), ("30,", [30]),
])  # fmt: skip
def test_checkpoints_are_chosen(tmp_path, wanted, steps):
    folders = [tmp_path / f"checkpoint-{step}" for step in (10, 20, 30, 40, 50, 60)]
    assert [step_of(folder) for folder in choose(folders, wanted)] == steps


@pytest.mark.parametrize("wanted", ["0", "7", "15,", "x", "", ",", "-1"])
def test_checkpoints_that_are_not_there_are_refused(tmp_path, wanted):
    folders = [tmp_path / f"checkpoint-{step}" for step in (10, 20, 30, 40, 50, 60)]
    with pytest.raises(OptionError):
        choose(folders, wanted)
