"""The review page knows what the model calls the data's labels."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from browser import browser, expect, needs_browser, opened, soon
from conftest import TEXTS, attributed, save_model, write_rows
from datainf import tasks
from datainf.applications.mislabeled import mislabeled
from datainf.applications.select import Decided
from datainf.data import load
from datainf.errors import DataError
from datainf.report import review, write_report
from datainf.report.readers import Said, class_names, labels_said
from datainf.report.review import read_decisions, write_review
from datainf.report.subject import Subject
from datainf.tasks.labels import Labels


def review_of(run, folder, *, asks_model=True):
    """The address of the page of a run, in a folder, and the run's training data."""
    subject = Subject.open(run)
    rows = range(len(subject.run.train))
    found = mislabeled(subject.scores, subject.stores.train)
    said = labels_said(subject, rows) if asks_model else Said()
    path = write_review(subject, found, said, folder / "review.html", len(rows))
    return path.as_uri(), subject.run.train


@pytest.fixture(scope="module")
def review_page(bert_run, tmp_path_factory):
    return review_of(bert_run, tmp_path_factory.mktemp("review"))[0]


def downloaded(page, folder):
    """The file of decisions that the page gives."""
    with page.expect_download() as started:
        page.locator("#download").click()
    path = folder / "decisions.json"
    started.value.save_as(path)
    return path


@needs_browser
def test_what_the_model_says_becomes_the_data_s_label(review_page):
    with browser() as chromium, opened(chromium, review_page) as page:
        said = page.locator(".said").first
        name = said.inner_text().removeprefix("it is ")
        card = page.locator(".suspect", has=page.locator(".said")).first
        assert name in card.locator(".label.wrong").inner_text()
        said.click()
        expect(card).to_have_attribute("data-decision", "relabel")
        assert name == f"LABEL_{card.locator('.relabel').input_value()}"
        expect(said).to_have_attribute("aria-pressed", "true")
        card.locator("[data-decide=keep]").click()
        expect(said).to_have_attribute("aria-pressed", "false")
        options = page.locator(".toolbar select").nth(1).locator("option").all_inner_texts()
        assert options == ["all", "0 · LABEL_0", "1 · LABEL_1", "2 · LABEL_2"]


BIG = 1234567890123456789


@needs_browser
def test_ids_that_a_browser_would_round(saved_bert, tmp_path):
    rows = [{"id": BIG + i, "text": text, "label": i % 3} for i, text in enumerate(TEXTS)]
    run = attributed(tmp_path, saved_bert[1], rows, rows[:3])
    address, train = review_of(run, tmp_path, asks_model=False)
    with browser() as chromium, opened(chromium, address, accept_downloads=True) as page:
        page.locator("[data-row='3'] [data-decide=drop]").click()
        path = downloaded(page, tmp_path)
    assert json.loads(path.read_text())["decisions"] == [
        {"row": 3, "id": str(BIG + 3), "decision": "drop"}
    ]
    assert read_decisions(path, train) == {3: Decided("drop")}


@pytest.mark.parametrize(("own", "told", "same"), [
    (BIG, str(BIG), True), (BIG, BIG, True), (BIG, 1234567890123456800, True),
    (BIG, str(BIG + 1), False), (BIG, 1234567890123460000, False), (7, 7, True), (7, "7", True),
    (7, 8, False), (1, True, False), ("r7", "r7", True), ("r7", 7, False), ("7", 7, True),
    (7, None, False), (7, [7], False), (10**400, 1e300, False),
])  # fmt: skip
def test_ids_of_a_file_of_decisions(tmp_path, own, told, same):
    train = load(write_rows(tmp_path / "rows.jsonl", [{"id": own, "text": "a", "label": 0}]))
    path = tmp_path / "decisions.json"
    entry = {"row": 0, "id": told, "decision": "keep"}
    path.write_text(json.dumps({"digest": train.digest, "decisions": [entry]}))
    if same:
        assert read_decisions(path, train) == {0: Decided("keep")}
    else:
        with pytest.raises(DataError, match="has the id"):
            read_decisions(path, train)


def test_a_file_without_a_decision_is_named(tmp_path):
    train = load(write_rows(tmp_path / "rows.jsonl", [{"text": "a", "label": 0}]))
    path = tmp_path / "decisions.json"
    path.write_text(json.dumps({"digest": train.digest, "decisions": []}))
    with pytest.raises(DataError, match=r"decisions\.json holds no decision\b"):
        read_decisions(path, train)


def test_a_file_with_a_mark_of_its_order_is_read(tmp_path):
    train = load(write_rows(tmp_path / "rows.jsonl", [{"text": "a", "label": 0}]))
    path, entry = tmp_path / "decisions.json", {"row": 0, "decision": "keep"}
    path.write_text(json.dumps({"digest": train.digest, "decisions": [entry]}), "utf-8-sig")
    assert read_decisions(path, train) == {0: Decided("keep")}


@needs_browser
def test_only_decisions_of_the_run_are_downloaded(bert_run, tmp_path):
    """The browser may know more of the same data, by the page of a run of more rows of them."""
    address, train = review_of(bert_run, tmp_path, asks_model=False)
    with browser() as chromium, opened(chromium, address, accept_downloads=True) as page:
        expect(page.locator("#download")).to_be_disabled()
        page.locator("[data-row='3'] [data-decide=drop]").click()
        expect(page.locator("#download")).to_be_enabled()
        more = [[3, {"decision": "drop"}], [len(train), {"decision": "drop"}]]
        page.evaluate("([key, value]) => localStorage.setItem(key, value)",
                      [f"datainf-review-{train.digest}", json.dumps(more)])  # fmt: skip
        page.reload()
        page.wait_for_selector("body[data-ready]")
        expect(page.locator(".counted")).to_contain_text("1 to drop")
        path = downloaded(page, tmp_path)
        page.locator("[data-row='3'] [data-decide=drop]").click()
        expect(page.locator("#download")).to_be_disabled()
    assert read_decisions(path, train) == {3: Decided("drop")}


class Rows(list):
    columns = ("text", "label")


@needs_browser
def test_a_label_that_the_data_do_not_have_is_not_taken(review_page):
    with browser() as chromium, opened(chromium, review_page) as page:
        card = page.locator(".suspect").first
        for label, taken in (("9", ""), ("2", "relabel"), ("", "")):
            card.locator(".relabel").fill(label)
            card.locator(".relabel").press("Enter")
            expect(card).to_have_attribute("data-decision", taken)
            expect(page.locator(".relabel:invalid")).to_have_count(int(label == "9"))


def decided(page):
    """The decisions of the cards, in the order that they are shown."""
    return page.locator(".suspect").evaluate_all("all => all.map(one => one.dataset.decision)")


def with_decisions(page, **known):
    """Those cards decided as is said ("card4"), and no other."""
    count = page.locator(".suspect").count()
    truth = [known.get(f"card{place}", "") for place in range(count)]

    def check():
        assert decided(page) == truth

    soon(page, check)


@needs_browser
def test_keys_decide_the_card_that_was_clicked_in(review_page):
    with browser() as chromium, opened(chromium, review_page) as page:
        cards = page.locator(".suspect")
        page.keyboard.press("d")
        with_decisions(page)
        expect(page.locator("[aria-current=true]")).to_have_count(0)
        cards.nth(4).locator("[data-decide=keep]").click()
        expect(page.locator("[aria-current=true]")).to_have_count(1)
        assert "solid" in cards.nth(4).evaluate("one => getComputedStyle(one).outlineStyle")
        assert cards.nth(0).evaluate("one => getComputedStyle(one).outlineStyle") == "none"
        page.keyboard.press("d")
        with_decisions(page, card4="drop")
        cards.nth(5).locator("summary").click()
        page.keyboard.press("d")
        with_decisions(page, card4="drop", card5="drop")
        cards.nth(2).locator("[data-decide=drop]").click()
        page.keyboard.press("u")
        with_decisions(page, card4="drop", card5="drop")
        page.keyboard.press("j")
        page.keyboard.press("e")
        with_decisions(page, card3="keep", card4="drop", card5="drop")
        page.locator(".toolbar select").first.select_option("row")
        page.locator("[aria-current=true]").scroll_into_view_if_needed()
        page.locator("#theme").click()
        page.keyboard.press("u")
        expect(page.locator(".counted")).to_contain_text("2 to drop, 0 to relabel, 0 to keep")


@needs_browser
def test_keys_decide_no_card_that_is_out_of_sight(review_page):
    with browser() as chromium, opened(chromium, review_page) as page:
        cards = page.locator(".suspect")
        cards.nth(1).locator("[data-decide=keep]").click()
        cards.last.scroll_into_view_if_needed()
        expect(cards.nth(1)).not_to_be_in_viewport()
        page.keyboard.press("d")
        expect(cards.nth(1)).to_be_in_viewport()
        with_decisions(page, card1="keep")
        page.keyboard.press("d")
        with_decisions(page, card1="drop")


@needs_browser
def test_keys_do_nothing_behind_a_dialog(review_page):
    with browser() as chromium, opened(chromium, review_page) as page:
        cards, help_box = page.locator(".suspect"), page.locator("dialog.help")
        cards.nth(2).locator(".text").click()
        page.keyboard.press("?")
        expect(help_box).to_be_visible()
        for key in "ders/tj":
            page.keyboard.press(key)
        expect(help_box).to_be_visible()
        assert page.locator("html").get_attribute("data-theme") is None
        with_decisions(page)
        page.keyboard.press("Escape")
        expect(help_box).to_be_hidden()
        page.keyboard.press("e")
        with_decisions(page, card2="keep")


def take(card, label):
    card.locator(".relabel").fill(label)
    card.locator(".relabel").press("Enter")


@needs_browser
def test_a_label_is_taken_by_its_name(review_page):
    with browser() as chromium, opened(chromium, review_page) as page:
        card = page.locator(".suspect").first
        take(card, "LABEL_1")
        expect(card).to_have_attribute("data-decision", "relabel")
        expect(card.locator(".relabel")).to_have_value("1")
        for again in ("LABEL_1", " 1 "):  # another spelling, which a field tells of as a change
            take(card, again)
            expect(card.locator(".relabel")).to_have_value("1")
            expect(card).to_have_attribute("data-decision", "relabel")
        take(card, "")
        expect(card).to_have_attribute("data-decision", "")
        take(card, "LABEL_1")
        take(card, "LABEL_3")
        expect(page.locator(".relabel:invalid")).to_have_count(1)
        expect(card.locator(".relabel")).to_be_focused()
        card.locator("[data-decide=keep]").click()
        expect(card).to_have_attribute("data-decision", "keep")
        expect(page.locator(".relabel:invalid")).to_have_count(0)


@needs_browser
def test_escape_leaves_a_label_as_it_was(review_page):
    with browser() as chromium, opened(chromium, review_page) as page:
        card = page.locator(".suspect").nth(1)
        field = card.locator(".relabel")
        for before, decision in (("", ""), ("2", "relabel")):
            take(card, before)
            for typed in ("1", "none such"):
                field.click()
                field.fill("")
                page.keyboard.type(typed)
                page.keyboard.press("Escape")
                expect(field).to_have_value(before)
                expect(card).to_have_attribute("data-decision", decision)
                expect(page.locator(".relabel:invalid")).to_have_count(0)
                expect(card).to_be_focused()
        page.keyboard.press("d")
        with_decisions(page, card1="drop")
        page.keyboard.press("r")
        page.keyboard.type("1")
        page.keyboard.press("Enter")
        with_decisions(page, card1="relabel")
        page.keyboard.press("j")
        page.keyboard.press("d")
        with_decisions(page, card1="relabel", card2="drop")


@needs_browser
def test_a_label_is_held_against_more_than_are_offered(bert_run, tmp_path, monkeypatch):
    monkeypatch.setattr(review, "MOST_LABELS", 2)
    address, train = review_of(bert_run, tmp_path, asks_model=False)
    with browser() as chromium, opened(chromium, address, accept_downloads=True) as page:
        card = page.locator(".suspect[data-row='3']")
        expect(page.locator("#labels")).to_have_count(0)
        take(card, "11")
        expect(page.locator(".relabel:invalid")).to_have_count(1)
        expect(card).to_have_attribute("data-decision", "")
        take(card, "2")
        expect(card).to_have_attribute("data-decision", "relabel")
        path = downloaded(page, tmp_path)
    assert read_decisions(path, train) == {3: Decided("relabel", "2")}


@pytest.fixture(scope="module")
def number_run(tokenizer, tmp_path_factory):
    """A regression."""
    folder = tmp_path_factory.mktemp("numbers")
    adapter = save_model("bert", folder, tokenizer, num_labels=1)[1]
    rows = [{"text": text, "label": 0.37 * i} for i, text in enumerate(TEXTS)]
    return attributed(folder, adapter, rows, rows[:3])


@needs_browser
@pytest.mark.parametrize("most", [2, 1000])
def test_any_number_is_taken_where_labels_are_numbers(number_run, tmp_path, monkeypatch, most):
    monkeypatch.setattr(review, "MOST_LABELS", most)
    address, train = review_of(number_run, tmp_path)
    with browser() as chromium, opened(chromium, address, accept_downloads=True) as page:
        card = page.locator(".suspect[data-row='3']")
        for label in ("0,4", "good", "1e999", "0x10", "-"):
            take(card, label)
            expect(page.locator(".relabel:invalid")).to_have_count(1)
            expect(card).to_have_attribute("data-decision", "")
        take(card, " 0.4 ")
        expect(card).to_have_attribute("data-decision", "relabel")
        expect(page.locator(".relabel:invalid")).to_have_count(0)
        path = downloaded(page, tmp_path)
    decided = read_decisions(path, train)
    assert decided == {3: Decided("relabel", "0.4")}
    written = train.write([3], tmp_path / "part", {row: one.label for row, one in decided.items()})
    assert json.loads(written.read_text())["label"] == 0.4


class SomeUnlabelled:
    """Training data, of which some rows have no label."""

    def __init__(self, own, rows):
        self.own, self.rows = own, rows

    def __getattr__(self, name):
        return getattr(self.own, name)

    def __len__(self):
        return len(self.own)

    def __getitem__(self, row):
        return {**self.own[row], "label": None} if row in self.rows else self.own[row]


def test_no_label_is_none_to_filter_by_or_to_give(bert_run):
    subject = Subject.open(bert_run)
    found = mislabeled(subject.scores, subject.stores.train)
    train = SomeUnlabelled(subject.run.train, {0, 4})
    subject = replace(subject, run=replace(subject.run, train=train))
    parts = dict(review._Contents(subject, found, Said(), len(train)).parts())
    assert parts["overview"]["labels"] == ["0", "1", "2"]
    examples = [one for name, part in parts.items() if name != "overview" for one in part]
    assert {one["row"] for one in examples if "label" not in one} == {0, 4}


def test_labels_are_in_the_order_of_numbers():
    labels = ["10", "b", "2", "-1", "1.5", "a"]
    assert sorted(labels, key=review._by_number) == ["-1", "1.5", "2", "10", "a", "b"]


@needs_browser
def test_keys_of_the_report_do_nothing_behind_a_dialog(bert_run, tmp_path):
    address = write_report(bert_run, out=tmp_path / "report.html", top=5).as_uri()
    with browser() as chromium, opened(chromium, address) as page:
        page.keyboard.press("?")
        expect(page.locator("dialog.help")).to_be_visible()
        page.keyboard.press("3")
        page.keyboard.press("t")
        page.keyboard.press("Escape")
        expect(page.locator("dialog.help")).to_be_hidden()
        assert page.locator("html").get_attribute("data-theme") is None
        expect(page.locator("[data-tab=queries]")).to_have_attribute("aria-selected", "true")
        page.keyboard.press("3")
        expect(page.locator("[data-tab=overview]")).to_have_attribute("aria-selected", "true")


@needs_browser
def test_what_is_decided_is_in_one_line_on_a_phone(review_page):
    phone = {"viewport": {"width": 390, "height": 844}}
    with browser() as chromium, opened(chromium, review_page, **phone) as page:
        header = page.locator(".suspect", has=page.locator(".said")).first.locator("header")
        tops = header.locator(".decide > *").evaluate_all(
            "all => all.map(one => Math.round(one.getBoundingClientRect().top))"
        )
        assert len(tops) == 4
        assert len(set(tops)) == 1
        title = header.locator("strong").bounding_box()
        assert title["height"] < 30, "one line too"


@needs_browser
def test_two_tabs_decide_together(review_page):
    with browser() as chromium, opened(chromium, review_page) as page:
        other = page.context.new_page()
        other.goto(review_page)
        other.wait_for_selector("body[data-ready]")
        page.locator("[data-decide=drop]").nth(0).click()
        expect(other.locator(".suspect").nth(0)).to_have_attribute("data-decision", "drop")
        other.locator("[data-decide=keep]").nth(1).click()
        expect(page.locator(".suspect").nth(1)).to_have_attribute("data-decision", "keep")
        expect(page.locator(".counted")).to_contain_text("1 to drop, 0 to relabel, 1 to keep")


def names(labels, **known):
    task = tasks.SequenceClassification(SimpleNamespace(), labels=Labels(**known))
    rows = Rows({"text": "a", "label": label} for label in labels)
    return class_names(task, rows, range(len(rows)))


def test_names_of_classes():
    shifted = {"1": 0, "2": 1, "3": 2}  # numbers are indices, whatever the classes are called
    assert names([1, 0, 1], label2id=shifted) == {"1": "2", "0": "1"}
    assert names(["2", "3"], label2id=shifted) == {"2": "2", "3": "3"}
    assert names([0, 2], label2id={}) == {"0": "0", "2": "2"}


def test_several_labels_and_numbers_have_no_names():
    assert names([[0, 1]], problem="multi_label_classification", count=2) == {}
    assert names([0.5], problem="regression", count=1) == {}


def test_a_share_that_is_not_all_is_not_rounded_to_it():
    assert [review._cut(share) for share in (0.99996, 0.89996, 0.5, 1.0)] == [
        0.9999, 0.8999, 0.5, 1.0,
    ]  # fmt: skip
