"""The parts of a page hold what the scores, the data and the model say."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from conftest import TEXTS, attributed
from datainf import load_scores
from datainf.explanations import Explanation
from datainf.report import contents, write_report
from datainf.report.contents import Contents, NoSuchPartError, in_steps
from datainf.report.insight import gain_insight
from datainf.report.subject import Subject
from datainf.runs import open_run
from datainf.viewer.live import LiveContents


def contents_of(run, top=3, *, model=True, scored=None):
    found = Contents(Subject.open(run, scored), top)
    pairs = found.pairs()
    found.insight = gain_insight(
        found.subject, pairs, set(pairs), found.shown, with_model=model,
        progress=SilentProgress(), say=lambda _: None,
    )  # fmt: skip
    return found


class SilentProgress:
    def stage(self, what, total, done=0):  # noqa: ARG002
        return lambda units: None  # noqa: ARG005


@pytest.fixture(scope="module")
def llama_contents(llama_run):
    return contents_of(llama_run)


@pytest.fixture(scope="module")
def bert_contents(bert_run):
    return contents_of(bert_run)


def test_the_ends_are_the_scores_own(llama_contents, llama_run):
    scores = load_scores(llama_run / "scores.safetensors")
    queries = llama_contents.part("queries-0")
    assert [query["id"] for query in queries] == scores.query_ids
    for row, query in enumerate(queries):
        for name, largest in (("helpful", True), ("harmful", False)):
            found = scores.top_rows(row, 3, largest=largest)
            truth = [(r, s) for r, s in found if (s > 0) == largest and s != 0]
            assert [r for r, _ in query[name]] == [r for r, _ in truth]
            assert [s for _, s in query[name]] == pytest.approx([s for _, s in truth], rel=1e-5)


def test_every_row_that_is_named_is_there(llama_contents):
    overview = llama_contents.part("overview")
    shown = overview["shown"]
    examples = [e for chunk in range(-(-len(shown) // overview["sizes"]["train"]))
                for e in llama_contents.part(f"train-{chunk}")]  # fmt: skip
    assert [example["row"] for example in examples] == shown
    named = {row for query in llama_contents.part("queries-0")
             for row, _ in (*query["helpful"], *query["harmful"])}  # fmt: skip
    assert named | {entry["row"] for entry in overview["many"]} == set(shown)
    run = open_run(llama_contents.subject.folder)
    for example in examples:
        row = example["row"]
        texts = {name: text for name, text, *_ in example["parts"]}
        assert texts == {name: text[:4000] for name, text in run.train[row].items()}
        assert example["loss"] == pytest.approx(float(run.train_losses[row]))
        assert example["where"] == run.train.where(row)
        assert example["href"].startswith("file:///")


def test_the_tokens_parts_sum_to_the_scores(llama_contents):
    why = llama_contents.part("why-0")
    assert set(why) == {str(row) for row in range(7)}
    for query in llama_contents.part("queries-0"):
        of_query = why[str(query["row"])]
        largest = max(abs(score) for _, score in (*query["helpful"], *query["harmful"]))
        for row, score in (*query["helpful"], *query["harmful"]):
            one = of_query[str(row)]
            total = one["unit"] * (sum(map(sum, one["streams"])) + one["elsewhere"])
            assert total == pytest.approx(score, abs=one["unit"] / 2 + 1e-3 * largest)


def test_small_tokens_are_not_lost_beside_a_large_one():
    """Of thousands, each far smaller than a step, all sums are right to half a step."""
    small = torch.full((1_999,), 0.0004, dtype=torch.float64)
    tokens = torch.cat([small[:1_000], torch.ones(1, dtype=torch.float64), -small[1_000:]])
    beyond = torch.full((5_000,), 0.0003, dtype=torch.float64)
    for streams in ([tokens.abs()], [tokens, small], [torch.cat([tokens, beyond]), small[:7]]):
        one = Explanation(torch.ones(1), streams, elsewhere=0.0123)
        found = in_steps(one)
        unit, steps = found["unit"], [torch.tensor(own) for own in found["streams"]]
        rest = sum(part for _, part in found.get("beyond", []))
        total = (sum(int(own.sum()) for own in steps) + rest + found["elsewhere"]) * unit
        assert total == pytest.approx(one.from_positions, rel=1e-3)
        first = streams[0][:2_000]
        off = steps[0].cumsum(0) * unit - first.cumsum(0)
        assert float(off.abs().max()) <= 0.51 * unit
        assert all(part * step >= 0 for part, step in zip(first, steps[0], strict=True))


def test_all_tensors_parts_sum_to_the_scores(llama_contents):
    for (query, row), one in llama_contents.insight.explanations.items():
        score = dict(llama_contents.pairs())[query, row]
        assert one.score == pytest.approx(score, rel=1e-3, abs=1e-5)
    shares = llama_contents.part("overview")["shares"]
    assert [layer for layer, _ in shares["layers"]] == ["0", "1"]
    for entries in shares.values():
        assert sum(share for _, share in entries) == pytest.approx(1, abs=1e-4)


def test_all_bars_of_a_card_sum_to_its_score(llama_contents, monkeypatch):
    """The tensors that are too many for a bar each have one together."""
    monkeypatch.setattr(contents, "TENSORS_SHOWN", 3)
    for query in llama_contents.part("queries-0"):
        of_query = llama_contents.part("why-0")[str(query["row"])]
        for row, score in (*query["helpful"], *query["harmful"]):
            one = of_query[str(row)]
            explained = llama_contents.insight.explanations[query["row"], row].by_tensor
            assert len(one["tensors"]) + one["other_tensors"][0] == len(explained)
            bars = [part for _, part in one["tensors"]] + [one["other_tensors"][1]]
            rounding = 0.51 * one["tensor_unit"]
            truth = pytest.approx(float(explained.sum()), abs=rounding)
            assert one["tensor_unit"] * sum(bars) == truth
            assert float(explained.sum()) == pytest.approx(score, rel=1e-3)


def test_tokens_beyond_those_shown_are_no_heads(monkeypatch):
    monkeypatch.setattr(contents, "MOST_TOKENS", 3)
    long, short = torch.tensor([1.0, -2.0, 0.5, 4.0, 0.28]), torch.tensor([0.5, 0.28])
    one = Explanation(torch.tensor([4.0, 1.0]), [long.double(), short.double()], elsewhere=0.5)
    found = in_steps(one)
    assert [[step * found["unit"] for step in stream] for stream in found["streams"]] == [
        pytest.approx([1, -2, 0.5]), pytest.approx([0.5, 0.28]),
    ]  # fmt: skip
    assert [count for count, _ in found["beyond"]] == [2, 0]
    assert [part * found["unit"] for _, part in found["beyond"]] == pytest.approx(
        [4.25, 0], rel=1e-2
    )
    assert found["elsewhere"] * found["unit"] == pytest.approx(0.5)
    assert "other_tensors" not in found
    assert "beyond" not in in_steps(Explanation(torch.ones(1), [short.double()]))


def test_the_largest_mean_is_of_all_training_examples(llama_run, monkeypatch):
    """In a file and where it is served, however few of either end are shown."""
    monkeypatch.setattr(contents, "MANY", 1)
    subject = Subject.open(llama_run)
    own = subject.scores.values - subject.scores.means().median()
    for values in (own, -own):  # both ends may be the larger
        scores = replace(subject.scores, values=values.float())
        means = scores.means()
        assert means.max() > 0 > means.min()
        turned = replace(subject, run=replace(subject.run, scores=scores))
        for made in (Contents(turned, 3), LiveContents(turned, 3, model=False)):
            found = made.part("overview")["largest"]
            assert found == pytest.approx(float(means.abs().max()), rel=1e-5)


def test_labels_and_what_the_model_says(bert_contents):
    subject, model = bert_contents.subject, bert_contents.insight
    for query in bert_contents.part("queries-0"):
        answer = query["answer"]
        assert answer["given"] == f"LABEL_{query['label']}"
        assert answer["agrees"] == (answer["given"] == answer["text"])
        assert 1 / 3 <= answer["probability"] <= 1
        if answer["agrees"]:  # −log p(label), as the store has it
            loss = -torch.tensor(answer["probability"]).log()
            assert float(loss) == pytest.approx(query["loss"], rel=1e-3)
    overview = bert_contents.part("overview")
    assert overview["labels"] == ["0", "1", "2"]
    wrong = [not model.query_answers[row].agrees for row in range(5)]
    assert overview["queries"]["wrong"] == [int(one) for one in wrong]
    assert set(model.train_answers) == set(bert_contents.shown)
    assert len(subject.run.train) == len(TEXTS) * 4 + 6


def test_a_language_model_goes_on(llama_contents):
    answers = [query["answer"] for query in llama_contents.part("queries-0")]
    assert all(isinstance(answer["text"], str) for answer in answers)
    assert all("agrees" not in answer for answer in answers)


def test_long_texts_are_cut_and_said_to_be(llama_contents):
    long = llama_contents.train.example(12)
    assert len(long["parts"][1][1]) == 4000
    assert long["parts"][1][2] == "96,001 more characters"


@pytest.mark.parametrize("name", ["", "queries-9", "train-", "why-1e3", "../run.yaml", "train--1"])
def test_no_other_part(llama_contents, name):
    with pytest.raises(NoSuchPartError):
        llama_contents.part(name)


def test_methods_are_compared(llama_run, datainf):
    datainf("score", llama_run, "--method", "exact", "--out", llama_run / "exact")
    datainf("score", llama_run, "--method", "datainf", "--keep", 4, "--out", llama_run / "kept")
    found = contents_of(llama_run, model=False)
    overview = found.part("overview")
    assert set(overview["methods"]) == {"gauss-newton", "exact", "datainf"}
    names = overview["methods"]
    square = overview["agreement"]["spearman"]
    exact = load_scores(llama_run / "exact" / "scores.safetensors")
    own = found.scores
    from datainf.evaluation.metrics import rank_correlations

    truth = float(rank_correlations(own.values, exact.values).mean())
    assert square[0][names.index("exact")] == pytest.approx(truth, rel=1e-5)
    assert square[0][names.index("datainf")] is None, "the matrix was not kept"
    assert overview["agreement"]["overlap"][0][0] == 1
    assert found.part("queries-0")[0]["helpful"], "without a model the scores are there"


def test_other_scores_of_the_run(llama_run, datainf):
    datainf("score", llama_run, "--method", "cg", "--out", llama_run / "cg")
    found = contents_of(llama_run, model=False, scored=llama_run / "cg")
    assert found.part("overview")["summary"].startswith("cg ·")
    assert len(found.insight.explanations) == len(found.pairs()), "taken apart as they were made"


def test_checkpoints_are_summed(tmp_path, saved_llama):
    """Scores over two checkpoints, taken apart with each one's own weights."""
    import shutil

    from safetensors.torch import load_file, save_file

    output = tmp_path / "output"
    for step, factor in ((2, 1.0), (4, 1.1)):
        folder = output / f"checkpoint-{step}"
        shutil.copytree(saved_llama[1], folder)
        weights = load_file(folder / "adapter_model.safetensors")
        save_file({k: v * factor for k, v in weights.items()}, folder / "adapter_model.safetensors",
                  metadata={"format": "pt"})  # fmt: skip
        logged = [{"step": s, "learning_rate": 1e-3, "loss": 1.0} for s in range(1, step + 1)]
        state = {"global_step": step, "log_history": logged}
        (folder / "trainer_state.json").write_text(json.dumps(state))
    rows = [{"prompt": text, "completion": " and so on"} for text in TEXTS]
    run = attributed(tmp_path, output, rows, rows[:2], checkpoints="all", method="datainf")
    found = contents_of(run)
    assert len(found.subject.stores.folders) == 2
    explained = found.insight.explanations
    assert set(explained) == set(found.pairs())
    for pair, one in explained.items():
        assert one.score == pytest.approx(found.pairs()[pair], rel=1e-3, abs=1e-6)
        assert one.from_positions == pytest.approx(one.score, rel=1e-2, abs=1e-5)


def test_a_model_that_is_gone_leaves_a_page(llama_run, tmp_path, monkeypatch):
    import datainf.report.readers as readers
    from datainf.errors import ModelError

    def gone(*_):
        raise ModelError("cannot load it")

    monkeypatch.setattr(readers, "load_model_and_task", gone)
    said = []
    path = write_report(llama_run, out=tmp_path / "page.html", say=said.append)
    assert path.stat().st_size > 10_000
    assert any("cannot load it" in text for text in said)


def test_the_same_run_gives_the_same_page(llama_run, tmp_path):
    pages = [write_report(llama_run, out=tmp_path / f"{i}.html").read_bytes() for i in range(2)]
    assert pages[0] == pages[1]


def test_one_training_example_and_scores_without_an_order(saved_bert, datainf, tmp_path):
    rows = [{"text": "to be or not", "label": 1}]
    run = attributed(tmp_path, saved_bert[1], rows, rows, method="ridge")
    datainf("score", run, "--method", "datainf", "--out", run / "datainf")
    found = contents_of(run)
    assert found.part("overview")["agreement"]["spearman"] == [[None, None], [None, None]]
    assert write_report(run).is_file()
