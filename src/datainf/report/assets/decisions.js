// What a person has decided of suspects: kept in the browser from visit to visit, shared by tabs.

/** Decisions by row, { decision, label }. `changed(row)` is told of each; of all where row is null. */
function decisionsOf(overview, changed) {
  const key = "datainf-review-" + overview.digest;
  let known = new Map();
  let stored = true;
  let unsaved = false;

  function read() {
    try {
      known = new Map(JSON.parse(localStorage.getItem(key) || "[]"));
    } catch {
      stored = false;  // a page from a file may have no storage
    }
  }

  function write() {
    try {
      localStorage.setItem(key, JSON.stringify([...known]));
    } catch {
      stored = false;
    }
  }

  window.addEventListener("storage", (event) => {
    if (event.key === key) { read(); changed(null); }
  });
  window.addEventListener("beforeunload", (event) => {
    if (unsaved && !stored) event.preventDefault();
  });
  /** Those of the run's examples: another run may have had more rows of the same data. */
  const ours = () => [...known].filter(([row]) => row < overview.n);

  /** Null takes a decision back. */
  function decide(row, decision, label) {
    if (stored) read();  // what another tab has decided meanwhile
    if (decision === null) known.delete(row);
    else known.set(row, label === undefined ? { decision } : { decision, label });
    unsaved = true;
    write();
    changed(row);
  }

  read();
  return {
    get: (row) => known.get(row),
    all: () => ours().length,
    count: (decision) => ours().filter(([, one]) => one.decision === decision).length,
    among: (rows) => rows.filter((row) => known.has(row)).length,
    /** What an example's id is, for the file. */
    named(row, id) { overview.ids[row] = id; },
    decide,
    /** What a button or a key does: the same decision again takes it back. */
    toggle(row, decision, label) {
      if (stored) read();
      const before = known.get(row);
      decide(row, before && before.decision === decision && before.label === label ? null : decision, label);
    },
    save() {
      if (!ours().length) return;
      const listed = ours().sort((a, b) => a[0] - b[0]).map(([row, one]) =>
        (Object.hasOwn(overview.ids, row) ? { row, id: overview.ids[row], ...one } : { row, ...one }));
      download("decisions.json",
        JSON.stringify({ source: overview.source, digest: overview.digest, decisions: listed }, null, 1));
      unsaved = false;
    },
  };
}

/** A button that marks an example not to be trained on. */
function dropButton(decisions, { row, example }) {
  decisions.named(row, example.id);
  return h("span", { class: "decide" }, button("drop", () => decisions.toggle(row, "drop"),
    { "data-decide": "drop", "aria-pressed": "false", title: "leave it out: for datainf select --decisions (d)" }));
}

/** Show on examples with such buttons, all or those of one row, what is decided. */
function showDecisions(decisions, within, row) {
  for (const element of within.querySelectorAll(row === null ? "[data-row]" : `[data-row="${row}"]`)) {
    const one = decisions.get(Number(element.dataset.row));
    element.dataset.decision = one ? one.decision : "";
    const pressed = element.querySelector("[data-decide]");
    if (pressed) pressed.setAttribute("aria-pressed", String(Boolean(one) && one.decision === "drop"));
  }
}
