// The training examples that matter to many queries.

function trainingTab(overview, state) {
  const columns = [
    ["row", "row", (e) => e.row], ["mean", "mean score", (e) => e.mean],
    ["helps", "helps", (e) => e.helps], ["harms", "harms", (e) => e.harms],
    ["loss", "loss", (e) => e.loss ?? Infinity],
  ];
  let sorted = ["mean", -1];
  const narrow = { text: "", file: "", label: "", end: "both" };
  const table = h("tbody", {});
  const counted = h("span", { class: "counted" });
  const head = h("tr", {});

  function drawHead() {
    replace(head, columns.map(([key, title]) => h("th", { "aria-sort": sorted[0] === key
      ? (sorted[1] > 0 ? "ascending" : "descending") : "none" },
    button(title + (sorted[0] === key ? (sorted[1] > 0 ? " ▲" : " ▼") : ""), () => {
      sorted = [key, sorted[0] === key ? -sorted[1] : (key === "row" ? 1 : -1)];
      draw();
    }, { class: "sort" }))), h("th", {}, "example"));
  }

  async function draw() {
    drawHead();
    const examples = await trainAt(overview, overview.many.map((e) => e.row));
    const sought = narrow.text.toLowerCase();
    const shown = overview.many.map((e) => ({ ...e, example: examples.get(e.row) }))
      .filter((e) => e.example).map((e) => ({ ...e, loss: e.example.loss }))
      .filter((e) => (!narrow.file || e.example.file === narrow.file)
        && (!narrow.label || String(e.example.label) === narrow.label)
        && (narrow.end === "both" || (narrow.end === "helpful") === (e.mean > 0))
        && (!sought || searchable(e.example).includes(sought)));
    const value = columns.find(([key]) => key === sorted[0])[2];
    shown.sort((a, b) => sorted[1] * (value(a) - value(b) || 0) || a.row - b.row);
    const listed = overview.many.length;
    counted.textContent = `${count(shown.length, "example")}` + (listed < overview.n
      ? ` of the ${listed} at both ends; ${overview.n.toLocaleString("en")} in all` : ` of ${listed}`);
    const largest = Math.max(1e-30, ...shown.map((e) => Math.abs(e.mean)));
    replace(table, shown.slice(0, 400).map((e) => h("tr", { "data-row": e.row },
      h("td", { class: "num", "data-name": "row" }, e.row),
      h("td", { class: "num", "data-name": "mean" }, signed(e.mean), bar(e.mean, Math.abs(e.mean) / largest)),
      h("td", { class: "num", "data-name": "helps", title: "queries that have it among their most helpful" }, e.helps),
      h("td", { class: "num", "data-name": "harms", title: "queries that have it among their most harmful" }, e.harms),
      h("td", { class: "num", "data-name": "loss" }, number(e.loss)),
      h("td", {}, labelsOf(e.example), textOf(e.example), placeOf(e.example)))));
  }

  const search = h("input", {
    type: "search", placeholder: "Search examples  ( / )", "aria-label": "Search examples",
    oninput: (event) => { narrow.text = event.target.value; draw(); },
  });
  draw();
  return {
    element: h("div", { class: "page" },
      h("p", { class: "note" }, "Training examples by their mean score over all queries, and in how many "
        + `queries' first ${overview.top} of either end they stand.`),
      h("div", { class: "toolbar" }, search,
        select("end", [["both", "both"], ["helpful", "helpful"], ["harmful", "harmful"]], narrow.end,
          (value) => { narrow.end = value; draw(); }),
        overview.files.length > 1 ? select("file", [["", "all"], ...overview.files.map((f) => [f, f])], "",
          (value) => { narrow.file = value; draw(); }) : null,
        overview.labels.length ? select("label", labelOptions(overview), "",
          (value) => { narrow.label = value; draw(); }) : null, counted),
      h("div", { class: "scrolling" }, h("table", { class: "examples" }, h("thead", {}, head), table))),
    key: (event) => { if (event.key === "/") { search.focus(); event.preventDefault(); } },
  };
}
