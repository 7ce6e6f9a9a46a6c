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


def test_queries_are_filtered_by_label_and_by_wrong_answers(chromium, bert_page, bert_run):
    run = Subject.open(bert_run).run
    with opened(chromium, bert_page) as page:
        side, rows = page.locator(".side"), page.locator(".query-row")
        expect(side.locator("select")).to_have_count(2)  # the order and the label; of one file none
        wrong = rows.filter(has=page.locator(".label.wrong")).locator("code").all_inner_texts()
        side.get_by_label("label").select_option("1")
        labelled = [str(row) for row in range(5) if run.query[row]["label"] == 1]
        expect(rows.locator("code")).to_have_text(labelled)
        side.get_by_label("label").select_option("")
        side.get_by_label("wrong answers").check()
        expect(rows.locator("code")).to_have_text(wrong)
        assert 0 < len(wrong) < 5


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
        page.keyboard.press("2")  # behind the dialog nothing acts
        page.keyboard.press("j")
        page.keyboard.press("Escape")
        expect(page.locator("dialog.help")).to_be_hidden()
        expect(page.locator(".query .place code")).to_have_text(first)


def test_the_keys_act_after_a_box_is_ticked_and_a_choice_is_made(chromium, llama_page):
    with opened(chromium, llama_page) as page:
        page.wait_for_selector(".card .token")
        page.locator(".toolbar input[type=checkbox]").click()
        expect(page.locator(".card .token")).to_have_count(0)
        page.keyboard.press("j")
        expect(page.locator(".query .place code")).to_have_text("r4")
        page.locator(".side select").click()
        page.locator(".side select").select_option("loss")
        expect(page.locator("select:focus")).to_have_count(0)
        page.keyboard.press("2")
        expect(page.locator("table.examples")).to_be_visible()


def test_a_key_does_not_take_the_focus_away(chromium, llama_page):
    focused = "document.activeElement.textContent"
    with opened(chromium, llama_page) as page:
        page.locator("[data-tab=queries]").focus()
        page.keyboard.press("ArrowRight")
        expect(page.locator("#panel-training table.examples")).to_be_visible()
        assert page.evaluate(focused) == "Training data"
        page.keyboard.press("Enter")
        assert page.evaluate(focused) == "Training data"
        page.locator("th button", has_text="loss").focus()
        for way in ("descending", "ascending"):
            page.keyboard.press("Enter")
            expect(page.locator("th", has_text="loss")).to_have_attribute("aria-sort", way)
            assert page.evaluate(focused).startswith("loss")


def test_arrows_go_through_the_list_that_has_the_focus_and_scroll_elsewhere(chromium, llama_page):
    with opened(chromium, llama_page, viewport={"width": 1000, "height": 500}) as page:
        name, options = page.locator(".query .place code"), page.locator(".list")
        page.wait_for_selector(".card .token")
        page.locator(".card").first.focus()
        page.locator(".detail").evaluate("one => one.scrollTop = 0")
        page.keyboard.press("ArrowDown")

        def scrolled():
            assert page.locator(".detail").evaluate("one => one.scrollTop") > 10

        soon(page, scrolled)
        expect(name).to_have_text("r3")
        options.focus()
        page.keyboard.press("ArrowDown")
        expect(name).to_have_text("r4")
        active = options.get_attribute("aria-activedescendant")
        expect(page.locator(f"#{active}")).to_have_attribute("aria-selected", "true")
        expect(page.locator(f"#{active} code")).to_have_text("r4")
        page.keyboard.press("End")
        expect(name).to_have_text("r9")


def test_one_line_of_a_query_is_announced(chromium, llama_page):
    with opened(chromium, llama_page) as page:
        page.keyboard.press("j")
        expect(page.locator(".query .place code")).to_have_text("r4")
        ends = [page.locator(f".column.{kind} .card").count() for kind in ("helps", "harms")]
        expect(page.locator(".main > [role=status]")).to_have_text(
            f"query r4, {ends[0]} helpful, {ends[1]} harmful"
        )
        expect(page.locator("[aria-live]")).to_have_count(0)
        told = page.locator(".detail [role=status]")
        assert set(told.all_inner_texts()) == {""}


def test_a_token_says_its_part(chromium, llama_page):
    """By a click, and by the arrows of a card that has the focus."""
    with opened(chromium, llama_page) as page:
        card = page.locator(".card").first
        tokens, said = card.locator(".token"), card.locator("[role=status]")
        tokens.nth(4).click()
        expect(said).to_contain_text(tokens.nth(4).get_attribute("title"))
        card.focus()
        for key, place in (("ArrowRight", 5), ("ArrowLeft", 4), ("ArrowLeft", 3)):
            page.keyboard.press(key)
            expect(said).to_contain_text(tokens.nth(place).get_attribute("title"))
        expect(said).to_contain_text(card.locator(".score").inner_text())
        expect(card.locator(".pointed")).to_have_count(1)


FIRST_IN_VIEW = """() => {
    const top = document.querySelector(".detail").getBoundingClientRect().top;
    const card = [...document.querySelectorAll(".card")].find(
        (one) => one.getBoundingClientRect().bottom > top);
    return [card.dataset.row, card.getBoundingClientRect().top - top];
}"""


def test_the_heat_map_comes_and_goes_where_one_reads(chromium, llama_page):
    with opened(chromium, llama_page, viewport={"width": 900, "height": 400}) as page:
        page.wait_for_selector(".card .token")
        page.locator(".detail").evaluate("one => one.scrollTop = one.scrollHeight")
        page.wait_for_timeout(200)
        row, place = page.evaluate(FIRST_IN_VIEW)
        for _ in range(2):
            page.keyboard.press("h")
            page.wait_for_timeout(200)
            assert page.evaluate(FIRST_IN_VIEW) == [row, pytest.approx(place, abs=2)]


def test_a_card_without_colours_says_why(chromium, llama_run, tmp_path):
    path = write_report(llama_run, out=tmp_path / "report.html", top=5, read=10)
    with opened(chromium, path.as_uri() + "#query=1") as page:
        page.wait_for_selector(".card .token")
        bare = page.locator(".card").filter(has_not=page.locator(".token"))
        notes = page.locator(".note", has_text="not read again for its tokens")
        assert bare.count() > 0
        expect(notes).to_have_count(bare.count())
        expect(bare.filter(has=notes)).to_have_count(bare.count())
        page.keyboard.press("h")
        expect(notes).to_have_count(0)


CONTRASTS = """() => {
    const parsed = (text) => {
        const [r, g, b, a = 1] = text.match(/[0-9.]+/g).map(Number);
        return [r, g, b, a];
    };
    const over = ([r, g, b, a], below) => [r, g, b].map((c, i) => c * a + below[i] * (1 - a));
    const light = (color) => color.map((c) => c / 255)
        .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = (one) => {
        const below = one.parentElement ? ground(one.parentElement) : [255, 255, 255];
        return over(parsed(getComputedStyle(one).backgroundColor), below);
    };
    const found = {};
    for (const one of document.querySelectorAll("#app *")) {
        const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!own || !one.getClientRects().length || one instanceof SVGElement) continue;
        const back = ground(one), ink = over(parsed(getComputedStyle(one).color), back);
        const [low, high] = [light(back), light(ink)].sort((a, b) => a - b);
        const ratio = (high + 0.05) / (low + 0.05), name = one.tagName + "." + one.className;
        found[name] = Math.min(ratio, found[name] ?? Infinity);
    }
    return found;
}"""


@pytest.mark.parametrize("how", ["light", "dark", "chosen light", "chosen dark"])
def test_all_text_can_be_read_on_its_ground(chromium, llama_page, bert_page, how):
    """By 4.5 to 1 or more (WCAG 2, AA), on tokens at their strongest too."""
    chosen, scheme = how.startswith("chosen"), how.split()[-1]
    other = {"light": "dark", "dark": "light"}[scheme] if chosen else scheme
    found = {}
    for address in (llama_page, bert_page):
        with opened(chromium, address, color_scheme=other) as page:
            page.wait_for_selector(".card .token")
            if chosen:
                page.keyboard.press("t")
            page.locator(".card [data-decide]").first.click()
            page.wait_for_selector("#download:visible")
            page.evaluate("""() => {
                const all = (what) => document.querySelectorAll(what);
                for (const one of all(".token")) one.style.setProperty("--share", 1);
                for (const one of all(".query-row")) one.setAttribute("aria-selected", "true");
            }""")
            for key, shown in (("1", ".card"), ("2", "tbody tr"), ("3", ".chart")):
                page.keyboard.press(key)
                page.wait_for_selector(shown)
                for name, ratio in page.evaluate(CONTRASTS).items():
                    found[name] = min(ratio, found.get(name, 100))
    print(how, {name: round(ratio, 2) for name, ratio in sorted(found.items())})
    assert {"SPAN.token helps", "SPAN.token harms unlearned", "BUTTON.go"} <= set(found)
    assert {name: ratio for name, ratio in found.items() if ratio < 4.5} == {}


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


TOO_WIDE = """() => [...document.querySelectorAll("html, .detail, .page, .side")]
    .filter((one) => one.scrollWidth > one.clientWidth)
    .map((one) => one.className || one.tagName)"""


def fits(page):
    assert page.evaluate(TOO_WIDE) == []


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_a_phone(chromium, request, kind):
    address = request.getfixturevalue(f"{kind}_page")
    with opened(chromium, address, viewport={"width": 380, "height": 800}) as page:
        page.wait_for_selector(".card")
        fits(page)
        expect(page.locator(".side")).to_be_hidden()
        page.locator(".open-list").click()
        fits(page)
        page.locator(".query-row").nth(2).click()
        expect(page.locator(".side")).to_be_hidden()
        for tab, shown in (("training", "table.examples"), ("overview", ".overview")):
            page.locator(f"[data-tab={tab}]").click()
            page.wait_for_selector(shown)
            fits(page)


def test_the_list_of_a_phone_covers_nothing_and_is_closed(chromium, llama_page):
    """With so much in the head that it has two lines."""
    with opened(chromium, llama_page, viewport={"width": 320, "height": 640}) as page:
        page.locator(".card [data-decide]").first.click()
        page.wait_for_selector("#download:visible")
        page.locator(".open-list").click()
        expect(page.locator(".query-row[aria-selected=true]")).to_be_in_viewport()
        head, side = page.locator(".top").bounding_box(), page.locator(".side").bounding_box()
        assert head["height"] > 60
        assert side["y"] >= head["y"] + head["height"]
        assert side["y"] + side["height"] <= 640
        page.locator("#theme").click()
        page.locator(".open-list").click()
        expect(page.locator(".side")).to_be_hidden()
        page.keyboard.press("/")
        expect(page.locator("#search")).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.locator(".side")).to_be_hidden()
        expect(page.locator(".open-list")).to_have_attribute("aria-expanded", "false")
        expect(page.locator(".card").first).to_be_visible()


@pytest.mark.parametrize("width", [380, 1200])
def test_a_long_label_stays_in_its_card(chromium, bert_page, width):
    outside = """() => [...document.querySelectorAll(".label")].filter((one) =>
        one.getBoundingClientRect().right > one.closest(".card, .query, td, .query-row")
            .getBoundingClientRect().right).length"""
    with opened(chromium, bert_page, viewport={"width": width, "height": 800}) as page:
        for key, shown in (("1", ".card"), ("2", "tbody tr")):
            page.keyboard.press(key)
            page.wait_for_selector(shown)
            page.evaluate("for (const one of document.querySelectorAll('.label .value'))"
                          " one.textContent = 'x'.repeat(200)")  # fmt: skip
            fits(page)
            assert page.evaluate(outside) == 0


def test_a_tab_can_be_gone_back_from(chromium, llama_page):
    with opened(chromium, llama_page) as page:
        page.keyboard.press("3")
        page.wait_for_selector(".overview")
        page.go_back()
        page.wait_for_selector(".card")
        expect(page.locator("[data-tab=queries]")).to_have_attribute("aria-selected", "true")


SCROLLED = """() => [".list", ".detail", "#panel-training .page"].map(
    (one) => document.querySelector(one)?.scrollTop)"""


def test_a_tab_that_one_comes_back_to_is_where_it_was(chromium, large_page):
    with opened(chromium, large_page.as_uri() + "#query=700") as page:
        expect(page.locator(".query-row[aria-selected=true]")).to_be_in_viewport()
        page.wait_for_selector(".card")
        for place, scrolled in ((".list", 5000), (".detail", 900)):
            page.locator(place).evaluate(f"one => one.scrollTop = {scrolled}")
        page.keyboard.press("2")
        page.locator("tbody tr").first.wait_for()
        page.locator("#panel-training .page").evaluate("one => one.scrollTop = 700")
        for key in "13121":
            page.keyboard.press(key)
            page.wait_for_timeout(100)
        assert page.evaluate(SCROLLED)[:2] == [5000, pytest.approx(900, abs=2)]
        expect(page.locator(".query-row").nth(10)).to_be_in_viewport()
        page.keyboard.press("2")
        assert page.evaluate(SCROLLED)[2] == pytest.approx(700, abs=2)


def test_a_query_that_was_opened_behind_another_tab_is_read_from_its_top(chromium, large_page):
    with opened(chromium, large_page.as_uri() + "#query=700") as page:
        page.wait_for_selector(".card")
        page.locator(".detail").evaluate("one => one.scrollTop = 900")
        page.evaluate("location.hash = '#tab=training&query=20'")
        expect(page.locator("table.examples")).to_be_visible()
        expect(page.locator(".query .place code")).to_have_text("20")
        page.keyboard.press("1")
        expect(page.locator(".query-row[aria-selected=true] code")).to_have_text("20")
        expect(page.locator(".query-row[aria-selected=true]")).to_be_in_viewport()
        assert page.locator(".detail").evaluate("one => one.scrollTop") == 0


def test_a_search_without_hits_says_so(chromium, llama_page):
    with opened(chromium, llama_page) as page:
        page.locator("#search").fill("nothing like it")
        expect(page.locator(".list .empty")).to_have_text("None of these match.")


def test_where_it_was_is_in_its_address(chromium, llama_page):
    with opened(chromium, llama_page + "#tab=queries&query=3") as page:
        expect(page.locator(".query .place code")).to_have_text("r6")
        page.keyboard.press("3")
        expect(page).to_have_url(re.compile("tab=overview"))


def test_an_address_that_is_typed_is_followed(chromium, llama_page):
    with opened(chromium, llama_page) as page:
        name = page.locator(".query .place code")
        expect(name).to_have_text("r3")
        page.evaluate("location.hash = '#tab=queries&query=5&heat=0'")
        expect(name).to_have_text("r8")
        expect(page.locator(".token")).to_have_count(0)
        page.evaluate("location.hash = '#tab=training&query=2'")
        expect(page.locator("table.examples")).to_be_visible()
        page.go_back()
        expect(name).to_have_text("r8")


@pytest.mark.parametrize(("typed", "shown"), [
    ("query=-1", "r3"), ("query=1.5", "r4"), ("query=1e9", "r9"), ("query=Infinity", "r3"),
    ("query=x", "r3"), ("tab=toString&query=1", "r4"),
])  # fmt: skip
def test_an_address_that_says_nonsense(chromium, llama_page, typed, shown):
    with opened(chromium, f"{llama_page}#{typed}") as page:
        expect(page.locator(".query .place code")).to_have_text(shown)
        expect(page.locator(".failed")).to_have_count(0)
        page.wait_for_selector(".card")


@pytest.fixture(scope="module")
def large_page(saved_llama, tmp_path_factory):
    """1,000 queries with 50 training examples of either end; what a query ends in is in no list."""
    rows = [{"text": f"{TEXTS[i % 6]} {i}"} for i in range(600)]
    queries = [{"text": f"{TEXTS[i % 6]} {i} {'on ' * 60}ends{i}"} for i in range(1000)]
    run = attributed(tmp_path_factory.mktemp("large"), saved_llama[1], rows, queries,
                     method="datainf")  # fmt: skip
    return write_report(run, top=50, model=False)


NOTED = """new MutationObserver((_, own) => {
    if (!document.querySelector(".query-row") || !document.querySelector(".card")) return;
    own.disconnect();
    requestAnimationFrame(() => { window.there = performance.now(); });
}).observe(document, { childList: true, subtree: true });"""


def test_a_thousand_queries_are_there_in_two_seconds(chromium, large_page):
    """The list, and the cards of the first query; at one of five times, where the machine has other
    work too."""
    assert large_page.stat().st_size < 20_000_000
    with opened(chromium, large_page.as_uri()) as page:
        page.add_init_script(NOTED)
        took = []
        while len(took) < 5 and min(took, default=2000) >= 2000:
            page.reload()
            page.wait_for_selector(".card")
            took.append(page.evaluate("new Promise((done) => requestAnimationFrame(done))"
                                      ".then(() => window.there)"))  # fmt: skip
        assert min(took) < 2000, took
        assert page.locator(".card").count() > 50
        assert page.locator(".query-row").count() < 60, "only what is on the screen is there"
        page.locator(".list").evaluate("list => { list.scrollTop = list.scrollHeight }")
        expect(page.locator(".query-row code").last).to_have_text("999")
        page.locator(".query-row").last.click()
        expect(page.locator(".query .place code")).to_have_text("999")


def test_the_whole_texts_of_queries_are_sought(chromium, large_page):
    """While one types, and nothing stands still for it."""
    with opened(chromium, large_page.as_uri()) as page:
        page.wait_for_selector(".card")
        page.evaluate("""() => {
            window.longest = 0;
            new PerformanceObserver((all) => { for (const one of all.getEntries())
                window.longest = Math.max(window.longest, one.duration); })
                .observe({ type: "longtask", buffered: false });
        }""")
        page.locator("#search").press_sequentially("ends77")
        expect(page.locator(".counted").first).to_have_text("11 of 1,000 queries")
        found = ["77", *(f"77{i}" for i in range(10))]
        expect(page.locator(".query-row code")).to_have_text(found)
        assert page.evaluate("window.longest") < 500
        page.locator("#search").fill("no such")
        expect(page.locator(".list .empty")).to_be_visible()


def test_the_query_of_an_address_is_in_view_in_the_list(chromium, large_page):
    with opened(chromium, large_page.as_uri() + "#query=700") as page:
        for key in ("", "2", "1"):  # and when one comes back to it
            if key:
                page.keyboard.press(key)
        expect(page.locator(".query-row[aria-selected=true] code")).to_have_text("700")
        expect(page.locator(".query-row[aria-selected=true]")).to_be_in_viewport()
