// Suspects one by one: keep, drop or relabel, and the decisions as a file.

async function review() {
  const overview = await part("overview");
  const spelled = new Map(Object.entries(overview.names).reverse().map(([label, name]) => [name, label]));
  const meant = labelReader(overview, spelled);
  const examples = await trainAt(overview, overview.entries.map((entry) => entry.row));
  const narrow = { text: "", label: null, state: "all", order: "combined" };
  const body = h("div", { class: "suspects" });
  const counted = h("span", { class: "counted", role: "status" });
  const decisions = decisionsOf(overview, changed);
  const save = button("Download decisions", decisions.save, { class: "go", id: "download" });
  let cards = new Map();
  let shown = [];
  let chosen = null;  // the row of the card in use

  function changed(row) {
    for (const [own, card] of cards) if (row === null || own === row) card.mark();
    tell();
  }

  function tell() {
    const open = shownRows().length - decisions.among(shownRows());
    counted.textContent = `${decisions.count("drop")} to drop, ${decisions.count("relabel")} to relabel, `
      + `${decisions.count("keep")} to keep; ${open} open`;
    save.disabled = !decisions.all();
    save.title = save.disabled ? "nothing is decided yet" : "for datainf select --decisions (s)";
  }

  const shownRows = () => overview.entries.map((entry) => entry.row);

  function draw() {
    shown = narrowed(overview, examples, decisions, narrow);
    cards = new Map(shown.map((entry) => [entry.row,
      suspectCard(overview, entry, examples.get(entry.row), decisions, { spelled, meant }, () => choose(entry.row))]));
    replace(body, shown.length ? [...cards.values()].map((card) => card.element)
      : h("p", { class: "empty" }, "None of these match."));
    choose(cards.has(chosen) ? chosen : null);
    tell();
  }

  function choose(row) {
    chosen = row;
    for (const [own, card] of cards) card.use(own === row);
  }

  function move(by) {
    if (!shown.length) return;
    const place = shown.findIndex(({ row }) => row === chosen);
    const next = place < 0 ? 0 : Math.max(0, Math.min(shown.length - 1, place + by));
    const { element } = cards.get(shown[next].row);
    element.focus();
    element.scrollIntoView({ block: "nearest" });
  }

  /** What a key does to the card in use; one that is out of sight is shown, and no more. */
  const act = (does) => () => {
    const card = cards.get(chosen);
    if (card && inSight(card.element)) does(chosen, card);
    else if (card) card.element.scrollIntoView({ block: "nearest" });
  };
  const decide = (decision) => act((row) => decisions.toggle(row, decision));

  const set = (name) => (value) => { narrow[name] = value; draw(); };
  const search = h("input", { type: "search", placeholder: "Search  ( / )", "aria-label": "Search",
    oninput: (event) => set("text")(event.target.value) });
  const help = helpBox([["j k", "next and previous card"], ["d", "drop the outlined card"], ["e", "keep it"],
    ["r", "give it another label: Enter takes what is typed, Escape leaves it"], ["u", "undo that"], ["s", "download the decisions"], ["/", "search"], ["t", "light or dark"]]);
  replace(document.getElementById("app"), h("header", { class: "top" },
    h("h1", {}, "datainf ", h("span", { class: "run" }, overview.run)),
    h("span", { class: "summary" }, overview.summary),
    save, button("?", () => help.showModal(), { title: "keys", "aria-label": "keys" }), themed()),
  h("main", { class: "page" }, h("div", { class: "review" },
    h("p", { class: "note" }, overview.meaning),
    h("div", { class: "toolbar" }, search,
      select("order", [["combined", "suspicion"], ...overview.signals.map((s) => [s, s]), ["row", "row"]],
        narrow.order, set("order")),
      overview.offered ? labelSelect(overview, null, set("label")) : null,
      select("show", [["all", "all"], ["open", "open"], ["drop", "to drop"], ["relabel", "to relabel"],
        ["keep", "to keep"]], narrow.state, set("state")), counted), body,
    overview.offered ? h("datalist", { id: "labels" },
      overview.labels.map((label) => option(label, labelText(overview, label)))) : null)), help);
  draw();
  onKeys({
    j: () => move(1), k: () => move(-1), s: decisions.save, t: () => document.getElementById("theme").click(),
    "/": () => search.focus(), "?": () => help.showModal(), d: decide("drop"), e: decide("keep"), u: decide(null),
    r: act((_, card) => card.field?.focus()),
  });
  document.body.dataset.ready = "1";
}

/** The suspects that are looked for, in their order. */
function narrowed(overview, examples, decisions, { text, label, state, order }) {
  const sought = text.toLowerCase();
  const found = overview.entries.filter(({ row }) => {
    const example = examples.get(row);
    const one = decisions.get(row);
    return example && hasThese(example, "", label)
      && (state === "all" || (state === "open" ? !one : one && one.decision === state))
      && (!sought || searchable(example).includes(sought));
  });
  const by = overview.signals.indexOf(order);
  if (by >= 0) found.sort((a, b) => (b.signals[by][1] ?? Infinity) - (a.signals[by][1] ?? Infinity) || 0);
  else if (order === "row") found.sort((a, b) => a.row - b.row);
  return found;
}

/** Whether so much of a card is on the screen that it is seen which it is. */
function inSight(element) {
  const card = element.getBoundingClientRect();
  const page = element.closest("main").getBoundingClientRect();
  const seen = Math.min(card.bottom, page.bottom) - Math.max(card.top, page.top);
  return seen >= Math.min(card.height, 40);
}

/** What keys do, while nothing is typed. */
function onKeys(keys) {
  document.addEventListener("keydown", (event) => {
    if (covered()) return;
    if (typing(event)) {
      if (event.key === "Escape") event.target.blur();
    } else if (Object.hasOwn(keys, event.key)) {
      keys[event.key]();
      event.preventDefault();
    }
  });
}
