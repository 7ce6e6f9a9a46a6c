// Suspects one by one: keep, drop or relabel, and the decisions as a file.

async function review() {
  const overview = await part("overview");
  const spelled = new Map(Object.entries(overview.names).reverse().map(([label, name]) => [name, label]));
  const examples = await trainAt(overview, overview.entries.map((entry) => entry.row));
  const narrow = { text: "", label: "", state: "all", order: "combined" };
  const body = h("div", { class: "suspects" });
  const counted = h("span", { class: "counted", role: "status" });
  const decisions = decisionsOf(overview, changed);
  let cards = new Map();
  let shown = [];
  let chosen = 0;

  function changed(row) {
    for (const [own, card] of cards) if (row === null || own === row) card.mark();
    tell();
  }

  function tell() {
    const open = shownRows().length - decisions.among(shownRows());
    counted.textContent = `${decisions.count("drop")} to drop, ${decisions.count("relabel")} to relabel, `
      + `${decisions.count("keep")} to keep; ${open} open`;
  }

  const shownRows = () => overview.entries.map((entry) => entry.row);

  function draw() {
    shown = narrowed(overview, examples, decisions, narrow);
    cards = new Map(shown.map((entry, place) => [entry.row,
      suspectCard(overview, entry, examples.get(entry.row), decisions, spelled, () => { chosen = place; })]));
    replace(body, shown.length ? [...cards.values()].map((card) => card.element)
      : h("p", { class: "empty" }, "None of these match."));
    chosen = 0;
    tell();
  }

  function move(by) {
    if (!shown.length) return;
    const focused = document.activeElement.closest("[data-row]");
    chosen = Math.max(0, Math.min(shown.length - 1, focused ? chosen + by : chosen));
    const { element } = cards.get(shown[chosen].row);
    element.focus();
    element.scrollIntoView({ block: "nearest" });
  }

  const set = (name) => (value) => { narrow[name] = value; draw(); };
  const search = h("input", { type: "search", placeholder: "Search  ( / )", "aria-label": "Search",
    oninput: (event) => set("text")(event.target.value) });
  const help = helpBox([["j k", "next and previous"], ["d", "drop"], ["e", "keep"], ["r", "another label"],
    ["u", "undo"], ["s", "download the decisions"], ["/", "search"], ["t", "light or dark"]]);
  replace(document.getElementById("app"), h("header", { class: "top" },
    h("h1", {}, "datainf ", h("span", { class: "run" }, overview.run)),
    h("span", { class: "summary" }, overview.summary),
    button("Download decisions", decisions.save, { class: "go", id: "download" }),
    button("?", () => help.showModal(), { title: "keys", "aria-label": "keys" }), themed()),
  h("main", { class: "page" }, h("div", { class: "review" },
    h("p", { class: "note" }, overview.meaning),
    h("div", { class: "toolbar" }, search,
      select("order", [["combined", "suspicion"], ...overview.signals.map((s) => [s, s]), ["row", "row"]],
        narrow.order, set("order")),
      overview.labels.length ? select("label", labelOptions(overview), "", set("label")) : null,
      select("show", [["all", "all"], ["open", "open"], ["drop", "to drop"], ["relabel", "to relabel"],
        ["keep", "to keep"]], narrow.state, set("state")), counted), body,
    h("datalist", { id: "labels" }, overview.labels.map((label) => option(label, labelText(overview, label)))))), help);
  draw();
  const act = (decision) => () => shown[chosen] && decisions.decide(shown[chosen].row, decision);
  onKeys({
    j: () => move(1), k: () => move(-1), s: decisions.save, t: () => document.getElementById("theme").click(),
    "/": () => search.focus(), "?": () => help.showModal(), d: act("drop"), e: act("keep"), u: act(null),
    r: () => shown[chosen] && cards.get(shown[chosen].row).field?.focus(),
  });
  document.body.dataset.ready = "1";
}

/** The suspects that are looked for, in their order. */
function narrowed(overview, examples, decisions, { text, label, state, order }) {
  const sought = text.toLowerCase();
  const found = overview.entries.filter(({ row }) => {
    const example = examples.get(row);
    const one = decisions.get(row);
    return example && (!label || String(example.label) === label)
      && (state === "all" || (state === "open" ? !one : one && one.decision === state))
      && (!sought || searchable(example).includes(sought));
  });
  const by = overview.signals.indexOf(order);
  if (by >= 0) found.sort((a, b) => (b.signals[by][1] ?? Infinity) - (a.signals[by][1] ?? Infinity) || 0);
  else if (order === "row") found.sort((a, b) => a.row - b.row);
  return found;
}

/** What keys do, while nothing is typed. */
function onKeys(keys) {
  document.addEventListener("keydown", (event) => {
    if (typing(event)) {
      if (event.key === "Escape") event.target.blur();
    } else if (Object.hasOwn(keys, event.key)) {
      keys[event.key]();
      event.preventDefault();
    }
  });
}
