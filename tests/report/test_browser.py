"""The page as a person meets it, in a browser."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from browser import browser, expect, needs_browser, opened, soon
from conftest import HOSTILE, TEXTS, attributed
from datainf import load_scores
from datainf.report import contents, examples, write_report
from datainf.report.readers import Models, answers_of
from datainf.report.subject import Subject

pytestmark = needs_browser


@pytest.fixture(scope="module")
def chromium():
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def llama_page(llama_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    return write_report(llama_run, out=path, top=5).as_uri()


@pytest.fixture(scope="module")
def bert_page(bert_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    return write_report(bert_run, out=path, top=5).as_uri()


def number(text):
    return float(text.replace("−", "-").replace("+", ""))


def scores_of(page, kind):
    return list(map(number, page.locator(f".column.{kind} .card .score").all_inner_texts()))


def test_the_first_query_is_shown_with_its_scores(chromium, llama_page, llama_run):
    scores = load_scores(llama_run / "scores.safetensors")
    with opened(chromium, llama_page) as page:
        expect(page.locator(".query-row")).to_have_count(7)
        for kind, largest in (("helps", True), ("harms", False)):
            found = [score for _, score in scores.top_rows(0, 5, largest=largest)]
            truth = [score for score in found if (score > 0) == largest]
            assert scores_of(page, kind) == pytest.approx(truth, rel=6e-3)
        assert page.locator(".query .place code").inner_text() == str(scores.query_ids[0])
        assert "the model says" in page.locator(".query").inner_text()


def test_search_and_order(chromium, llama_page):
    with opened(chromium, llama_page) as page:
        page.keyboard.press("/")
        page.keyboard.type("r5")
        expect(page.locator(".query-row")).to_have_count(1)
        expect(page.locator(".counted").first).to_have_text("1 of 7 queries")
        page.locator("#search").fill("no such query")
        expect(page.locator(".query-row")).to_have_count(0)
        page.locator("#search").fill("")
        page.locator(".side select").select_option("loss")

        def by_loss():
            shown = page.locator(".query-row .loss").all_inner_texts()
            losses = [float(text.removeprefix("loss ")) for text in shown]
            assert len(losses) == 7
            assert losses == sorted(losses, reverse=True)

        soon(page, by_loss)


def test_keys_go_through_the_queries(chromium, llama_page):
    with opened(chromium, llama_page) as page:
        first = page.locator(".query .place code").inner_text()
        page.keyboard.press("j")
        expect(page.locator(".query .place code")).not_to_have_text(first)
        page.keyboard.press("k")
        expect(page.locator(".query .place code")).to_have_text(first)
        page.keyboard.press("2")
        expect(page.locator("table.examples tbody tr")).to_have_count(13)
        page.keyboard.press("3")
        expect(page.locator(".chart rect")).to_have_count(60)
        page.keyboard.press("1")
        page.keyboard.press("?")
        expect(page.locator("dialog.help")).to_be_visible()


def test_the_heat_map(chromium, llama_page):
    with opened(chromium, llama_page) as page:
        card = page.locator(".card").first
        tokens = card.locator(".token")
        text = "".join(tokens.all_text_contents())
        assert any(text.startswith(own) for own in TEXTS), "the tokens read as the text"
        titles = tokens.evaluate_all("all => all.map(one => one.title)")
        parts = list(map(number, titles))
        score = scores_of(page, "helps")[0]
        assert sum(parts) == pytest.approx(score, rel=0.03)
        shares = tokens.evaluate_all(
            "all => all.map(one => Number(one.style.getPropertyValue('--share')))"
        )
        assert max(shares) == pytest.approx(1, abs=2e-3)
        page.keyboard.press("h")
        expect(page.locator(".token")).to_have_count(0)


@pytest.fixture(scope="module")
def short_page(llama_run, tmp_path_factory):
    """No more than 10 tokens, and 3 tensors, are shown by themselves."""
    path = tmp_path_factory.mktemp("short") / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contents, "TENSORS_SHOWN", 3)
        for module in (contents, examples):
            patch.setattr(module, "MOST_TOKENS", 10)
        return write_report(llama_run, out=path, top=5).as_uri()


def test_what_lies_beyond_the_tokens_shown_is_said(chromium, short_page, llama_run):
    with opened(chromium, short_page) as page:
        card = page.locator(".card").first
        expect(card.locator(".token")).to_have_count(10)
        titles = card.locator(".token").evaluate_all("all => all.map(one => one.title)")
        beyond, tokens = re.fullmatch(
            r" … (\S+) of the score lies in the ([\d,]+) tokens? after these",
            card.locator(".heat .cut").text_content(),
        ).groups()
        assert number(beyond) + sum(map(number, titles)) == pytest.approx(
            scores_of(page, "helps")[0], rel=0.03
        )
        own = Subject.open(llama_run).run.train[int(card.get_attribute("data-row"))]
        whole = own["prompt"] + own["completion"]
        assert int(tokens) == len(whole.encode()) + 1 - 10, "a token a byte, and the end"
        assert "at none of these tokens" not in card.inner_text()


def test_the_bars_of_a_card_sum_to_its_score(chromium, short_page):
    with opened(chromium, short_page) as page:
        card = page.locator(".card").first
        card.locator(".tensors summary").click()
        expect(card.locator(".bar-row")).to_have_count(4)
        expect(card.locator(".bar-name").last).to_have_text("the other 5")
        bars = [number(text) for text in card.locator(".bar-value").all_inner_texts()]
        assert sum(bars) == pytest.approx(scores_of(page, "helps")[0], rel=0.02)


def test_of_what_methods_agree_is_said(chromium, llama_run, datainf, tmp_path):
    datainf("score", llama_run, "--keep", 2, "--out", llama_run / "two")
    path = write_report(llama_run, out=tmp_path / "report.html", top=3, model=False)
    shutil.rmtree(llama_run / "two")
    with opened(chromium, path.as_uri() + "#tab=overview") as page:
        panel = page.locator(".panel", has_text="How methods agree")
        expect(panel).to_contain_text("Means over 7 queries.")
        expect(panel.locator("h3").last).to_have_text("share of the first 3 in common")
        names = panel.locator(".two > div").last.locator("tbody th").all_inner_texts()
        expect(panel.locator("td.num", has_text="of the first 2")).to_have_count(2 * len(names) - 1)
        layers = page.locator(".two").first.locator("> div").first.locator(".bar-name")
        assert layers.all_inner_texts() == ["0", "1"]


def test_a_row_is_expanded(chromium, llama_page):
    with opened(chromium, llama_page + "#heat=0&tab=training") as page:
        row = page.locator("tr[data-row='12']")
        short = len(row.inner_text())
        row.locator("button.more").click()
        expect(row).to_contain_text("more characters")

        def longer():
            assert len(row.inner_text()) > short + 2000

        soon(page, longer)
        page.keyboard.press("1")
        details = page.locator(".card details.tensors").first
        details.locator("summary").click()
        expect(details.locator(".bar-row")).to_have_count(8)


def test_examples_are_filtered_and_sorted(chromium, bert_page):
    with opened(chromium, bert_page) as page:

        def labelled():
            labels = page.locator(".card .labels .label:first-child .value").all_inner_texts()
            assert set(labels) == {"LABEL_1"}

        def by_loss(descending):
            cells = page.locator("tbody td:nth-child(5)").all_inner_texts()
            losses = [float(text) for text in cells]
            assert len(losses) > 1
            assert losses == sorted(losses, reverse=descending)

        page.locator(".toolbar select").first.select_option("1")
        soon(page, labelled)
        page.locator(".toolbar select").first.select_option("")
        page.locator(".toolbar input[type=search]").fill("jugs")
        expect(page.locator(".card").filter(has_not_text="jugs")).to_have_count(0)
        page.locator(".toolbar input[type=search]").fill("")
        expect(page.locator(".card").first).to_be_visible()
        page.keyboard.press("Escape")
        page.keyboard.press("2")
        for descending in (True, False):
            page.locator("table.examples th button", has_text="loss").click()
            soon(page, lambda down=descending: by_loss(down))


def test_wrong_answers_are_marked(chromium, bert_page, bert_run):
    models = Models(Subject.open(bert_run))
    answers = answers_of(models.at(0), models.subject.run.query, range(5)).values()
    models.close()
    with opened(chromium, bert_page) as page:
        wrong = page.locator(".query-row .label.wrong").count()
        page.keyboard.press("j")
        assert wrong == sum(not answer.agrees for answer in answers)
        expect(page.locator(".query .label")).to_have_count(2)


def test_hostile_data_is_text(chromium, llama_page, bert_page):
    for address, tab in ((llama_page, "#tab=training&heat=0"), (bert_page, "#tab=training")):
        with opened(chromium, address + tab) as page:
            shown = page.locator("table.examples").inner_text()
            assert page.title().endswith("datainf")
            for text in (HOSTILE[0], HOSTILE[1], HOSTILE[3], HOSTILE[4]):
                assert text in shown
            assert "\\u202e" in shown, "what turns the text is shown, not followed"
            expect(page.locator("table img, table svg, table iframe")).to_have_count(0)
            assert page.evaluate("document.querySelectorAll('script').length") == (
                page.evaluate("document.querySelectorAll('script[id^=data-]').length + 1")
            )


def test_what_is_to_be_left_out_is_marked_and_taken(
    chromium, llama_page, llama_run, tmp_path, datainf
):
    """By a click and by a key, in one tab and seen in the other; then written by `select`."""
    with opened(chromium, llama_page) as page:
        card = page.locator(".column.helps .card").first
        first, other = int(card.get_attribute("data-row")), 12
        expect(page.locator("#download")).to_be_hidden()
        card.get_by_role("button", name="drop").click()
        expect(card).to_have_attribute("data-decision", "drop")
        expect(page.locator("#download")).to_have_text("Download 1 decision")
        page.keyboard.press("2")
        expect(page.locator(f"tr[data-row='{first}']")).to_have_attribute("data-decision", "drop")
        page.locator(f"tr[data-row='{other}']").focus()
        page.keyboard.press("d")
        page.locator("tr[data-row='1']").focus()
        page.keyboard.press("d")
        page.keyboard.press("d")  # and taken back
        expect(page.locator("#download")).to_have_text("Download 2 decisions")
        page.reload()
        page.wait_for_selector("body[data-ready]")
        expect(page.locator("[data-decision=drop]").first).to_be_visible()
        with page.expect_download() as caught:
            page.locator("#download").click()
        caught.value.save_as(tmp_path / "decisions.json")
    found = json.loads((tmp_path / "decisions.json").read_text())["decisions"]
    assert [one["row"] for one in found] == sorted({first, other})
    assert found[0]["id"] == f"r{min(first, other)}"
    out = tmp_path / "clean"
    code, *_ = datainf(
        "select", llama_run, "--decisions", tmp_path / "decisions.json", "--out", out
    )
    assert code == 0
    kept = json.loads((out / "kept.json").read_text())
    assert kept == [row for row in range(len(kept) + 2) if row not in (first, other)]


def test_light_and_dark(chromium, llama_page):
    with opened(chromium, llama_page, color_scheme="dark") as page:
        back = "getComputedStyle(document.body).backgroundColor"
        dark = page.evaluate(back)
        page.keyboard.press("t")
        assert page.evaluate(back) != dark
        page.reload()
        page.wait_for_selector("body[data-ready]")
        assert page.evaluate(back) != dark, "what was chosen is remembered"


def test_a_phone(chromium, llama_page):
    with opened(chromium, llama_page, viewport={"width": 380, "height": 800}) as page:
        wide = "document.documentElement.scrollWidth"
        assert page.evaluate(wide) <= 380
        expect(page.locator(".side")).to_be_hidden()
        page.locator(".open-list").click()
        page.locator(".query-row").nth(2).click()
        expect(page.locator(".side")).to_be_hidden()
        for tab, shown in (("training", "table.examples"), ("overview", ".overview")):
            page.locator(f"[data-tab={tab}]").click()
            page.wait_for_selector(shown)
            assert page.evaluate(wide) <= 380


def test_a_tab_can_be_gone_back_from(chromium, llama_page):
    with opened(chromium, llama_page) as page:
        page.keyboard.press("3")
        page.wait_for_selector(".overview")
        page.go_back()
        page.wait_for_selector(".card")
        expect(page.locator("[data-tab=queries]")).to_have_attribute("aria-selected", "true")


def test_a_search_without_hits_says_so(chromium, llama_page):
    with opened(chromium, llama_page) as page:
        page.locator("#search").fill("nothing like it")
        expect(page.locator(".list .empty")).to_have_text("None of these match.")


def test_where_it_was_is_in_its_address(chromium, llama_page):
    with opened(chromium, llama_page + "#tab=queries&query=3") as page:
        expect(page.locator(".query .place code")).to_have_text("r6")
        page.keyboard.press("3")
        expect(page).to_have_url(re.compile("tab=overview"))


@pytest.fixture(scope="module")
def large_page(saved_llama, tmp_path_factory):
    """1,000 queries with 50 training examples of either end."""
    rows = [{"text": f"{TEXTS[i % 6]} {i}"} for i in range(600)]
    queries = [{"text": f"{TEXTS[i % 6]} {i} {i}"} for i in range(1000)]
    run = attributed(tmp_path_factory.mktemp("large"), saved_llama[1], rows, queries,
                     method="datainf")  # fmt: skip
    return write_report(run, top=50, model=False)


def test_a_thousand_queries_are_there_in_two_seconds(chromium, large_page):
    assert large_page.stat().st_size < 20_000_000
    with opened(chromium, large_page.as_uri()) as page:
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        assert paint < 2000
        page.wait_for_selector(".card")
        assert page.evaluate("performance.now()") < 10_000
        assert page.locator(".card").count() > 50
        assert page.locator(".query-row").count() < 60, "only what is on the screen is there"
        page.locator(".list").evaluate("list => { list.scrollTop = list.scrollHeight }")
        expect(page.locator(".query-row code").last).to_have_text("999")
        page.locator(".query-row").last.click()
        expect(page.locator(".query .place code")).to_have_text("999")
