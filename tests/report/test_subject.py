"""What a page takes for the run's own: its model, its other scores, and the files beside it."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import TEXTS, attributed, write_rows
from datainf import Scores, load_scores
from datainf.errors import OptionError, StoreError, StoreMismatchError
from datainf.report import subject as subject_module
from datainf.report import write_report
from datainf.report.subject import Subject
from datainf.scores import End, TopScores
from datainf.viewer.live import LiveContents

ROWS = [{"text": text, "label": i % 2} for i, text in enumerate(TEXTS)]


@pytest.fixture
def own(saved_bert, tmp_path):
    """A run of an adapter that may be changed: (run, adapter)."""
    adapter = tmp_path / "adapter"
    shutil.copytree(saved_bert[1], adapter)
    return attributed(tmp_path / "own", adapter, ROWS, ROWS[:3], method="datainf"), adapter


def test_a_model_that_is_another_by_now_is_not_asked(own, tmp_path):
    run, adapter = own
    weights = adapter / "adapter_model.safetensors"
    tensors = load_file(weights)
    save_file({name: 2 * tensor for name, tensor in tensors.items()}, weights)
    said = []
    page = write_report(run, out=tmp_path / "page.html", say=said.append)
    assert page.is_file(), "the scores are still worth a page"
    assert "the adapter is not what it was" in " ".join(said)
    with pytest.raises(StoreMismatchError, match="the adapter is not what it was") as raised:
        LiveContents(Subject.open(run), 3).load()
    assert "--no-model" in str(raised.value.remedy)
    save_file(tensors, weights)
    LiveContents(Subject.open(run), 3).load()


def test_a_base_that_is_another_by_now_is_not_asked(saved_bert, tmp_path):
    base, adapter = (tmp_path / name for name in ("base", "adapter"))
    shutil.copytree(saved_bert[0], base)
    shutil.copytree(saved_bert[1], adapter)
    run = attributed(tmp_path / "own", adapter, ROWS, ROWS[:3], method="datainf", model=str(base))
    weights = base / "model.safetensors"
    tensors = load_file(weights)
    name = next(name for name in tensors if "word_embeddings" in name)
    save_file(tensors | {name: tensors[name] + 1e-3}, weights, metadata={"format": "pt"})
    with pytest.raises(StoreMismatchError, match="the base model is not what it was"):
        LiveContents(Subject.open(run), 3).load()


def test_only_an_earlier_page_is_written_over(own, tmp_path, datainf):
    run, adapter = own
    datainf("score", run, "--method", "exact", "--out", run / "exact")
    for path in (
        adapter / "adapter_config.json", run / "provenance.jsonl", run / "run.yaml",
        run / "exact" / "scores.safetensors", run / "train" / "index.json",
    ):  # fmt: skip
        before = path.read_bytes()
        with pytest.raises(OptionError, match=r"nothing that this command|is the run's own"):
            write_report(run, out=path, model=False)
        assert path.read_bytes() == before
    page = tmp_path / "a" / "new" / "folder" / "page.html"
    for _ in range(2):
        assert write_report(run, out=page, model=False) == page


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_only_an_earlier_table_of_suspects_is_written_over(own, tmp_path, datainf, ending):
    run, path = own[0], tmp_path / f"suspects.{ending}"
    command = ("mislabeled", run, "--no-review", "--no-model", "--out", path)
    for _ in range(2):
        assert datainf(*command)[0] == 0
    path.write_text('id,text\n1,"not ours"\n')
    code, _, err = datainf(*command)
    assert code == 1
    assert "nothing that this command has written" in " ".join(err.split())
    assert path.read_text() == 'id,text\n1,"not ours"\n'


def test_scores_of_a_person_s_own_have_a_page_without_reasons(own, tmp_path):
    run, _ = own
    scores = load_scores(run / "scores.safetensors")
    for place, settings in enumerate(({}, dict(scores.settings) | {"note": "mine"})):
        path = tmp_path / str(place) / "scores.safetensors"
        Scores(scores.values, scores.query_ids, scores.train_ids, "exact", settings).save(path)
        said = []
        write_report(run, scored=path.parent, model=False, say=said.append)
        assert "do not say how they were made" in " ".join(said)


def with_a_score(scores, value, row, column, kind):
    """A person's own, of which one is another: in the matrix, at an end, or a mean."""
    told = (scores.query_ids, scores.train_ids, "mine")
    if kind == "matrix":
        values = scores.values.clone()
        values[row, column] = value
        return Scores(values, *told)
    ranks = torch.sort(scores.values, dim=1, descending=True, stable=True).indices.int()
    places = torch.arange(2).int().expand(len(ranks), 2).contiguous()
    ends = [
        End(rows.contiguous(), scores.values.gather(1, rows.long()), at.contiguous())
        for rows, at in ((ranks[:, :2], places), (ranks.flip(1)[:, :2], len(ranks[0]) - 1 - places))
    ]
    mean = scores.means().clone()
    if kind == "mean":
        mean[column] = value
    else:
        ends[0].rows[row, 1], ends[0].scores[row, 1] = column, value
    return TopScores(*ends, mean, *told)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("kind", ["matrix", "end", "mean"])
def test_scores_that_are_not_finite_are_refused(own, tmp_path, monkeypatch, kind, value, datainf):
    """By name, before anything is made of them; whatever chunk of the matrix they are in."""
    run, _ = own
    scores = load_scores(run / "scores.safetensors")
    monkeypatch.setattr(subject_module, "TOGETHER", 2 * len(scores.train_ids))
    with_a_score(scores, 0.0, 2, 4, kind).save(tmp_path / "scores.safetensors")
    assert Subject.open(run, tmp_path).scores.method == "mine"
    with_a_score(scores, value, 2, 4, kind).save(tmp_path / "scores.safetensors")
    of = "the mean over all queries" if kind == "mean" else "the query 2"
    with pytest.raises(StoreError, match=f"training example 4 for {of} is NaN or inf") as raised:
        Subject.open(run, tmp_path)
    assert str(tmp_path / "scores.safetensors") in raised.value.message
    assert "0 where there is no score" in raised.value.remedy
    code, _, err = datainf("report", run, "--scores", tmp_path, "--no-model")
    assert code == 1
    assert "is NaN or infinite" in " ".join(err.split())


def test_the_first_with_each_label(own):
    subject = Subject.open(own[0])
    assert subject.one_of_each_label(range(len(ROWS))) == [0, 1]
    assert subject.one_of_each_label([3, 2, 1]) == [3, 2]


def test_scores_of_other_queries_are_not_compared(own, tmp_path, datainf):
    """Though their ids, which are rows, are the same."""
    run, _ = own
    other = write_rows(tmp_path / "other.jsonl", ROWS[3:6])
    datainf("collect", run, "--data", other, "--out", run / "asked")
    datainf("score", run, "--query", run / "asked", "--method", "exact", "--out", run / "other")
    datainf("score", run, "--method", "exact", "--out", run / "exact")
    assert list(Subject.open(run).others) == ["exact"]
    assert list(Subject.open(run, run / "other").others) == []
    assert list(Subject.open(run, run / "exact").others) == ["the run's own"]


def test_no_scores_are_lost_where_folders_have_one_name(own, tmp_path, datainf):
    run = tmp_path / "gradient"
    own[0].rename(run)
    for name in ("gradient", "exact"):
        datainf("score", run, "--method", name, "--out", run / name)
    others = Subject.open(run, run / "exact").others
    assert {name: scores.method for name, scores in others.items()} == {
        "the run's own": "datainf", "gradient": "gradient",
    }  # fmt: skip
    assert all(torch.isfinite(scores.values).all() for scores in others.values())
