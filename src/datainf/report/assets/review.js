// Suspects one by one: keep, drop or relabel, and the decisions as a file.

async function review() {
  const app = document.getElementById("app");
  const overview = await part("overview");
  const key = "datainf-review-" + overview.digest;
  const decisions = new Map();
  try {
    for (const [row, one] of JSON.parse(localStorage.getItem(key) || "[]")) decisions.set(row, one);
  } catch { /* a page from a file may have no storage */ }
  const spelled = new Map(Object.entries(overview.names).reverse().map(([label, name]) => [name, label]));
  const examples = await trainAt(overview, overview.entries.map((e) => e.row));
  const cards = new Map();
  let chosen = 0;
  let narrow = { text: "", label: "", state: "all" };
  let order = "combined";

  function decide(row, decision, label) {
    const before = decisions.get(row);
    if (decision === null || (before && before.decision === decision && before.label === label)) decisions.delete(row);
    else decisions.set(row, label === undefined ? { decision } : { decision, label });
    try { localStorage.setItem(key, JSON.stringify([...decisions])); } catch { /* as above */ }
    if (cards.has(row)) mark(row);
    tell();
  }

  function mark(row) {
    const one = decisions.get(row);
    const element = cards.get(row);
    element.dataset.decision = one ? one.decision : "";
    for (const pressed of element.querySelectorAll("[data-decide]")) {
      pressed.setAttribute("aria-pressed", String(Boolean(one) && pressed.dataset.decide === one.decision));
    }
    const field = element.querySelector(".relabel");
    if (field) field.value = one && one.decision === "relabel" ? one.label : "";
  }

  function tell() {
    const of = { keep: 0, drop: 0, relabel: 0 };
    for (const one of decisions.values()) of[one.decision] += 1;
    counted.textContent = `${of.drop} to drop, ${of.relabel} to relabel, ${of.keep} to keep; `
      + `${overview.entries.length - [...decisions.keys()].filter((row) => examples.has(row)).length} open`;
  }

  function save() {
    const listed = [...decisions].sort((a, b) => a[0] - b[0]).map(([row, one]) =>
      ({ row, id: overview.ids[row] === undefined ? row : overview.ids[row], ...one }));
    download("decisions.json", JSON.stringify({ source: overview.source, digest: overview.digest, decisions: listed }, null, 1));
  }

  function suspect(entry) {
    const example = examples.get(entry.row);
    const row = entry.row;
    const near = h("details", {}, h("summary", {}, "near neighbours"));
    near.addEventListener("toggle", async () => {
      if (!near.open || near.childElementCount > 1) return;
      const found = await trainAt(overview, entry.near.map(([r]) => r));
      near.append(...entry.near.filter(([r]) => found.has(r)).map(([r, cosine]) => h("div", { class: "near" },
        h("span", { class: "num", title: "cosine of the gradients" }, signed(cosine)),
        h("div", {}, labelsOf(found.get(r)), textOf(found.get(r)), placeOf(found.get(r))))));
    });
    const field = overview.labels.length
      ? h("input", { class: "relabel", list: "labels", placeholder: "label", "aria-label": "new label", size: 12,
        onchange: (event) => decide(row, event.target.value ? "relabel" : null, event.target.value || undefined) }) : null;
    const answer = example.answer && example.answer.agrees === false ? example.answer.text : null;
    const said = spelled.get(answer);
    const press = (decision, label) => button(label, () => decide(row, decision),
      { "data-decide": decision, "aria-pressed": "false" });
    const element = h("article", { class: "card suspect", "data-row": row, tabindex: 0, onfocus: () => { chosen = place(row); } },
      h("header", {}, h("span", { class: "rank" }, entry.rank),
        h("strong", {}, `suspicion ${percent(entry.combined)}`),
        h("span", { class: "decide" }, press("keep", "keep"), press("drop", "drop"),
          said !== undefined ? button(`it is ${answer}`, () => decide(row, "relabel", said), { class: "said" }) : null, field)),
      labelsOf(example), h("div", { class: "looks" }, textOf(example),
      h("div", { class: "signals" }, entry.signals.map(([name, value, share]) => h("div", { class: "bar-row" },
        h("span", { class: "bar-name" }, name), bar(-1, share),
        h("span", { class: "bar-value", title: `more than ${percent(share)} of all examples` }, number(value)))))),
      h("footer", {}, placeOf(example), entry.near.length ? near : null));
    cards.set(row, element);
    mark(row);
    return element;
  }

  let shown = [];
  const place = (row) => shown.findIndex((entry) => entry.row === row);
  const body = h("div", { class: "suspects" });

  function draw() {
    const sought = narrow.text.toLowerCase();
    shown = overview.entries.filter((entry) => {
      const example = examples.get(entry.row);
      const one = decisions.get(entry.row);
      return example && (!narrow.label || String(example.label) === narrow.label)
        && (narrow.state === "all" || (narrow.state === "open" ? !one : one && one.decision === narrow.state))
        && (!sought || searchable(example).includes(sought));
    });
    const by = overview.signals.indexOf(order);
    if (by >= 0) shown.sort((a, b) => b.signals[by][1] - a.signals[by][1]);
    else if (order === "row") shown.sort((a, b) => a.row - b.row);
    cards.clear();
    replace(body, shown.length ? shown.map(suspect) : h("p", { class: "empty" }, "None of these match."));
    chosen = 0;
    tell();
  }

  function move(by) {
    if (!shown.length) return;
    const here = place(Number((document.activeElement.closest("[data-row]") || {}).dataset?.row));
    chosen = Math.max(0, Math.min(shown.length - 1, (here < 0 ? chosen - by : here) + by));
    cards.get(shown[chosen].row).focus();
    cards.get(shown[chosen].row).scrollIntoView({ block: "nearest" });
  }

  const counted = h("span", { class: "counted", role: "status" });
  const help = helpBox([["j k", "next and previous"], ["d", "drop"], ["e", "keep"], ["r", "another label"],
    ["u", "undo"], ["s", "download the decisions"], ["/", "search"], ["t", "light or dark"]]);
  const search = h("input", { type: "search", placeholder: "Search  ( / )", "aria-label": "Search",
    oninput: (event) => { narrow.text = event.target.value; draw(); } });
  replace(app, h("header", { class: "top" },
    h("h1", {}, "datainf ", h("span", { class: "run" }, overview.run)),
    h("span", { class: "summary" }, overview.summary),
    button("Download decisions", save, { class: "go", id: "download" }),
    button("?", () => help.showModal(), { title: "keys", "aria-label": "keys" }), themed()),
  h("main", { class: "page" }, h("div", { class: "review" },
    h("p", { class: "note" }, overview.meaning),
    h("div", { class: "toolbar" }, search,
      select("order", [["combined", "suspicion"], ...overview.signals.map((s) => [s, s]), ["row", "row"]], order,
        (value) => { order = value; draw(); }),
      overview.labels.length ? select("label", labelOptions(overview), "",
        (value) => { narrow.label = value; draw(); }) : null,
      select("show", [["all", "all"], ["open", "open"], ["drop", "to drop"], ["relabel", "to relabel"], ["keep", "to keep"]],
        "all", (value) => { narrow.state = value; draw(); }), counted), body,
    h("datalist", { id: "labels" }, overview.labels.map((label) => option(label, labelText(overview, label)))))), help);
  draw();
  document.addEventListener("keydown", (event) => {
    if (typing(event)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const entry = shown[chosen];
    const keys = {
      j: () => move(1), k: () => move(-1), s: save, t: () => document.getElementById("theme").click(),
      "/": () => search.focus(), "?": () => help.showModal(),
      d: () => entry && decide(entry.row, "drop"), e: () => entry && decide(entry.row, "keep"),
      u: () => entry && decide(entry.row, null),
      r: () => entry && cards.get(entry.row).querySelector(".relabel")?.focus(),
    };
    if (!keys[event.key]) return;
    keys[event.key]();
    event.preventDefault();
  });
  document.body.dataset.ready = "1";
}
