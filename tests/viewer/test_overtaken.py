"""Answers that come late, in an order that a test chooses, to what is wanted no longer."""

from __future__ import annotations

import json
import threading
from collections import Counter

import pytest

from browser import browser, expect, needs_browser, opened, soon
from datainf.report.subject import Subject
from datainf.viewer import Server
from datainf.viewer.live import LiveContents

pytestmark = needs_browser

TOTALS = {"": 60, "more": 110, "none": 0}
"""How many examples a list of ours has by what is sought in it; a search for "fails" fails."""


@pytest.fixture(scope="module")
def url(llama_run):
    contents = LiveContents(Subject.open(llama_run), 5)
    contents.load()
    with Server(contents) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.url
        server.shutdown()


@pytest.fixture(scope="module")
def chromium():
    with browser() as found:
        yield found


class Asked:
    """Requests of a page to its server for some parts: what was `sent`, of each (part, body). While
    it `holds` they get no answer until they are `let_go`; `answer` makes one up, or the server
    answers."""

    def __init__(self, page, *parts, answer=None):
        self.sent, self.holds, self._held = [], False, []
        self._answer = answer or (lambda route: route.continue_())
        for part in parts:
            page.route(f"**/data/{part}", self._take)

    def _take(self, route):
        part, body = route.request.url.rpartition("/")[2], route.request.post_data
        self.sent.append((part, json.loads(body or "{}")))
        if self.holds:
            self._held.append(route)
        else:
            self._answer(route)

    def let_go(self):
        self.holds, held = False, self._held
        self._held = []
        for route in held:
            self._answer(route)

    def bodies(self, part):
        return [body for own, body in self.sent if own == part]


def made_up(route):
    """A page of a list as long as `TOTALS` has it; rows say which list they are of, and that they
    are of the helpful end. Nothing is known of why."""
    if route.request.url.endswith("/why"):
        route.fulfill(json={})
        return
    wanted = route.request.post_data_json
    if wanted["text"] == "fails":
        route.fulfill(status=500, json={"error": "it fails"})
        return
    total = TOTALS[wanted["text"]]
    places = range(wanted["start"], min(total, wanted["start"] + wanted["count"]))
    route.fulfill(json={"total": total, "of": max(TOTALS.values()), "entries": [
        {"row": row_of(wanted, place), "score": 1.0, "rank": place, "helps": 0, "harms": 0,
         "example": {"id": str(place), "where": "x", "loss": 1.0, "parts": [["text", str(place)]]}}
        for place in places
    ]})  # fmt: skip


def row_of(wanted, place):
    return 10_000 * list(TOTALS).index(wanted["text"]) + 1000 * (wanted["end"] == "harmful") + place


def rows_of(text, end="helpful"):
    return [row_of({"text": text, "end": end}, place) for place in range(TOTALS[text])]


def shown(page, where):
    return page.locator(f"{where} [data-row]").evaluate_all(
        "all => all.map(one => Number(one.dataset.row))"
    )


def step(page, keys, apart=15):
    """Keys that are pressed so soon after one another as no test could press them."""
    page.evaluate("""async ([keys, apart]) => {
        for (const key of keys) {
            document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
            await new Promise((done) => setTimeout(done, apart));
        }
    }""", [list(keys), apart])  # fmt: skip


LISTS = {
    "training": ("#panel-training tbody", "#panel-training .next", "#panel-training"),
    "queries": (".column.helps", ".column.helps .next", ".detail"),
}


@pytest.fixture
def listed(chromium, url, request):
    """A page of made-up lists with the tab open that the test names, and what it asks."""
    kind = request.param
    with opened(chromium, f"{url}#tab={kind}", refused="status of 500") as page:
        asked = Asked(page, "list", "why", answer=made_up)
        page.reload()
        page.wait_for_selector("body[data-ready]")
        own, next_button, around = LISTS[kind]
        page.locator(f"{own} [data-row]").first.wait_for()
        yield page, asked, own, page.locator(next_button), page.locator(f"{around} [type=search]")


both_lists = pytest.mark.parametrize("listed", list(LISTS), indirect=True)


def scrolled_to(page, own, next_button, rows):
    def grown():
        next_button.evaluate("one => { one.scrollIntoView(); }")
        assert shown(page, own) == rows

    soon(page, grown, within=30)


@both_lists
def test_no_next_page_is_asked_of_a_list_that_is_not_there_yet(listed):
    page, asked, own, next_button, search = listed
    scrolled_to(page, own, next_button, rows_of(""))
    page.evaluate(
        "for (const one of document.querySelectorAll('.detail, .page')) one.scrollTop = 0"
    )
    before, asked.holds = len(asked.bodies("list")), True
    search.fill("more")
    soon(page, lambda: waits(asked, "list", before))
    next_button.dispatch_event("click")
    page.wait_for_timeout(100)
    assert {body["start"] for body in asked.bodies("list")[before:]} == {0}
    asked.let_go()
    scrolled_to(page, own, next_button, rows_of("more"))


def waits(asked, part, before):
    assert len(asked.bodies(part)) > before


@both_lists
def test_a_next_page_that_comes_late_belongs_to_no_other_list(listed):
    page, asked, own, next_button, search = listed
    asked.holds = True
    before = len(asked.bodies("list"))
    next_button.dispatch_event("click")
    soon(page, lambda: waits(asked, "list", before))
    late, asked._held = asked._held, []
    asked.holds = False
    search.fill("more")
    first = rows_of("more")[:25]
    soon(page, lambda: begins(page, own, first))
    next_button.evaluate("one => { one.scrollIntoView(); }")  # while the late one is waited for
    page.wait_for_timeout(200)
    for route in late:
        made_up(route)
    scrolled_to(page, own, next_button, rows_of("more"))


def begins(page, own, rows):
    assert shown(page, own)[: len(rows)] == rows


@both_lists
def test_where_a_search_fails_the_list_that_stays_gets_no_other_rows(listed):
    page, asked, own, next_button, search = listed
    search.fill("fails")
    page.wait_for_selector(".toast")
    before = shown(page, own)
    next_button.dispatch_event("click")
    page.wait_for_timeout(200)
    assert {b["start"] for b in asked.bodies("list") if b["text"] == "fails"} == {0}
    assert shown(page, own) == before
    search.fill("more")
    scrolled_to(page, own, next_button, rows_of("more"))


@pytest.mark.parametrize("listed", ["training"], indirect=True)
def test_the_table_says_that_none_matches(listed):
    page, _, _, _, search = listed
    search.fill("none")
    expect(page.locator("tbody .empty")).to_have_text("None of these match.")
    expect(page.locator("#panel-training .counted")).to_contain_text("0 of")
    search.fill("")
    expect(page.locator("tbody .empty")).to_have_count(0)


NOTES = """() => {
    const said = document.querySelector(".main > [role=status]");
    window.said = [];
    new MutationObserver(() => window.said.push(said.textContent))
        .observe(said, { childList: true });
}"""


@pytest.mark.parametrize("listed", ["queries"], indirect=True)
def test_what_is_there_is_announced_when_it_is_there(listed):
    page, asked, _, _, search = listed
    expect(page.locator(".main > [role=status]")).to_have_text("query r3, 60 helpful, 60 harmful")
    page.evaluate(NOTES)
    asked.holds = True
    before = len(asked.bodies("list"))
    step(page, "j")
    soon(page, lambda: waits(asked, "list", before))
    page.locator(".detail .toolbar select").select_option("loss")  # before there is a first page
    page.wait_for_timeout(100)
    asked.let_go()
    expect(page.locator(".main > [role=status]")).to_have_text("query r4, 60 helpful, 60 harmful")
    search.fill("more")
    expect(page.locator(".main > [role=status]")).to_have_text("query r4, 110 helpful, 110 harmful")
    assert page.evaluate("window.said") == [
        "query r4, 60 helpful, 60 harmful", "query r4, 110 helpful, 110 harmful"
    ]  # fmt: skip


@pytest.mark.parametrize("listed", ["queries"], indirect=True)
def test_what_was_typed_just_before_another_query_is_sought_in_that(listed):
    page, asked, own, _, search = listed
    before = len(asked.sent)
    page.evaluate("""() => {
        const search = document.querySelector(".detail [type=search]");
        search.value = "more";
        search.dispatchEvent(new Event("input", { bubbles: true }));
        document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "j", bubbles: true }));
    }""")
    expect(page.locator(".query .place code")).to_have_text("r4")
    expect(search).to_have_value("more")
    soon(page, lambda: begins(page, own, rows_of("more")[:25]))
    page.wait_for_timeout(400)
    lists = [body for part, body in asked.sent[before:] if part == "list"]
    assert {(body["query"], body["text"]) for body in lists} == {(1, "more")}
    assert Counter(body["end"] for body in lists if not body["start"]) == {
        "helpful": 1,
        "harmful": 1,
    }


def test_reasons_come_for_the_query_that_stays_open(chromium, url):
    with opened(chromium, url) as page:
        page.wait_for_selector(".card .token")
        asked = Asked(page, "why", "answer")
        page.reload()
        page.wait_for_selector(".card .token")
        reasons = asked.bodies("why")
        assert {body["query"] for body in reasons} == {0}
        assert 1 <= len(reasons) <= 2, "one of either end that has an example"
        asked.sent.clear()
        page.evaluate("window.stepped = performance.now()")
        step(page, "jjjj")
        expect(page.locator(".query .place code")).to_have_text("r7")
        page.wait_for_selector(".card .token")
        assert page.evaluate("performance.now() - window.stepped") > 300
        expect(page.locator(".query .answer")).not_to_have_text("the model says…")
        page.wait_for_timeout(500)
        assert {body["query"] for body in asked.bodies("why")} == {4}
        assert [body["query"] for body in asked.bodies("answer")] == [4]


def test_a_query_that_is_opened_again_at_once_is_asked_about_once(chromium, url):
    with opened(chromium, url + "#query=4") as page:  # no other test opens the fifth
        page.wait_for_selector(".card .token")
        asked = Asked(page, "why", "answer", "list")
        step(page, "jjk")
        expect(page.locator(".query .place code")).to_have_text("r8")
        page.wait_for_selector(".card .token")
        page.wait_for_timeout(800)
        lists = [body for body in asked.bodies("list") if body["query"] == 5]
        assert len(lists) == 4, "of two ends, twice"
        ends = sum(page.locator(f".column.{end} .card").count() > 0 for end in ("helps", "harms"))
        reasons = [body["query"] for body in asked.bodies("why") if body["query"] != 4]
        assert reasons == [5] * ends
        answers = [body["query"] for body in asked.bodies("answer") if body["query"] != 4]
        assert answers == [5]


def test_keys_ask_no_second_time(chromium, url):
    with opened(chromium, url + "#tab=ask") as page:
        asked = Asked(page, "ask")
        asked.holds = True
        page.locator("#ask-prompt").fill("to be or")
        page.locator("#ask-completion").fill(" not to be")
        for _ in range(2):
            page.locator("#ask-completion").press("Control+Enter")
        page.wait_for_timeout(200)
        assert len(asked.sent) == 1
        asked.let_go()
        page.wait_for_selector("#panel-ask .card")
        expect(page.locator(".ask .go")).to_be_enabled()
        page.locator("#ask-completion").press("Control+Enter")
        soon(page, lambda: waits(asked, "ask", 1))


def test_the_heat_map_is_one_of_all_tabs(chromium, url):
    def colours(panel, *, on):
        inside = page.locator(panel)
        inside.locator(".card:visible").first.wait_for()
        if on:
            inside.locator(".token:visible").first.wait_for()
        else:
            expect(inside.locator(".token")).to_have_count(0)
        expect(inside.locator(".toolbar [type=checkbox]")).to_be_checked(checked=on)
        expect(inside.locator(".legend")).to_be_visible(visible=on)

    with opened(chromium, url) as page:
        colours("#panel-queries", on=True)
        page.keyboard.press("4")
        page.locator("#ask-prompt").fill("to be or")
        page.locator("#ask-completion").fill(" not to be")
        page.locator(".ask .go").click()
        colours("#panel-ask", on=True)
        page.keyboard.press("h")
        colours("#panel-ask", on=False)
        page.keyboard.press("1")
        colours("#panel-queries", on=False)
        page.locator("#panel-queries .toolbar [type=checkbox]").click()
        colours("#panel-queries", on=True)
        page.keyboard.press("4")
        colours("#panel-ask", on=True)
        page.evaluate("location.hash = '#tab=ask&heat=0'")
        colours("#panel-ask", on=False)


def test_bars_of_one_table_have_one_scale_and_numbers_three_digits(chromium, url):
    """Whatever of it has been loaded."""
    losses = [999.4, 999.7, 1000.2, 0.5, 12345.6, 99.95, 9.999]

    def changed(route):
        found = route.fetch().json()
        found["largest"] = 4.0  # of an example that is not loaded yet
        found["queries"]["losses"] = losses
        route.fulfill(json=found)

    with opened(chromium, url) as page:
        page.route("**/data/overview", changed)
        Asked(page, "list", "why", answer=made_up)
        page.reload()
        page.wait_for_selector(".card")
        told = page.locator(".query-row .loss").all_inner_texts()
        assert told == [
            f"loss {text}" for text in ("999", "1000", "1000", "0.500", "12346", "100", "10.0")
        ]
        page.keyboard.press("2")
        bars = page.locator("tbody .bar > span")
        bars.first.wait_for()
        assert set(bars.evaluate_all("all => all.map(one => one.style.width)")) == {"25%"}
