// One query at a time, with the training examples at either end of its order.

function queriesTab(overview, state) {
  const total = overview.queries.ids.length;
  const list = virtualList("queries", drawRow, (index) => open(index));
  const detail = h("section", { class: "detail", "aria-live": "polite" });
  const narrow = notNarrowed();
  let filter = "";
  let order = "row";

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
      const rows = [...query.helpful, ...query.harmful].map(([row]) => row);
      const examples = await trainAt(overview, rows);
      const show = (why) => {
        if (state.query !== index) return;
        replace(detail, queryPanel(overview, query), results(overview, state, narrow, query, examples, why));
      };
      if (served) show({});  // why takes a moment there
      else detail.scrollTop = 0;
      show(await whyOf(overview, index));
    } catch (error) {
      if (state.query === index) replace(detail, h("p", { class: "failed", role: "alert" }, error.message));
    }
  }

  function key(event) {
    if (event.key === "/") { search.focus(); event.preventDefault(); return; }
    if (event.key === "h" && overview.heat) { state.heat = !state.heat; remember(state); open(state.query); return; }
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
  return { text: "", file: "", label: "", order: "score" };
}

/** Both ends of a query's order, and what narrows them down. */
function results(overview, state, narrow, query, examples, why) {
  const largest = Math.max(1e-30, ...[...query.helpful, ...query.harmful].map(([, s]) => Math.abs(s)));
  const columns = h("div", { class: "columns" });
  const set = (name) => (value) => { narrow[name] = value; draw(); };

  function column(title, kind, meaning, entries) {
    const sought = narrow.text.toLowerCase();
    const shown = entries.map(([row, score], rank) => ({ row, score, rank, example: examples.get(row) }))
      .filter(({ example }) => example
        && (!narrow.file || example.file === narrow.file)
        && (!narrow.label || String(example.label) === narrow.label)
        && (!sought || searchable(example).includes(sought)));
    if (narrow.order === "loss") shown.sort((a, b) => (b.example.loss ?? Infinity) - (a.example.loss ?? Infinity) || 0);
    if (narrow.order === "row") shown.sort((a, b) => a.row - b.row);
    return h("section", { class: "column " + kind }, h("h2", {}, title), h("p", { class: "note" }, meaning),
      shown.length ? shown.map((entry) => card(overview, entry, why[entry.row], largest, state.heat))
        : h("p", { class: "empty" }, entries.length ? "None of these match." : "None is on this side."));
  }

  function draw() {
    replace(columns,
      column("Most helpful", "helps", "Training more on these lowers the loss of the query.", query.helpful),
      column("Most harmful", "harms", "Training more on these raises the loss of the query.", query.harmful));
  }

  draw();
  return h("div", {}, h("div", { class: "toolbar" },
    h("input", {
      type: "search", placeholder: "Filter these examples", "aria-label": "Filter these examples",
      value: narrow.text, oninput: (event) => set("text")(event.target.value),
    }),
    overview.files.length > 1
      ? select("file", [["", "all"], ...overview.files.map((f) => [f, f])], narrow.file, set("file")) : null,
    overview.labels.length
      ? select("label", labelOptions(overview), narrow.label, set("label")) : null,
    select("order", [["score", "by score"], ["loss", "by loss"], ["row", "by row"]], narrow.order, set("order")),
    overview.heat ? h("label", { class: "check" }, h("input", {
      type: "checkbox", checked: state.heat,
      onchange: (event) => { state.heat = event.target.checked; remember(state); draw(); },
    }), "token heat map (h)") : null), columns);
}

/** What a search looks through. */
function searchable(example) {
  const called = example.answer && example.answer.given;
  return [example.id, example.where, example.label, called, ...(example.parts || []).map(([, text]) => text)]
    .join("\n").toLowerCase();
}

/** The query itself: its text, what the model says to it, and its loss. */
function queryPanel(overview, query) {
  const answer = query.answer;
  const said = answer && answer.written;
  return h("section", { class: "query" },
    h("div", { class: "query-title" }, h("h2", {}, "Query"), placeOf(query)),
    labelsOf(query), textOf(query),
    said ? h("div", { class: "part answer" }, h("span", { class: "part-name" }, "the model says"),
      longText(answer.text || "(nothing)")) : null);
}

/** A training example with its score. */
function card(overview, { row, score, rank, example }, why, largest, heat) {
  const body = h("div", {});
  const streams = (why && why.read) || example.streams;
  const draw = (hot) => replace(body, hot && why && why.streams && streams
    ? heatMap(streams, why) : textOf(example));
  draw(heat);
  return h("article", { class: "card", "data-row": row, tabindex: 0 },
    h("header", {}, h("span", { class: "rank" }, rank + 1),
      h("strong", { class: "score" }, signed(score)), bar(score, Math.abs(score) / largest)),
    labelsOf(example), body,
    h("footer", {}, placeOf(example), why && why.tensors ? tensorsOf(overview, why) : null));
}
