// One query at a time, with the training examples at either end of its order.

/** The list of queries, and what it is sought and sorted by. `open(index)` is told of the one that is
 * chosen. */
function queryList(overview, open) {
  const q = overview.queries, total = q.ids.length;
  const list = virtualList("queries", drawRow, open);
  const find = queryFinder(overview);
  const wanted = { text: "", label: null, file: "", wrong: false, order: "row" };
  const counted = h("span", { class: "counted", role: "status" });
  const set = (name) => (value) => { wanted[name] = value; refresh(); };
  const sought = afterTyping(set("text"));
  const search = h("input", {
    type: "search", placeholder: "Search queries  ( / )", "aria-label": "Search queries", id: "search",
    oninput: (event) => sought(event.target.value),
  });
  const choices = h("div", { class: "side-bar" });
  const orders = select("order", [["row", "as given"], ["loss", "highest loss"], ["helped", "most helped"],
    ["harmed", "most harmed"]], wanted.order, set("order"));
  let turn = 0;

  function drawRow(index) {
    return h("div", { class: "query-row" },
      h("div", { class: "query-head" }, h("code", {}, q.ids[index]),
        q.wrong && q.wrong[index] ? h("span", { class: "label wrong" }, "wrong") : null,
        h("span", { class: "loss" }, "loss " + number(q.losses[index]))),
      words(q.heads[index], { class: "query-text" }));
  }

  async function refresh() {
    const own = ++turn, { text, label, file, wrong } = wanted;
    const rows = text || label !== null || file ? (await find({ text, label, file })).rows
      : Array.from({ length: total }, (_, row) => row);
    if (own !== turn) return;
    const found = wrong ? rows.filter((row) => q.wrong[row]) : rows;
    const by = { loss: (i) => -(q.losses[i] ?? Infinity), helped: (i) => -q.best[i], harmed: (i) => q.worst[i] }[wanted.order];
    if (by) found.sort((a, b) => by(a) - by(b) || a - b);
    counted.textContent = (found.length === total ? "" : `${found.length.toLocaleString("en")} of `)
      + count(total, "query", "queries");
    list.show(found);
  }

  /** Offer what can be chosen among; for this the queries are read, where they are in the file. */
  async function offer() {
    const { labels, files } = await find({ text: "", label: null, file: "" });
    replace(choices,
      labels.length > 1 ? labelSelect({ labels, names: overview.names }, null, set("label")) : null,
      files.length > 1 ? select("file", [["", "all"], ...files.map((file) => [file, file])], "", set("file")) : null,
      q.wrong && q.wrong.some(Boolean) ? h("label", { class: "check" }, h("input",
        { type: "checkbox", onchange: (event) => set("wrong")(event.target.checked) }), "wrong answers") : null);
  }

  refresh();
  return { list, offer, search, element: h("aside", { class: "side", id: "queries" }, search,
    h("div", { class: "side-bar" }, counted, orders), choices, list.element) };
}

function queriesTab(overview, state) {
  const total = overview.queries.ids.length;
  const side = queryList(overview, open), { list } = side;
  const said = h("p", { class: "unseen", role: "status" });
  const detail = h("section", { class: "detail", "aria-label": "query" });
  const narrow = notNarrowed();
  let opened = null, shown = null;

  async function open(index) {
    state.query = opened = index;
    remember(state);
    list.select(index);
    listing(false);
    try {
      const query = await queryAt(overview, index);
      const order = served ? servedOrder(overview, { query: index })
        : await embeddedOrder(overview, query, await whyOf(overview, index));
      if (opened !== index) return;
      const panel = queryPanel(query);
      shown = results(overview, state, narrow, query, order);
      replace(detail, panel.element, shown.element);
      detail.scrollTop = 0;
      if (overview.writes && query.answer === undefined) answer(query, panel, index);
      const ends = await shown.there;
      if (opened === index) said.textContent = `query ${query.id}, ${ends}`;
    } catch (error) {
      if (opened === index) replace(detail, h("p", { class: "failed", role: "alert" }, error.message));
    }
  }

  /** What the model says to a query, which it takes its time to write, once that has been open for a moment. */
  async function answer(query, panel, index) {
    panel.wait();
    await new Promise((done) => setTimeout(done, 300));
    if (opened !== index) return;
    try {
      ({ answer: query.answer } = await fetched("answer", { query: index }));
    } finally {
      panel.tell();
    }
  }

  function key(event) {
    if (event.key === "/") {
      listing(true);
      side.search.focus();
      event.preventDefault();
      return;
    }
    if (event.key === "h" && overview.heat) { if (shown) shown.heat(!state.heat); return; }
    const inList = list.element.contains(document.activeElement);
    const by = { j: 1, k: -1, ...(inList && { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity }) }[event.key];
    if (!by) return;
    event.preventDefault();
    const next = list.step(by);
    if (next !== null && next !== undefined) open(next);
  }

  /** Show what the address has come to say. */
  function follow() {
    if (shown) shown.heat(state.heat);
    if (total && Math.min(state.query, total - 1) !== opened) open(Math.min(state.query, total - 1));
  }

  const toggle = button("☰ queries", () => listing(!document.body.classList.contains("listing")),
    { class: "open-list", "aria-controls": "queries", "aria-expanded": "false" });

  /** On a phone the list takes the place of the query. */
  function listing(on) {
    const inList = side.element.contains(document.activeElement);
    document.body.classList.toggle("listing", on);
    toggle.setAttribute("aria-expanded", String(on));
    if (!on && inList) toggle.focus();  // which is not there where the list stays
  }

  if (total) open(Math.min(state.query, total - 1)).then(side.offer);
  else replace(detail, h("p", { class: "empty" }, "There is no query."));
  return { key, follow, leave: () => listing(false), element: h("div", { class: "split" },
    toggle, side.element, h("div", { class: "main" }, said, detail)) };
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

  /** Promises what is then there, in words. */
  async function restart() {
    const [helpful, harmful] = await Promise.all(columns.map((one) => one.restart()));
    return `${helpful} helpful, ${harmful} harmful`;
  }

  const set = (name) => (value) => { narrow[name] = value; restart(); };
  const sought = afterTyping(set("text"));
  const box = h("input", { type: "checkbox", checked: state.heat, onchange: () => heat(box.checked) });

  function heat(on) {
    if (box.checked === on && state.heat === on) return;
    state.heat = box.checked = on;
    remember(state);
    inPlace(element, ".card", () => {
      legend.hidden = !on;
      for (const one of columns) one.redraw();
    });
  }

  const legend = h("p", { class: "note legend", hidden: !state.heat },
    h("span", { class: "sample helps" }, "adds"), " to the score, ", h("span", { class: "sample harms" }, "takes"),
    " from it",
    h("span", { class: "dots" }, "; ", h("span", { class: "sample unlearned" }, "dotted"), ": read, not learned"),
    ". Click a token for its part.");
  const element = h("div", {}, h("div", { class: "toolbar" },
    h("input", {
      type: "search", placeholder: served ? "Search all training examples" : "Filter these examples",
      "aria-label": "Filter these examples", value: narrow.text, oninput: (event) => sought(event.target.value),
    }),
    overview.files.length > 1
      ? select("file", [["", "all"], ...overview.files.map((f) => [f, f])], narrow.file, set("file")) : null,
    overview.labels.length ? labelSelect(overview, narrow.label, set("label")) : null,
    select("order", [["score", "by score"], ["loss", "by loss"], ["row", "by row"]], narrow.order, set("order")),
    overview.heat ? h("label", { class: "check" }, box, "token heat map (h)") : null),
  overview.heat ? legend : null, h("div", { class: "columns" }, columns.map((one) => one.element)));
  return { heat, element, there: restart() };
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
    if (own !== turn) return null;
    if (!start) { cards.clear(); replace(body); }
    for (const entry of page.entries) cards.set(entry.row, make(entry));
    append(body, page.entries.map((entry) => cards.get(entry.row).element));
    showDecisions(state.decisions, body, null);
    if (!page.total) replace(body, h("p", { class: "empty" }, page.of ? "None of these match." : "None is on this side."));
    counted.textContent = served ? (page.total < page.of ? `${page.total.toLocaleString("en")} of ` : "")
      + count(page.of, "example") : "";
    next.tell(page.total - cards.size);
    if (order.why && page.entries.length) tell(page.entries);  // not waited for: it takes a moment
    return page.total;
  }

  async function tell(entries) {
    const why = await order.why(entries.map(({ row }) => row));
    for (const { row } of entries) cards.get(row)?.tell(why[row] || {});
  }

  return {
    restart: () => load(0),
    redraw: () => cards.forEach((one) => one.draw()),
    element: h("section", { class: "column " + (end === "helpful" ? "helps" : "harms") },
      h("h2", {}, title, " ", counted), h("p", { class: "note" }, meaning), body, next.element),
  };
}

/** The query itself: its text, what the model says to it, and its loss. */
function queryPanel(query) {
  const answer = h("div", {});
  const says = (text) => replace(answer, h("div", { class: "part answer" },
    h("span", { class: "part-name" }, "the model says"), text));

  function tell() {
    replace(answer);
    const { written, text, limit } = query.answer || {};
    if (written) {
      says([longText(text || "(nothing)"), limit === undefined ? null : h("span", { class: "cut",
        title: `cut here: no more than ${count(limit, "token")} were asked for` }, " …")]);
    }
  }

  tell();
  return { tell, wait: () => says("…"), element: h("section", { class: "query" },
    h("div", { class: "query-title" }, h("h2", {}, "Query"), placeOf(query)),
    labelsOf(query), textOf(query), answer) };
}

/** A training example with its score; `tell` is told why the score is so, {} where that is not known. */
function card(overview, state, { row, score, rank, example, why }, largest) {
  const body = h("div", {}), tensors = h("div", {}), part = h("p", { class: "note", role: "status" });

  function draw() {
    const streams = (why && why.read) || example.streams;
    const coloured = state.heat && why && why.streams && streams;
    replace(body, coloured ? heatMap(streams, why) : textOf(example),
      state.heat && overview.heat && !coloured ? uncoloured(why) : null);
    replace(part);
  }

  function tell(found) {
    why = found;
    if (state.heat) draw();
    if (why && why.tensors) replace(tensors, tensorsOf(overview, why));
  }

  const element = h("article", { class: "card", "data-row": row, tabindex: 0,
    onclick: (event) => pointAt(event.target.closest(".token")),
    onkeydown: (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by || event.target !== element || event.ctrlKey || event.metaKey || event.altKey) return;
      const tokens = [...body.querySelectorAll(".token")];
      const place = tokens.indexOf(body.querySelector(".pointed"));
      pointAt(tokens[Math.min(tokens.length - 1, Math.max(0, place + by))]);
      event.preventDefault();
    } },
  h("header", {}, h("span", { class: "rank" }, rank + 1),
    h("strong", { class: "score" }, signed(score)), bar(score, Math.abs(score) / largest),
    dropButton(state.decisions, { row, example })),
  labelsOf(example), body, part, h("footer", {}, placeOf(example), tensors));

  /** Say a token's part in the score. */
  function pointAt(token) {
    if (!token) return;
    body.querySelector(".pointed")?.classList.remove("pointed");
    token.classList.add("pointed");
    token.scrollIntoView({ block: "nearest" });
    replace(part, h("code", {}, JSON.stringify(token.textContent)), ` ${token.title} of ${signed(score)}`);
  }

  draw();
  if (why) tell(why);
  return { draw, tell, element };
}

/** Why a card has no colours; nothing as long as that is being asked. */
function uncoloured(why) {
  if (served && !why) return null;
  return h("p", { class: "note" }, served ? "No colours: its tokens' parts cannot be told, or do not sum to its score."
    : "No colours: not read again for its tokens (datainf report --tokens all), or left out, as the overview says.");
}
