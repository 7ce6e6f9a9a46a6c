// What the run was, how scores are spread, where in the model they come from, how methods agree.

function overviewTab(overview) {
  return {
    element: h("div", { class: "page overview" },
      panel("This run", h("dl", {}, overview.facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, words(value))])),
        h("p", { class: "note" }, "A score is positive where training more on the example lowers the loss of the "
          + "query, and negative where it raises it. Scores compare within one run; between methods, compare ranks.")),
      panel("Scores", histogram(overview.histogram)),
      overview.shares ? panel("Where in the model they come from", tensorShares(overview.shares)) : null,
      overview.methods.length > 1 ? panel("How methods agree", agreement(overview)) : null),
    key: () => {},
  };
}

function panel(title, ...children) {
  return h("section", { class: "panel" }, h("h2", {}, title), children);
}

const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  append(element, children);
  return element;
}

function histogram({ edges, counts, below, above, of }) {
  if (!counts.length) return h("p", { class: "empty" }, "There is no score.");
  const most = Math.max(...counts), width = 640, height = 180;
  const scale = (n) => (n ? (Math.log1p(n) / Math.log1p(most)) * height : 0);
  const step = width / counts.length;
  const zero = (-edges[0] / (edges[edges.length - 1] - edges[0])) * width;
  return h("figure", {},
    svg("svg", { viewBox: `0 0 ${width} ${height + 24}`, role: "img", "aria-label": "histogram of scores", class: "chart" },
      counts.map((n, i) => {
        const middle = (edges[i] + edges[i + 1]) / 2;
        const one = svg("rect", {
          x: (i * step + 0.5).toFixed(2), width: Math.max(0.5, step - 1).toFixed(2),
          y: (height - scale(n)).toFixed(2), height: scale(n).toFixed(2),
          class: middle >= 0 ? "helps" : "harms",
        });
        one.append(svg("title", {}, `${number(edges[i])} to ${number(edges[i + 1])}: ${n.toLocaleString("en")}`));
        return one;
      }),
      svg("line", { x1: 0, x2: width, y1: height, y2: height, class: "axis" }),
      zero > 0 && zero < width ? svg("text", { x: zero, y: height + 16, "text-anchor": "middle" }, "0") : null,
      svg("text", { x: 0, y: height + 16 }, signed(edges[0])),
      svg("text", { x: width, y: height + 16, "text-anchor": "end" }, signed(edges[edges.length - 1]))),
    h("figcaption", { class: "note" }, `${of}; heights are logarithmic`
      + (below + above ? `; ${below + above} beyond the ends` : "") + "."));
}

function tensorShares({ layers, kinds }) {
  return h("div", {}, h("p", { class: "note" }, "Sizes of the tensors' parts, over the pairs of query and training "
      + "example that this page shows."),
    h("div", { class: "two" }, shares("layer", layers), shares("tensor", kinds)));
}

function shares(title, entries) {
  const most = Math.max(1e-30, ...entries.map(([, share]) => share));
  return h("div", {}, h("h3", {}, "by " + title), h("div", { class: "bars" }, entries.map(([name, share]) =>
    h("div", { class: "bar-row", title: name }, h("span", { class: "bar-name" }, name),
      bar(1, share / most), h("span", { class: "bar-value" }, percent(share))))));
}

function agreement({ methods, agreement: found }) {
  const square = (title, values, show) => h("div", {}, h("h3", {}, title),
    h("div", { class: "scrolling" }, h("table", { class: "square" },
      h("thead", {}, h("tr", {}, h("td", {}), methods.map((name) => h("th", {}, name)))),
      h("tbody", {}, values.map((row, i) => h("tr", {}, h("th", {}, methods[i]),
        row.map((value, j) => h("td", { class: "num", style: { "--share": value === null ? 0 : Math.max(0, value).toFixed(3) } },
          value === null ? "–" : show(value, i, j)))))))));
  const most = Math.max(...found.first.flat());
  const fewer = (k) => (k < most ? h("span", { class: "note" }, ` of the first ${k}`) : null);
  return h("div", {}, h("p", { class: "note" }, overWhat(found)),
    h("div", { class: "two" },
      square("rank correlation (Spearman)", found.spearman, (v) => v.toFixed(2)),
      square(`share of the first ${most} in common`, found.overlap, (v, i, j) => [percent(v), fewer(found.first[i][j])])));
}

/** Of which queries the means are. */
function overWhat({ queries, looked_at: looked, all }) {
  if (!queries) return "No query has an order by all of these methods.";
  const some = looked < all ? `${count(looked, "query", "queries")} spread over all ${all.toLocaleString("en")}`
    : count(all, "query", "queries");
  return `Means over ${some}`
    + (queries < looked ? `, without the ${(looked - queries).toLocaleString("en")} whose scores are all equal.` : ".");
}
