// One query at a time, with the training examples at either end of its order.

function queriesTab(overview, state) {
  const total = overview.queries.ids.length;
  const list = virtualList("queries", drawRow, (index) => open(index));
  const detail = h("section", { class: "detail", "aria-live": "polite" });
  const narrow = notNarrowed();
  let filter = "";
  let order = "row";
  let shown = null;

  function drawRow(index) {
    const q = overview.queries;
    return h("div", { class: "query-row" },
      h("div", { class: "query-head" }, h("code", {}, q.ids[index]),
        q.wrong && q.wrong[index] ? h("span", { class: "label wrong" }, "wrong") : null,
        h("span", { class: "loss" }, "loss " + number(q.losses[index]))),
      words(q.heads[index], { class: "query-text" }));
  }

  function refresh() {
    const q = overview.queries;
    const sought = filter.toLowerCase();
    const found = [];
    for (let i = 0; i < total; i++) {
      if (!sought || q.heads[i].toLowerCase().includes(sought)
          || String(q.ids[i]).toLowerCase().includes(sought)) found.push(i);
    }
    const by = { loss: (i) => -(q.losses[i] ?? Infinity), helped: (i) => -q.best[i], harmed: (i) => q.worst[i] }[order];
    if (by) found.sort((a, b) => by(a) - by(b) || a - b);
    counted.textContent = found.length === total
      ? count(total, "query", "queries") : `${found.length} of ${count(total, "query", "queries")}`;
    list.show(found);
  }

  const counted = h("span", { class: "counted" });
  const search = h("input", {
    type: "search", placeholder: "Search queries  ( / )", "aria-label": "Search queries",
    value: filter, id: "search",
    oninput: (event) => { filter = event.target.value; refresh(); },
  });
  const side = h("aside", { class: "side" }, search,
    h("div", { class: "side-bar" }, counted,
      select("order", [["row", "as given"], ["loss", "highest loss"],
        ["helped", "most helped"], ["harmed", "most harmed"]], order,
      (value) => { order = value; refresh(); })),
    list.element);

  async function open(index) {
    state.query = index;
    remember(state);
    list.select(index);
    document.body.classList.remove("listing");
    try {
      const query = await queryAt(overview, index);
      const order = served ? servedOrder(overview, { query: index })
        : await embeddedOrder(overview, query, await whyOf(overview, index));
      if (state.query !== index) return;
      shown = results(overview, state, narrow, query, order);
      replace(detail, queryPanel(overview, query), shown.element);
      detail.scrollTop = 0;
    } catch (error) {
      if (state.query === index) replace(detail, h("p", { class: "failed", role: "alert" }, error.message));
    }
  }

  function key(event) {
    if (event.key === "/") { search.focus(); event.preventDefault(); return; }
    if (event.key === "h" && overview.heat) { if (shown) shown.heat(!state.heat); return; }
    const by = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
    if (!by) return;
    const next = list.step(by);
    if (next !== null && next !== undefined) { open(next); event.preventDefault(); }
  }

  const element = h("div", { class: "split" },
    side, h("div", { class: "main" },
      button("☰ queries", () => document.body.classList.toggle("listing"), { class: "open-list" }), detail));
  refresh();
  if (total) open(Math.min(state.query || 0, total - 1));
  else replace(detail, h("p", { class: "empty" }, "There is no query."));
  return { element, key };
}

function notNarrowed() {
  return { text: "", file: "", label: null, order: "score" };
}

/** Both ends of a query's order, and what narrows them down. */
function results(overview, state, narrow, query, order) {
  const largest = Math.max(1e-30, ...[...query.helpful, ...query.harmful].map(([, s]) => Math.abs(s)));
  const wanted = (end) => ({
    end, text: narrow.text, file: narrow.file, label: narrow.label, order: narrow.order,
    descending: { score: end === "helpful", loss: true, row: false }[narrow.order],
  });
  const make = (entry) => card(overview, state, entry, largest);
  const columns = [
    column("helpful", "Most helpful", "Training more on these lowers the loss of the query."),
    column("harmful", "Most harmful", "Training more on these raises the loss of the query."),
  ];

  function column(end, title, meaning) {
    return endColumn(state, { end, title, meaning, order, make, wanted: () => wanted(end) });
  }

  const restart = () => Promise.all(columns.map((one) => one.restart()));
  const set = (name) => (value) => { narrow[name] = value; restart(); };
  const sought = afterTyping(set("text"));
  const box = h("input", { type: "checkbox", checked: state.heat, onchange: (event) => heat(event.target.checked) });

  function heat(on) {
    state.heat = box.checked = on;
    remember(state);
    for (const one of columns) one.redraw();
  }

  restart();
  return { heat, element: h("div", {}, h("div", { class: "toolbar" },
    h("input", {
      type: "search", placeholder: served ? "Search all training examples" : "Filter these examples",
      "aria-label": "Filter these examples", value: narrow.text, oninput: (event) => sought(event.target.value),
    }),
    overview.files.length > 1
      ? select("file", [["", "all"], ...overview.files.map((f) => [f, f])], narrow.file, set("file")) : null,
    overview.labels.length ? labelSelect(overview, narrow.label, set("label")) : null,
    select("order", [["score", "by score"], ["loss", "by loss"], ["row", "by row"]], narrow.order, set("order")),
    overview.heat ? h("label", { class: "check" }, box, "token heat map (h)") : null),
    h("div", { class: "columns" }, columns.map((one) => one.element))) };
}

/** One end of an order: its first examples, and the next as they are scrolled to. */
function endColumn(state, { end, title, meaning, order, make, wanted }) {
  const body = h("div", {}), counted = h("span", { class: "counted" });
  const cards = new Map();
  const next = nextButton(() => load(cards.size));
  let turn = 0;

  async function load(start) {
    const own = start ? turn : ++turn;
    const page = await order.page(wanted(), start);
    if (own !== turn) return;
    if (!start) { cards.clear(); replace(body); }
    for (const entry of page.entries) cards.set(entry.row, make(entry));
    append(body, page.entries.map((entry) => cards.get(entry.row).element));
    showDecisions(state.decisions, body, null);
    if (!page.total) replace(body, h("p", { class: "empty" }, page.of ? "None of these match." : "None is on this side."));
    counted.textContent = served ? (page.total < page.of ? `${page.total.toLocaleString("en")} of ` : "")
      + count(page.of, "example") : "";
    next.tell(page.total - cards.size);
    if (order.why && page.entries.length) tell(page.entries);  // not waited for: it takes a moment
  }

  async function tell(entries) {
    const why = await order.why(entries.map(({ row }) => row));
    for (const [row, one] of Object.entries(why)) cards.get(Number(row))?.tell(one);
  }

  return {
    restart: () => load(0),
    redraw: () => cards.forEach((one) => one.draw()),
    element: h("section", { class: "column " + (end === "helpful" ? "helps" : "harms") },
      h("h2", {}, title, " ", counted), h("p", { class: "note" }, meaning), body, next.element),
  };
}

/** The query itself: its text, what the model says to it, and its loss. */
function queryPanel(overview, query) {
  const answer = query.answer;
  const said = answer && answer.written;
  return h("section", { class: "query" },
    h("div", { class: "query-title" }, h("h2", {}, "Query"), placeOf(query)),
    labelsOf(query), textOf(query),
    said ? h("div", { class: "part answer" }, h("span", { class: "part-name" }, "the model says"),
      longText(answer.text || "(nothing)"), answer.limit === undefined ? null : h("span", { class: "cut",
        title: `cut here: no more than ${count(answer.limit, "token")} were asked for` }, " …")) : null);
}

/** A training example with its score; `tell` is told why the score is so. */
function card(overview, state, { row, score, rank, example, why }, largest) {
  const body = h("div", {}), tensors = h("div", {});

  function draw() {
    const streams = (why && why.read) || example.streams;
    replace(body, state.heat && why && why.streams && streams ? heatMap(streams, why) : textOf(example));
  }

  function tell(found) {
    why = found;
    if (state.heat) draw();
    if (why && why.tensors) replace(tensors, tensorsOf(overview, why));
  }

  draw();
  tell(why);
  return { draw, tell, element: h("article", { class: "card", "data-row": row, tabindex: 0 },
    h("header", {}, h("span", { class: "rank" }, rank + 1),
      h("strong", { class: "score" }, signed(score)), bar(score, Math.abs(score) / largest),
      dropButton(state.decisions, { row, example })),
    labelsOf(example), body, h("footer", {}, placeOf(example), tensors)) };
}
