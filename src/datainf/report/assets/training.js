// The training examples by their mean scores: of the file those that matter to many queries, else all.

function trainingTab(overview, state) {
  const columns = [["row", "row"], ["score", "mean score"], ["helps", "helps"], ["harms", "harms"], ["loss", "loss"]];
  const wanted = { text: "", file: "", label: null, end: "both", order: "score", descending: true };
  const order = served ? servedOrder(overview, {}) : null;
  const table = h("tbody", {}), head = h("tr", {});
  const counted = h("span", { class: "counted", role: "status" });
  const next = nextButton(() => drawn === latest && load(loaded));
  let loaded = 0, largest = overview.largest || 1e-30;
  let latest = null, drawn = null;  // what was wanted last, and what the rows that are there are of

  const sorts = columns.map(([key, title]) => h("th", { class: "num" }, button(title, () => {
    wanted.descending = wanted.order === key ? !wanted.descending : key !== "row";
    wanted.order = key;
    load(0);
  }, { class: "sort" })));
  append(head, [sorts, h("th", {}, "example")]);

  function drawHead() {
    columns.forEach(([key, title], place) => {
      const way = wanted.order !== key ? "none" : wanted.descending ? "descending" : "ascending";
      sorts[place].setAttribute("aria-sort", way);
      sorts[place].firstChild.textContent = title + { none: "", descending: " ▼", ascending: " ▲" }[way];
    });
  }

  async function load(start) {
    const own = start ? drawn : { ...wanted };
    latest = own;
    if (!start) drawHead();
    const page = await (order || await embeddedMeans(overview)).page(own, start);
    if (own !== latest) return;
    if (!start) { drawn = own; loaded = 0; replace(table); }
    loaded += page.entries.length;
    largest = Math.max(largest, ...page.entries.map((e) => Math.abs(e.score)));
    append(table, page.entries.map(row));
    if (!page.total) {
      replace(table, h("tr", {}, h("td", { class: "empty", colspan: columns.length + 1 }, "None of these match.")));
    }
    showDecisions(state.decisions, table, null);
    counted.textContent = told(page.total);
    next.tell(page.total - loaded);
  }

  function told(total) {
    if (served) return (total < overview.n ? `${total.toLocaleString("en")} of ` : "") + count(overview.n, "example");
    const listed = overview.many.length;
    return count(total, "example") + (listed < overview.n
      ? ` of the ${listed} at both ends; ${overview.n.toLocaleString("en")} in all` : ` of ${listed}`);
  }

  function row(e) {
    return h("tr", { "data-row": e.row, tabindex: 0 },
      h("td", { class: "num", "data-name": "row" }, e.row),
      h("td", { class: "num", "data-name": "mean" }, signed(e.score), bar(e.score, Math.abs(e.score) / largest)),
      h("td", { class: "num", "data-name": "helps", title: "queries that have it among their most helpful" }, e.helps),
      h("td", { class: "num", "data-name": "harms", title: "queries that have it among their most harmful" }, e.harms),
      h("td", { class: "num", "data-name": "loss" }, number(e.example.loss)),
      h("td", {}, dropButton(state.decisions, e), labelsOf(e.example), textOf(e.example), placeOf(e.example)));
  }

  const set = (name) => (value) => { wanted[name] = value; load(0); };
  const sought = afterTyping(set("text"));
  const search = h("input", {
    type: "search", placeholder: "Search examples  ( / )", "aria-label": "Search examples",
    oninput: (event) => sought(event.target.value),
  });
  load(0);
  return {
    element: h("div", { class: "page" },
      h("p", { class: "note" }, "Training examples by their mean score over all queries, and in how many "
        + `queries' first ${overview.top} of either end they stand.`),
      h("div", { class: "toolbar" }, search,
        select("end", [["both", "both"], ["helpful", "helpful"], ["harmful", "harmful"]], wanted.end, set("end")),
        overview.files.length > 1
          ? select("file", [["", "all"], ...overview.files.map((f) => [f, f])], "", set("file")) : null,
        overview.labels.length ? labelSelect(overview, wanted.label, set("label")) : null, counted),
      h("div", { class: "scrolling" }, h("table", { class: "examples" }, h("thead", {}, head), table)), next.element),
    key: (event) => { if (event.key === "/") { search.focus(); event.preventDefault(); } },
  };
}
