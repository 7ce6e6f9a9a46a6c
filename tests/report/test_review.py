"""The review page knows what the model calls the data's labels."""

from __future__ import annotations

import pytest

from browser import browser, needs_browser, opened
from datainf.applications.mislabeled import mislabeled
from datainf.report.examples import class_names
from datainf.report.readers import label_answers_of
from datainf.report.review import write_review
from datainf.report.subject import Subject
from datainf.tasks.answers import Answer


@pytest.fixture(scope="module")
def review_page(bert_run, tmp_path_factory):
    subject = Subject.open(bert_run)
    rows = range(len(subject.run.train))
    found = mislabeled(subject.scores, subject.stores.train)
    path = tmp_path_factory.mktemp("review") / "review.html"
    return write_review(subject, found, label_answers_of(subject, rows), path, len(rows)).as_uri()


@needs_browser
def test_what_the_model_says_becomes_the_data_s_label(review_page):
    with browser() as chromium, opened(chromium, review_page) as page:
        said = page.locator(".said").first
        name = said.inner_text().removeprefix("it is ")
        card = page.locator(".suspect", has=page.locator(".said")).first
        assert name in card.locator(".label.wrong").inner_text()
        said.click()
        assert card.get_attribute("data-decision") == "relabel"
        assert name == f"LABEL_{card.locator('.relabel').input_value()}"
        options = page.locator(".toolbar select").nth(1).locator("option").all_inner_texts()
        assert options == ["all", "0 · LABEL_0", "1 · LABEL_1", "2 · LABEL_2"]


def test_names_of_classes():
    rows = [{"label": 1}, {"label": "spam"}, {"label": [0, 1]}, {"label": 0.5}, {}]
    answers = {
        0: Answer("no", "yes", 0.7, False),
        1: Answer("spam", "spam", 0.9, True),
        2: Answer("a", "a, b", None, False),
        3: Answer("0.4", "0.50"),
    }
    assert class_names(answers, rows) == {"1": "yes"}
