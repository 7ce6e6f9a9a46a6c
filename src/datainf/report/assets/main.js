// The page: tabs, keys, light and dark.

/** What is shown, in the address behind "#"; another tab can be gone back from. */
function remember(state) {
  const text = new URLSearchParams({ tab: state.tab, query: state.query, heat: state.heat ? 1 : 0 });
  const other = location.hash && recalled().tab !== state.tab;
  history[other ? "pushState" : "replaceState"](null, "", "#" + text);
}

function recalled() {
  const found = new URLSearchParams(location.hash.slice(1));
  return {
    tab: found.get("tab") || "queries", query: Number(found.get("query")) || 0,
    heat: found.get("heat") !== "0",
  };
}

function themed() {
  let chosen = null;
  try { chosen = localStorage.getItem("datainf-theme"); } catch { /* a page from a file may have none */ }
  if (chosen) document.documentElement.dataset.theme = chosen;
  return button("◐", () => {
    const dark = getComputedStyle(document.documentElement).getPropertyValue("--is-dark").trim() === "1";
    document.documentElement.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("datainf-theme", dark ? "light" : "dark"); } catch { /* as above */ }
  }, { title: "light or dark (t)", "aria-label": "light or dark", id: "theme" });
}

const KEYS = [["j k", "next and previous query"], ["/", "search"], ["h", "token heat map"],
  ["d", "leave out the example that has the focus"], ["1 2 3", "queries, training data, overview"], ["t", "light or dark"], ["?", "this help"]];

function helpBox(keys) {
  const box = h("dialog", { class: "help" }, h("h2", {}, "Keys"),
    h("dl", {}, keys.map(([key, what]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)])),
    button("close", () => box.close()));
  return box;
}

/** Whether a dialog lies over the page: keys are then the dialog's own. */
function covered() {
  return document.querySelector("dialog[open]") !== null;
}

function typing(event) {
  return event.ctrlKey || event.metaKey || event.altKey
    || ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
}

async function start() {
  const app = document.getElementById("app");
  const overview = await part("overview");
  overview.ids = {};  // of the examples that were shown
  const decisions = decisionsOf(overview, changed);
  const state = { ...recalled(), decisions };
  const kinds = {
    queries: ["Queries", () => queriesTab(overview, state)],
    training: ["Training data", () => trainingTab(overview, state)],
    overview: ["Overview", () => overviewTab(overview)],
  };
  if (overview.ask) kinds.ask = ["Ask", () => askTab(overview, state)];
  const made = new Map();
  const body = h("main", {});
  const help = helpBox(KEYS);
  const tabs = h("nav", { role: "tablist" });
  const save = button("", decisions.save, { class: "go", id: "download",
    title: "datainf select RUN --decisions decisions.json --out FOLDER writes the data without them" });

  function changed(row) {
    for (const { element } of made.values()) showDecisions(decisions, element, row);
    const all = decisions.all();
    save.hidden = !all;
    save.textContent = `Download ${count(all, "decision")}`;
  }

  function show(name) {
    state.tab = kinds[name] ? name : "queries";
    remember(state);
    document.body.classList.remove("listing");
    if (!made.has(state.tab)) made.set(state.tab, kinds[state.tab][1]());
    body.replaceChildren(made.get(state.tab).element);
    replace(tabs, Object.entries(kinds).map(([key, [title]]) => button(title, () => show(key),
      { role: "tab", "aria-selected": String(key === state.tab), "data-tab": key })));
  }

  replace(app, h("header", { class: "top" },
    h("h1", {}, "datainf ", h("span", { class: "run", title: overview.run }, overview.run)),
    h("span", { class: "summary" }, overview.summary), save, tabs,
    button("?", () => help.showModal(), { title: "keys", "aria-label": "keys" }), themed()), body, help);
  document.addEventListener("keydown", (event) => {
    if (covered()) return;
    if (typing(event)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const name = Object.keys(kinds)[Number(event.key) - 1];
    if (name) show(name);
    else if (event.key === "t") document.getElementById("theme").click();
    else if (event.key === "?") help.showModal();
    else if (event.key === "d") dropFocused();
    else made.get(state.tab).key(event);
  });
  function dropFocused() {
    const example = document.activeElement.closest("[data-row]");
    if (example) decisions.decide(Number(example.dataset.row), "drop");
  }

  window.addEventListener("popstate", () => show(recalled().tab));
  changed(null);
  show(state.tab);
  document.body.dataset.ready = "1";
}

function failed(error) {
  const app = document.getElementById("app");
  replace(app, h("p", { class: "failed", role: "alert" }, "This page cannot be shown: " + error.message));
}

/** What fails after the page stands is said on top of it: a server that was stopped, above all. */
function tellFailure(event) {
  const said = h("p", { class: "failed toast", role: "alert" }, event.reason.message,
    button("close", () => said.remove()));
  for (const before of document.querySelectorAll(".toast")) before.remove();
  document.body.append(said);
  event.preventDefault();
}

window.addEventListener("unhandledrejection", tellFailure);
(document.body.dataset.page === "review" ? review() : start()).catch(failed);
