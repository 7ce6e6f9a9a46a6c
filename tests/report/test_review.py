"""The review page knows what the model calls the data's labels."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from browser import browser, expect, needs_browser, opened
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
