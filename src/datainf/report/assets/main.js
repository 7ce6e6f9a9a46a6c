// The page: tabs, keys, light and dark.

/** What is shown, in the address behind "#"; `anew` it can be gone back from. */
function remember(state, anew = false) {
  const text = new URLSearchParams({ tab: state.tab, query: state.query, heat: state.heat ? 1 : 0 });
  history[anew ? "pushState" : "replaceState"](null, "", "#" + text);
}

/** Colour the tokens of all results that are there, or do so no longer. */
function heat(state, on) {
  state.heat = on;
  remember(state);
  for (const one of state.results) one.recolour();
}

/** What the address says, which may be typed by anybody. */
function recalled() {
  const found = new URLSearchParams(location.hash.slice(1));
  const query = Math.trunc(Number(found.get("query")));
  return {
    tab: found.get("tab") || "queries", query: Number.isFinite(query) ? Math.max(0, query) : 0,
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

const KEYS = [["j k", "next and previous query"], ["↑ ↓", "the same, where the list has the focus"],
  ["← →", "the tokens of the card that has the focus, and the part of each"], ["/", "search"], ["h", "token heat map"],
  ["d", "leave out the example that has the focus"], ["1 2 3", "queries, training data, overview"],
  ["Esc", "out of a field, and out of the list on a phone"], ["t", "light or dark"], ["?", "this help"]];

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

/** Whether a key is the browser's, or that of a field; a box that is ticked takes none of ours. */
function typing(event) {
  return event.ctrlKey || event.metaKey || event.altKey
    || event.target.matches("input:not([type=checkbox]), select, textarea");
}

/** Tabs over their panels, one of which is shown: by a click, or by arrows between the tabs. */
function tabList(titles, choose) {
  const names = Object.keys(titles);
  const tabs = names.map((name) => button(titles[name], () => choose(name), { role: "tab", id: "tab-" + name,
    "data-tab": name, "aria-controls": "panel-" + name }));
  const panels = names.map((name) => h("div", { role: "tabpanel", id: "panel-" + name, "aria-labelledby": "tab-" + name }));

  function moved(event) {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key], place = tabs.indexOf(event.target);
    if (!by || place < 0) return;
    const next = (place + by + names.length) % names.length;
    tabs[next].focus();
    choose(names[next]);
  }

  return {
    names, panels, element: h("nav", { role: "tablist", onkeydown: moved }, tabs),
    /** Show an element in the panel of its name, and in no other. */
    show(name, element) {
      names.forEach((own, place) => {
        const on = own === name;
        tabs[place].setAttribute("aria-selected", String(on));
        tabs[place].tabIndex = on ? 0 : -1;
        panels[place].hidden = !on;  // and left where it is, so that it keeps how far it was scrolled
        if (on && panels[place].firstChild !== element) panels[place].replaceChildren(element);
      });
    },
  };
}

async function start() {
  const app = document.getElementById("app");
  const overview = await part("overview");
  overview.ids = {};  // of the examples that were shown
  const decisions = decisionsOf(overview, changed);
  const state = { ...recalled(), decisions, results: new Set() };
  const kinds = {
    queries: ["Queries", () => queriesTab(overview, state)],
    training: ["Training data", () => trainingTab(overview, state)],
    overview: ["Overview", () => overviewTab(overview)],
  };
  if (overview.ask) kinds.ask = ["Ask", () => askTab(overview, state)];
  const made = new Map();
  const help = helpBox(KEYS);
  const tabs = tabList(Object.fromEntries(Object.entries(kinds).map(([name, [title]]) => [name, title])), choose);
  const save = button("", decisions.save, { class: "go", id: "download",
    title: "datainf select RUN --decisions decisions.json --out FOLDER writes the data without them" });

  function changed(row) {
    for (const { element } of made.values()) showDecisions(decisions, element, row);
    const all = decisions.all();
    save.hidden = !all;
    save.textContent = `Download ${count(all, "decision")}`;
  }

  function choose(name) {
    show(name, name !== state.tab);
  }

  function show(name, anew) {
    state.tab = Object.hasOwn(kinds, name) ? name : "queries";
    remember(state, anew);
    if (!made.has(state.tab)) made.set(state.tab, kinds[state.tab][1]());
    tabs.show(state.tab, made.get(state.tab).element);
    made.get("queries")?.leave();
  }

  /** What the address has come to say: it was gone back, or another was typed. */
  function follow() {
    Object.assign(state, recalled());
    show(state.tab);
    heat(state, state.heat);
    made.get("queries")?.follow();
  }

  replace(app, h("header", { class: "top" },
    h("h1", {}, "datainf ", h("span", { class: "run", title: overview.run }, overview.run)),
    h("span", { class: "summary" }, overview.summary), save, tabs.element,
    button("?", () => help.showModal(), { title: "keys", "aria-label": "keys" }), themed()),
  h("main", {}, tabs.panels), help);
  document.addEventListener("keydown", (event) => {
    if (covered()) return;
    if (event.key === "Escape") made.get("queries")?.leave();
    if (typing(event)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const name = tabs.names[Number(event.key) - 1];
    if (name) choose(name);
    else if (event.key === "t") document.getElementById("theme").click();
    else if (event.key === "?") help.showModal();
    else if (event.key === "d") dropFocused();
    else if (event.key === "h" && overview.heat) heat(state, !state.heat);
    else made.get(state.tab).key(event);
  });
  function dropFocused() {
    const example = document.activeElement.closest("[data-row]");
    if (example) decisions.toggle(Number(example.dataset.row), "drop");
  }

  window.addEventListener("popstate", follow);
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
