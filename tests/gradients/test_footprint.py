"""What examples keep in memory, told by shorter ones."""

from __future__ import annotations

import re

import pytest
import torch

from conftest import make_model
from datainf import collect, tasks
from datainf.errors import PlanError
from datainf.gradients import collector, prepare
from datainf.gradients.evaluating import evaluating
from datainf.gradients.footprint import BACKWARD, Footprint, growing, remedy
from datainf.progress import Silent
from datainf.tasks.sampled import Sampled

CPU = torch.device("cpu")


def test_two_examples_tell_both_numbers():
    found = Footprint.of([(10, 999), (20, 5 * 20 + 3 * 400), (50, 5 * 50 + 3 * 2500)])
    assert (found.linear, found.square) == pytest.approx((5, 3))
    assert found.kept(100) == 5 * 100 + 3 * 10_000
    # What does not grow with length is taken to grow with it, and a single example is all linear.
    assert Footprint.of([(10, 500), (20, 600)]) == Footprint(30, 0)
    assert Footprint.of([(8, 80)]) == Footprint(10, 0)


@pytest.mark.parametrize("known", [Footprint(7.0), Footprint(5, 3), Footprint(0, 2)])
def test_the_most_tokens_that_fit_are_the_most(known):
    for there in (10, 100, 12_345, 10**9):
        tokens = known.fitting(there)
        assert known.kept(tokens) <= there < known.kept(tokens + 1)
    assert known.fitting(-5) <= 0


def test_examples_of_growing_length_are_probed():
    assert growing([100, 3, 26, 49, 60]) == [2, 3, 0]
    assert growing([7, 7, 7]) == [0]
    assert growing([90, 100]) == [0, 1]
    assert growing([5]) == [0]
    assert growing([0, 1]) == [0], "both take up one place"
    assert growing([0]) == [0]


OLD = pytest.mark.xfail(torch.__version__ < "2.9", reason="keeps them there too", strict=False)


@pytest.mark.parametrize("attention", [pytest.param("sdpa", marks=OLD), "eager"])
def test_the_longest_is_foretold(attention, tokenizer, tmp_path):
    """Eager attention keeps weights for every pair of tokens."""
    model = make_model("llama")
    model.set_attn_implementation(attention)
    rows = [{"text": "ab" * n} for n in (3, 12, 24, 47)]
    found = prepare(
        model, rows, tasks.CausalLM(tokenizer), out=tmp_path / "s", progress=Silent()
    ).collector
    with evaluating(model):
        kept = {row: found._kept(row) for row in range(4)}
        assert found.footprint().kept(found.survey.lengths[3]) == kept[3]
    lengths = found.survey.lengths
    foretold = Footprint.of([(lengths[row], kept[row]) for row in (1, 2)])
    assert foretold.kept(lengths[3]) == pytest.approx(kept[3], rel=0.02)
    assert (foretold.square > 1) == (attention == "eager")


def test_one_that_cannot_fit_is_refused_before_it_is_taken(tokenizer, tmp_path, monkeypatch):
    rows = [{"text": "a" * n} for n in (20, 40, 80)]
    seen = []

    class Noted(tasks.CausalLM):
        def losses(self, model, batch):
            seen.append(batch["input_ids"].shape[1])
            return super().losses(model, batch)

    model, whole = make_model("llama"), tasks.CausalLM(tokenizer)
    known = prepare(model, rows, whole, out=tmp_path / "s", progress=Silent()).settle({})
    monkeypatch.setattr(collector, "available_each", lambda _: BACKWARD * known.kept(60))
    with pytest.raises(PlanError, match="example 2 has 81 tokens") as caught:
        collect(model, rows, Noted(tokenizer), out=tmp_path / "s")
    assert "by what shorter ones kept" in caught.value.message
    assert max(seen) == 41
    assert not (tmp_path / "s").exists()
    for option in ("--dtype bfloat16", "--device", "gradient checkpointing"):
        assert option in caught.value.remedy
    (fitting,) = re.findall(r"--max-length (\d+)", caught.value.remedy)
    assert 41 < int(fitting) < 60  # a gradient's room beside
    collect(model, rows, tasks.CausalLM(tokenizer, max_length=int(fitting)), out=tmp_path / "s")


def test_the_check_takes_what_the_probe_took_alone(llama, tokenizer, tmp_path):
    seen = []

    class Noted(tasks.CausalLM):
        def losses(self, model, batch):
            seen.append(tuple(batch["input_ids"].shape))
            return super().losses(model, batch)

    rows = [{"text": "a" * n} for n in (20, 5, 40, 80, 30)]
    store = collect(llama, rows, Noted(tokenizer), out=tmp_path / "s")
    assert seen == [(1, 21), (1, 41), (1, 81), (3, 81), (5, 81)]
    assert len(store) == 5


def test_memory_that_runs_out_at_the_longest_is_named(llama, tokenizer, tmp_path):
    class Little(tasks.CausalLM):
        def losses(self, model, batch):
            if batch["input_ids"].shape[1] > 50:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().losses(model, batch)

    rows = [{"text": "a" * n, "id": f"r{n}"} for n in (20, 40, 80)]
    with pytest.raises(PlanError, match=r"example 2 \(id 'r80'\) alone does not fit") as caught:
        collect(llama, rows, Little(tokenizer), out=tmp_path / "s")
    assert "--max-length, --dtype" in caught.value.remedy


def test_remedies_are_those_that_help():
    cut = remedy(["--max-length 60"], is_half=False)
    assert cut.startswith("--max-length 60, --dtype bfloat16, another --device; or")
    assert remedy([], is_half=True).startswith("another --device; or")


def test_tasks_say_how_examples_get_shorter():
    def options(task):
        return [task.shortening(length) for length in (None, 61, 3, 1, -4)]

    one_row = [["--max-length"], ["--max-length 61"], ["--max-length 3"], [], []]
    for task in (tasks.CausalLM, tasks.SequenceClassification, tasks.TokenClassification):
        assert options(task(None)) == one_row
    assert options(Sampled(tasks.CausalLM(None))) == one_row
    # A pair is two rows as long as the longer one.
    assert options(tasks.Preference(None)) == [["--max-length"], ["--max-length 30"], [], [], []]
    both = "--max-length and --max-target-length"
    assert options(tasks.Seq2Seq(None)) == [
        [both], [f"{both}, 61 together"], [f"{both}, 3 together"], [], [],
    ]  # fmt: skip
    for task in (tasks.ImageClassification(None), tasks.Custom(lambda *_: None)):
        assert options(task) == [[]] * 5


def test_pairs_that_are_cut_as_the_error_says_fit(llama, tokenizer, tmp_path, monkeypatch):
    rows = [{"prompt": "a", "chosen": "b" * n, "rejected": "c"} for n in (10, 20, 40)]
    known = prepare(
        llama, rows, tasks.Preference(tokenizer), out=tmp_path / "s", progress=Silent()
    ).settle({})
    monkeypatch.setattr(collector, "available_each", lambda _: BACKWARD * known.kept(60))
    with pytest.raises(PlanError, match="example 2 has 8") as caught:
        collect(llama, rows, tasks.Preference(tokenizer), out=tmp_path / "s")
    (fitting,) = re.findall(r"--max-length (\d+)", caught.value.remedy)
    task = tasks.Preference(tokenizer, max_length=int(fitting))
    assert len(collect(llama, rows, task, out=tmp_path / "t")) == 3
