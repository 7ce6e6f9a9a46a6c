"""The review page knows what the model calls the data's labels."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from browser import browser, expect, needs_browser, opened, soon
from datainf import tasks
from datainf.applications.mislabeled import mislabeled
from datainf.report.readers import class_names, labels_said
from datainf.report.review import write_review
from datainf.report.subject import Subject
from datainf.tasks.labels import Labels


@pytest.fixture(scope="module")
def review_page(bert_run, tmp_path_factory):
    subject = Subject.open(bert_run)
    rows = range(len(subject.run.train))
    found = mislabeled(subject.scores, subject.stores.train)
    path = tmp_path_factory.mktemp("review") / "review.html"
    return write_review(subject, found, labels_said(subject, rows), path, len(rows)).as_uri()


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
        options = page.locator(".toolbar select").nth(1).locator("option").all_inner_texts()
        assert options == ["all", "0 · LABEL_0", "1 · LABEL_1", "2 · LABEL_2"]


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
