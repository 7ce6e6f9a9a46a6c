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

  const pictures = new Map();

  /** A query's picture, which comes when its part of the data has been read: where a program reads it, once the
   * row has been in view for a moment. */
  function pictureOf(index) {
    const element = pictureElement({ alt: "", class: "query-picture", hidden: true });
    const put = () => { if (pictures.get(index)) Object.assign(element, { src: pictures.get(index), hidden: false }); };
    if (pictures.has(index)) put();
    else read(index, element).then(put, () => null);  // what failed is said where the query is opened
    return element;
  }

  async function read(index, element) {
    if (served) await aMoment();
    if (served && !element.isConnected) return;
    pictures.set(index, (await queryAt(overview, index)).image);
  }

  function drawRow(index) {
    return h("div", { class: "query-row" }, q.pictures ? pictureOf(index) : null,
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
  const narrow = notNarrowed();
  let opened = null, turn = 0, shown = null, detail = detailOf();

  function detailOf(...children) {
    return h("section", { class: "detail", "aria-label": "query" }, children);
  }

  /** Show something in the place of what was there, in an element of its own: it is read from its top on, though
   * it may come while the tab is hidden, where nothing scrolls. */
  function put(ends, ...children) {
    const before = detail;
    if (shown) shown.leave();
    shown = ends;
    detail = detailOf(children);
    before.replaceWith(detail);
  }

  async function open(index) {
    const own = ++turn, stays = () => own === turn;  // the same query may be opened again
    state.query = opened = index;
    remember(state);
    list.select(index);
    listing(false);
    try {
      const query = await queryAt(overview, index);
      const order = served ? unhurried(servedOrder(overview, { query: index }), stays)
        : await embeddedOrder(overview, query, await whyOf(overview, index));
      if (!stays()) return;
      const panel = queryPanel(query);
      const ends = results(overview, state, narrow, query, order,
        (text) => { if (stays()) said.textContent = `query ${query.id}, ${text}`; });
      put(ends, panel.element, ends.element);
      if (overview.writes && query.answer === undefined) answer(query, panel, index, stays);
      await ends.there;
    } catch (error) {
      if (stays()) put(null, h("p", { class: "failed", role: "alert" }, error.message));
    }
  }

  /** What the model says to a query, which it takes its time to write, once that has been open for a moment. */
  async function answer(query, panel, index, stays) {
    panel.wait();
    await aMoment();
    if (!stays()) return;
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
    const inList = list.element.contains(document.activeElement);
    const by = { j: 1, k: -1, ...(inList && { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity }) }[event.key];
    if (!by) return;
    event.preventDefault();
    const next = list.step(by);
    if (next !== null && next !== undefined) open(next);
  }

  /** Show what the address has come to say. */
  function follow() {
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
  else put(null, h("p", { class: "empty" }, "There is no query."));
  return { key, follow, leave: () => listing(false), element: h("div", { class: "split" },
    toggle, side.element, h("div", { class: "main" }, said, detail)) };
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
