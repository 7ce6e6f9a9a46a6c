// The training examples at both ends of a query's order, and what narrows them down.

function notNarrowed() {
  return { text: "", file: "", label: null, order: "score" };
}

/** Both ends of a query's order, and what narrows them down; `say` is told what is there after each
 * change. They `leave` when others take their place. */
function results(overview, state, narrow, query, order, say) {
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

  const later = afterTyping(restart);
  let gone = false;

  async function restart() {
    later.drop();
    const totals = await Promise.all(columns.map((one) => one.restart()));
    if (gone || totals.includes(null)) return;  // a later one says what is there
    say(`${totals[0]} helpful, ${totals[1]} harmful`);
  }

  const set = (name) => (value) => { narrow[name] = value; restart(); };
  const box = h("input", { type: "checkbox", checked: state.heat, onchange: () => heat(state, box.checked) });
  let coloured = state.heat;

  /** Follow the page's heat map. */
  function recolour() {
    if (coloured === state.heat) return;
    coloured = box.checked = state.heat;
    inPlace(element, ".card", () => {
      legend.hidden = !coloured;
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
      "aria-label": "Filter these examples", value: narrow.text,
      // Set at once: another query may be opened before it is sought.
      oninput: (event) => { narrow.text = event.target.value; later(); },
    }),
    overview.files.length > 1
      ? select("file", [["", "all"], ...overview.files.map((f) => [f, f])], narrow.file, set("file")) : null,
    overview.labels.length ? labelSelect(overview, narrow.label, set("label")) : null,
    select("order", [["score", "by score"], ["loss", "by loss"], ["row", "by row"]], narrow.order, set("order")),
    overview.heat ? h("label", { class: "check" }, box, "token heat map (h)") : null),
  overview.heat ? legend : null, h("div", { class: "columns" }, columns.map((one) => one.element)));

  function leave() {
    gone = true;
    later.drop();
    state.results.delete(own);
  }

  const own = { element, recolour, leave, there: restart() };
  state.results.add(own);
  return own;
}

/** One end of an order: its first examples, and the next as they are scrolled to. */
function endColumn(state, { end, title, meaning, order, make, wanted }) {
  const body = h("div", {}), counted = h("span", { class: "counted" });
  const cards = new Map();
  const next = nextButton(() => drawn === latest && load(cards.size));
  let latest = null, drawn = null;  // what was wanted last, and what the cards that are there are of

  /** Promises how many there are in all, or null where another list was wanted meanwhile. */
  async function load(start) {
    const own = start ? drawn : wanted();  // another object each time
    latest = own;
    const page = await order.page(own, start);
    if (own !== latest) return null;
    if (!start) { drawn = own; cards.clear(); replace(body); }
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
