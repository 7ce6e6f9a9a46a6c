// A new query, typed here: its attribution from the training store that is there.

function askTab(overview, state) {
  const fields = overview.ask.map((name) => [name, name === "label"
    ? h("input", { id: "ask-" + name, list: "ask-labels" })
    : h("textarea", { id: "ask-" + name, rows: name === "prompt" || name === "source" ? 4 : 3, dir: "auto" })]);
  const found = h("div", {}), said = h("p", { class: "unseen", role: "status" });
  const go = button("Which examples taught it this?", ask, { class: "go" });
  let shown = null;

  function put(ends, ...children) {
    if (shown) shown.leave();
    shown = ends;
    replace(found, children);
  }

  async function ask() {
    if (go.disabled) return;  // which a key does not see
    const body = Object.fromEntries(fields.map(([name, field]) => [name, field.value]));
    go.disabled = true;
    put(null, h("p", { class: "waiting", role: "status" }, "Taking its gradient, and scoring it against ",
      count(overview.n, "training example"), "…"));
    try {
      const query = await fetched("ask", body);
      const order = servedOrder(overview, { asked: query.asked });
      const ends = results(overview, state, notNarrowed(), query, order, (text) => { said.textContent = text; });
      put(ends, queryPanel(query).element,
        h("p", { class: "note" }, `answered in ${query.seconds.toFixed(1)} s`
          + (query.cut ? `; ${count(query.cut, "token")} beyond what the model reads were left out` : "")),
        ends.element);
      await ends.there;
    } catch (error) {
      put(null, h("p", { class: "failed", role: "alert" }, error.message));
    } finally {
      go.disabled = false;
    }
  }

  const form = h("form", { class: "ask", onsubmit: (event) => { event.preventDefault(); ask(); },
    onkeydown: (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask(); } },
    fields.map(([name, field]) => h("label", {}, h("span", { class: "part-name" }, name), field)),
    h("datalist", { id: "ask-labels" }, overview.labels.map((label) => option(label, labelText(overview, label)))), go);
  return {
    element: h("div", { class: "page" }, h("section", { class: "panel" }, h("h2", {}, "Ask a new query"),
      h("p", { class: "note" }, "What the model said or should say: which training examples would have made "
        + "that more likely, or less?"), form), said, found),
    key: () => {},
  };
}
