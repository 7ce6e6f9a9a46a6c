"""New queries get the scores that a store of them would have got."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace

import pytest
import torch

from browser import browser, expect, needs_browser, opened
from datainf import load_scores
from datainf.errors import DataError, OptionError
from datainf.report.readers import answers_of
from datainf.report.subject import Subject
from datainf.store import GradientStore, shards
from datainf.viewer import Server
from datainf.viewer.live import LiveContents


def live(run, top=5, *, scored=None):
    contents = LiveContents(Subject.open(run, scored), top)
    contents.load()
    return contents


@pytest.fixture(scope="module")
def contents(llama_run):
    return live(llama_run)


def helpful(contents, row):
    return {r: s for r, s in contents.scores.top_rows(row, 5) if s > 0}


def own_query(contents, row):
    return {name: contents.subject.run.query[row][name] for name in contents.typed.fields}


def test_a_query_of_the_run_gets_its_scores_again(contents, llama_run):
    scores = load_scores(llama_run / "scores.safetensors")
    for row in range(3):
        found = contents.ask(own_query(contents, row))
        for name, largest in (("helpful", True), ("harmful", False)):
            truth = {
                r: s for r, s in scores.top_rows(row, 5, largest=largest) if (s > 0) == largest
            }
            assert dict(map(tuple, found[name])) == pytest.approx(truth, rel=1e-3)
        assert found["loss"] == pytest.approx(float(contents.subject.run.query_losses[row]))


def test_of_every_method(llama_run, bert_run, datainf, tmp_path):
    for method in ("exact", "datainf", "cg", "gradient"):
        out = tmp_path / method
        datainf("score", llama_run, "--method", method, "--normalize", "unit", "--out", out)
        contents = live(llama_run, scored=out)
        found = contents.ask(own_query(contents, 2))
        truth = helpful(contents, 2)
        assert dict(map(tuple, found["helpful"])) == pytest.approx(truth, rel=1e-3)
    contents = live(bert_run)
    assert contents.typed.fields == ("text", "label")
    query = contents.subject.run.query[1]
    found = contents.ask({"text": query["text"], "label": str(query["label"])})
    truth = helpful(contents, 1)
    assert dict(map(tuple, found["helpful"])) == pytest.approx(truth, rel=1e-3)


def test_why_of_a_new_query_sums_to_its_scores(contents):
    asked = contents.ask({"prompt": "to be or", "completion": " not to be"})
    rows = [row for row, _ in asked["helpful"]]
    why = contents.why_of({"asked": asked["asked"], "rows": rows})
    assert set(why) == set(map(str, rows))
    for row, score in asked["helpful"]:
        one = why[str(row)]
        total = one["unit"] * (sum(map(sum, one["streams"])) + one["elsewhere"])
        assert total == pytest.approx(score, rel=0.05)
        assert len(one["read"][0][1]) == len(one["streams"][0])


def test_why_of_the_run_s_queries(contents):
    everything = list(range(len(contents.subject.run.train)))
    why = contents.why_of({"query": 1, "rows": everything})
    assert why == contents.why_of({"query": 1, "rows": everything}), "kept"
    for row, score in enumerate(contents.scores.values[1].tolist()):
        one = why[str(row)]
        total = one["unit"] * (sum(map(sum, one["streams"])) + one["elsewhere"])
        assert total == pytest.approx(score, rel=0.05, abs=2 * one["unit"])


def test_all_training_examples_are_to_be_had(contents):
    n = len(contents.subject.run.train)
    rows = [e["row"] for chunk in range(-(-n // 10)) for e in contents.part(f"train-{chunk}")]
    assert rows == list(range(n))


def test_a_model_writes_to_the_query_that_is_looked_at_alone(llama_run, monkeypatch):
    contents, asked = live(llama_run), []

    def counted(model, examples, rows):
        asked.extend(rows)
        return answers_of(model, examples, rows)

    monkeypatch.setattr("datainf.viewer.live.answers_of", counted)
    queries = contents.part("queries-0")
    assert [row for row, query in enumerate(queries) if "answer" in query] == [0]
    assert asked == []
    told = contents.answer({"query": 4})["answer"]
    (truth,) = contents.models.at(0).answers([contents.subject.run.query[4]])
    assert (told["text"], told["written"]) == (truth.text, True)
    assert contents.answer({"query": 4})["answer"] == told
    assert asked == [4], "once"


def test_of_requests_at_one_time_one_asks_the_model(llama_run, bert_run, monkeypatch):
    asked = []

    def counted(model, examples, rows):
        asked.extend(rows)
        return answers_of(model, examples, rows)

    monkeypatch.setattr("datainf.viewer.live.answers_of", counted)
    for run, ask, rows in (
        (llama_run, lambda one: one.answer({"query": 4}), [4]),
        (bert_run, lambda one: one.listed({"end": "both", "order": "row", "count": 3}), [0, 1, 2]),
    ):
        contents = live(run)
        asked.clear()
        with ThreadPoolExecutor(2) as others:
            with contents.lock:
                both = [others.submit(ask, contents) for _ in range(2)]
                assert not wait(both, timeout=2).done, "both wait for the model"
            first, second = (one.result(timeout=60) for one in both)
        assert first == second
        assert asked == rows


def test_the_overview_of_a_second_tab_loads_no_model(llama_run, monkeypatch):
    """Which would take the place of one that is being read."""
    contents = live(llama_run)
    monkeypatch.setattr(contents.models, "at", lambda _: pytest.fail("it is asked for a model"))
    overview = contents.overview()
    assert (overview["heat"], overview["ask"]) == (True, ("prompt", "completion"))


def test_lists_and_texts_do_not_wait_for_the_model(contents):
    with contents.lock, ThreadPoolExecutor(1) as others:
        for ask in (
            lambda: contents.part("queries-0"),
            lambda: contents.part("train-0"),
            lambda: contents.listed({"query": 1, "end": "both"}),
            lambda: contents.queries.found({"text": "fox"}),
        ):
            assert others.submit(ask).result(timeout=30)


def test_texts_are_whole(contents):
    long = contents.part("train-1")[2]
    assert long["parts"][1] == ["completion", " " + "long " * 20_000]
    assert contents.listed({"end": "both", "text": "long long"})["entries"][0]["example"] == long


def test_queries_are_sought_in_their_whole_texts(contents, bert_run):
    queries = contents.subject.run.query
    for text in ("FOX", "(line 3)", "r8", "gnal", "no such"):
        truth = [
            row for row in range(len(queries))
            if text.lower() in "\n".join([queries.ids[row], queries.where(row),
                                          *queries[row].values()]).lower()
        ]  # fmt: skip
        assert contents.queries.found({"text": text})["rows"] == truth
        assert bool(truth) == (text != "no such")
    assert contents.queries.found({}) == {
        "rows": list(range(7)), "labels": [], "files": ["query.jsonl"]
    }  # fmt: skip
    labelled = LiveContents(Subject.open(bert_run), 5, model=False)
    labelled.insight.class_names = {"1": "Joyful"}
    found = labelled.queries.found({"label": "1"})
    assert (found["rows"], found["labels"]) == ([1, 4], ["0", "1", "2"])
    assert labelled.queries.found({"text": "joyful"})["rows"] == [1, 4]
    assert labelled.queries.found({"file": "other.jsonl"})["rows"] == []


def test_what_was_fitted_is_kept(contents):
    fits = contents.fits[0]
    before = dict(fits._fits)
    contents.ask({"prompt": "once", "completion": " more"})
    assert before
    assert fits._fits == before


@pytest.mark.parametrize("made", ["llama_run", "bert_run"])
def test_no_file_of_the_training_is_opened_for_a_query(made, request, monkeypatch):
    """Nor of the curvature."""
    contents = live(request.getfixturevalue(made))
    run, opened, safe_open = contents.subject.folder, [], shards.safetensors.safe_open
    monkeypatch.setattr(
        shards.safetensors, "safe_open", lambda *a, **b: opened.append(a[0]) or safe_open(*a, **b)
    )
    asked = {"text": "to be or not to be", "label": "1"}
    if made == "llama_run":
        assert (run / "curvature").is_dir()
        asked = {"prompt": "to be or", "completion": " not to be"}
    found = contents.ask(asked)
    contents.why_of({"asked": found["asked"], "rows": [row for row, _ in found["helpful"]]})
    assert not opened
    GradientStore.open(run / "train").ids  # noqa: B018 - which is not kept open
    assert opened
    bare = LiveContents(Subject.open(run), 5, model=False)
    bare.why_of({"query": 0, "rows": [0]})
    opened.clear()
    bare.why_of({"query": 0, "rows": [1]})
    assert {path.parent.name for path in opened} <= {"query"}


def test_as_many_answers_are_kept_as_there_is_room_for(llama_run, monkeypatch):
    contents = live(llama_run)
    monkeypatch.setattr("datainf.viewer.live.available", lambda _: 0)
    for _ in range(2):
        contents.ask({"prompt": "to be or", "completion": " not to be"})
    assert contents.why_of({"asked": 2, "rows": [0]})
    for tell in (contents.why_of, contents.listed):
        with pytest.raises(OptionError, match="ask it again"):
            tell({"asked": 1, "rows": [0]})


def test_what_cannot_be_used_is_said(contents):
    with pytest.raises(DataError, match="completion is missing"):
        contents.ask({"prompt": "a"})


def test_without_a_model_nothing_is_asked(llama_run):
    contents = LiveContents(Subject.open(llama_run), 5, model=False)
    contents.load()
    assert contents.overview()["ask"] is None
    why = contents.why_of({"query": 0, "rows": list(range(5))})
    assert all("streams" not in one for one in why.values())
    assert torch.tensor([one["tensors"][0][1] for one in why.values()]).any()


def test_scores_that_cannot_be_taken_apart_are_still_shown(llama_run, tmp_path):
    """Of an estimator that is not one of ours: no why, no new queries, and that is said."""
    scores = load_scores(llama_run / "scores.safetensors")
    replace(scores, method="my own").save(tmp_path / "scores.safetensors")
    contents, said = LiveContents(Subject.open(llama_run, tmp_path), 5), []
    contents.load(said.append)
    assert "my own is not one of datainf's methods" in said[0]
    overview = contents.overview()
    assert (overview["why"], overview["heat"], overview["ask"]) == (False, False, None)
    assert contents.part("queries-0")[0]["answer"]
    with pytest.raises(OptionError, match="no new queries"):
        contents.ask({"prompt": "a", "completion": "b"})


@needs_browser
def test_a_new_query_in_the_browser(contents):
    import threading

    with Server(contents) as server, browser() as chromium:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with opened(chromium, server.url, refused="status of 400") as page:
            page.wait_for_selector(".card .token")
            page.locator("#search").fill("r8")
            expect(page.locator(".query-row")).to_have_count(1)
            page.locator(".query-row").click()
            expect(page.locator(".query .place code")).to_have_text("r8")
            says = contents.answer({"query": 5})["answer"]["text"]
            says = re.sub(r"[^\t\n -~\xa0-\uffff]", lambda c: f"\\u{ord(c[0]):04x}", says)
            expect(page.locator(".query .answer")).to_contain_text(says)
            page.keyboard.press("4")
            page.locator("#ask-prompt").fill("the quick <b>brown</b>")
            page.locator("#ask-completion").fill(" fox jumps")
            page.locator(".ask .go").click()
            page.wait_for_selector(".page .card .token")
            assert page.locator(".card").count() > 0
            expect(page.locator(".query").last).to_contain_text("<b>brown</b>")
            page.locator("#ask-completion").fill("")
            page.locator("#ask-completion").press("Control+Enter")
            page.wait_for_selector(".failed")
            expect(page.locator(".failed")).to_contain_text("completion is empty")
        server.shutdown()


@needs_browser
def test_the_next_are_fetched_as_they_are_scrolled_to(bert_run):
    """More than a page of them, sought among all, in both tabs."""
    import threading

    contents = live(bert_run)
    values, train = contents.scores.values[0], contents.subject.run.train
    with Server(contents) as server, browser() as chromium:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with opened(chromium, server.url) as page:
            page.wait_for_selector(".card .token")
            side = page.locator(".column.helps .card")
            for _ in range(2):
                page.locator(".detail").evaluate("one => one.scrollTop = one.scrollHeight")
            expect(side).to_have_count(int((values > 0).sum()))
            rows = [int(row) for row in side.evaluate_all("all => all.map(e => e.dataset.row)")]
            assert rows == [
                row for row, score in contents.scores.top_rows(0, len(train)) if score > 0
            ]
            expect(page.locator(".card .tensors").last).to_be_attached()
            model = contents.models.at(0)
            said = page.locator(f".card[data-row='{rows[-1]}'] .labels .label:nth-child(2) .value")
            (answer,) = model.answers([train[rows[-1]]])
            expect(said).to_have_text(answer.text)
            page.locator(".toolbar input[type=search]").fill("script")
            hostile = {row for row in range(len(train)) if "script" in train[row]["text"].lower()}
            expect(page.locator(".card")).to_have_count(len(hostile))
            page.locator("[data-tab=training]").click()
            body = page.locator("table.examples tbody tr")
            expect(body).to_have_count(25)
            while page.locator("#panel-training .next").is_visible():
                page.locator(".page").evaluate("one => one.scrollTop = one.scrollHeight")
                page.wait_for_timeout(50)
            expect(body).to_have_count(len(train))
            page.locator("th button", has_text="row").click()
            expect(body.first).to_have_attribute("data-row", "0")
        server.shutdown()


@needs_browser
def test_a_server_that_is_gone_is_said(llama_run):
    import threading

    few = LiveContents(Subject.open(llama_run), 1, model=False)
    with browser() as chromium, Server(few) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with opened(chromium, server.url, refused="ERR_CONNECTION_REFUSED") as page:
            expect(page.locator(".main > [role=status]")).to_contain_text("helpful")
            reasons = page.locator(".card .tensors")  # and then nothing more is asked
            expect(reasons).to_have_count(page.locator(".card").count())
            server.shutdown()
            server.server_close()
            page.keyboard.press("2")
            page.wait_for_selector(".toast")
            page.locator(".toast button").click()
            expect(page.locator(".toast")).to_have_count(0)
