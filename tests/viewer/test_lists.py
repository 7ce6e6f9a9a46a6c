"""Pages of training examples, held against sorting and searching all of them by hand."""

from __future__ import annotations

import numpy as np
import pytest

from datainf.report.subject import Subject
from datainf.viewer import lists
from datainf.viewer.lists import MOST
from datainf.viewer.live import LiveContents


def contents_of(run, scored=None):
    return LiveContents(Subject.open(run, scored), 3, model=False)


@pytest.fixture(scope="module")
def contents(bert_run):
    return contents_of(bert_run)


def everything(contents, **sent):
    """All pages of a list, by a few at a time."""
    found, total = [], 1
    while len(found) < total:
        page = contents.listed(sent | {"start": len(found), "count": 7})
        total = page["total"]
        found += page["entries"]
        assert len(page["entries"]) in (7, total - len(found) + len(page["entries"]))
    return found


def rows(found):
    return [entry["row"] for entry in found]


@pytest.mark.parametrize("query", [0, 2, None])
def test_an_end_is_the_whole_order(contents, query):
    values = contents.scores.values.double().numpy()
    values = values.mean(0) if query is None else values[query]
    order = np.argsort(-values, kind="stable")
    for end, truth in (
        ("helpful", [row for row in order if values[row] > 0]),
        ("harmful", [row for row in np.argsort(values, kind="stable") if values[row] < 0]),
        ("both", list(order)),
    ):
        found = everything(contents, query=query, end=end, descending=end != "harmful")
        assert rows(found) == truth
        assert [entry["rank"] for entry in found] == list(range(len(truth)))
        assert [entry["score"] for entry in found] == pytest.approx(values[truth], rel=1e-5)
        assert all(entry["example"]["row"] == entry["row"] for entry in found)


@pytest.mark.parametrize("order", ["loss", "row", "helps", "harms"])
@pytest.mark.parametrize("descending", [True, False])
def test_other_orders(contents, order, descending):
    n = len(contents.subject.run.train)
    ends = contents.ends
    key = {
        "loss": np.array(contents.subject.run.train_losses), "row": np.arange(n),
        "helps": np.array([sum(row in dict(h) for h, _ in ends) for row in range(n)]),
        "harms": np.array([sum(row in dict(h) for _, h in ends) for row in range(n)]),
    }[order]  # fmt: skip
    found = everything(contents, end="both", order=order, descending=descending)
    assert rows(found) == sorted(range(n), key=lambda row: -key[row] if descending else key[row])
    if order in ("helps", "harms"):
        assert [entry[order] for entry in found] == key[rows(found)].tolist()
        assert key.any()


def test_what_is_sought_is_sought_in_all_and_keeps_its_rank(contents):
    train = contents.subject.run.train
    full = everything(contents, query=1, end="helpful", descending=True)
    word = train[full[-1]["row"]]["text"].split()[0].upper()
    found = contents.listed(
        {"query": 1, "end": "helpful", "descending": True, "text": word, "count": MOST}
    )
    truth = [e for e in full if word.lower() in train[e["row"]]["text"].lower()]
    assert found["entries"] == truth
    assert (found["total"], found["of"]) == (len(truth), len(full))
    assert truth[-1]["rank"] == len(full) - 1, "beyond what a page of the run would show"
    by_label = everything(contents, query=1, end="helpful", descending=True, label="2")
    assert rows(by_label) == [e["row"] for e in full if train[e["row"]]["label"] == 2]
    assert contents.listed({"end": "both", "file": "train.jsonl"})["total"] == len(train)
    assert contents.listed({"end": "both", "file": "other.jsonl"})["entries"] == []


def test_an_example_is_found_by_its_place_and_by_what_its_class_is_called(bert_run, monkeypatch):
    monkeypatch.setattr(lists, "SEARCHED", 100)  # most texts are not kept
    contents = contents_of(bert_run)
    contents.insight.class_names = {"1": "Joyful"}
    train = contents.subject.run.train
    for _ in range(2):
        assert rows(contents.listed({"end": "both", "text": "(line 3)"})["entries"]) == [2]
        found = everything(contents, end="both", order="row", text="joyful")
        assert rows(found) == [row for row in range(len(train)) if train[row]["label"] == 1]
        contents.lists._found.clear()
    assert sum(map(len, contents.lists._texts.values())) <= 100


def test_of_scores_that_are_ends_alone_no_more_is_told(bert_run, datainf, tmp_path):
    datainf("score", bert_run, "--keep", "2", "--out", tmp_path / "ends")
    ends, full = contents_of(bert_run, tmp_path / "ends"), contents_of(bert_run)
    for end in ("helpful", "harmful"):
        sent = {"query": 1, "end": end, "descending": end == "helpful"}
        found, truth = (everything(one, **sent) for one in (ends, full))
        assert rows(found) == rows(truth)[:2]
        assert [e["score"] for e in found] == pytest.approx([e["score"] for e in truth[:2]])
    means = {"end": "both", "descending": True}
    assert rows(everything(ends, **means)) == rows(everything(full, **means))
