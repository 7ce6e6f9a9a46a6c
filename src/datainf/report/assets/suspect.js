// A suspect as a card: the example, what speaks against it, and what to do with it.

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;  // as in data/examples.py

/** The card; `mark` shows what is decided, and `use` whether it is the card in use, which keys act
 * on. `used` is told when anything within it is clicked or has the focus. */
function suspectCard(overview, entry, example, decisions, { spelled, meant }, used) {
  const { row } = entry;
  const answer = example.answer && example.answer.agrees === false ? example.answer.text : null;
  const said = spelled.get(answer);
  const take = (label) => (label ? decisions.decide(row, "relabel", label) : decisions.decide(row, null));
  const field = overview.relabels ? labelField(meant, take, { before: showLabel, leave: () => element.focus() }) : null;
  const saidButton = said === undefined ? null
    : button(`it is ${answer}`, () => decisions.toggle(row, "relabel", said), { class: "said", "aria-pressed": "false" });
  const press = (decision) => button(decision, () => decisions.toggle(row, decision),
    { "data-decide": decision, "aria-pressed": "false" });
  const element = h("article", { class: "card suspect", "data-row": row, tabindex: 0,
    onfocusin: used, onclick: used },
    h("header", {}, h("span", { class: "rank" }, entry.rank),
      h("strong", {}, `suspicion ${tenths(entry.combined)}`),
      h("span", { class: "decide" }, press("keep"), press("drop"),
        saidButton, field)),
    labelsOf(example), h("div", { class: "looks" }, textOf(example),
      h("div", { class: "signals" }, entry.signals.map(([name, value, share]) => h("div", { class: "bar-row" },
        h("span", { class: "bar-name" }, name), bar(-1, share),
        h("span", { class: "bar-value", title: `more than ${percent(share)} of all examples` }, number(value)))))),
    h("footer", {}, placeOf(example), entry.near.length ? neighboursOf(overview, entry) : null));

  function mark() {
    const one = decisions.get(row);
    element.dataset.decision = one ? one.decision : "";
    for (const pressed of element.querySelectorAll("[data-decide]")) {
      pressed.setAttribute("aria-pressed", String(Boolean(one) && pressed.dataset.decide === one.decision));
    }
    if (saidButton) {
      saidButton.setAttribute("aria-pressed", String(Boolean(one) && one.decision === "relabel" && one.label === said));
    }
    if (field) showLabel();
  }

  function showLabel() {
    const one = decisions.get(row);
    field.value = one && one.decision === "relabel" ? one.label : "";
    field.title = labelText(overview, field.value);
    field.setCustomValidity("");
  }

  const use = (on) => element.setAttribute("aria-current", String(on));

  mark();
  return { element, mark, use, field };
}

/** Where another label is typed; one that datainf select would refuse is not taken, and why is said.
 * Enter takes what is typed, Escape has what was there `before`, and both `leave`. */
function labelField(meant, decide, { before, leave }) {
  return h("input", { class: "relabel", list: "labels", placeholder: "new label", "aria-label": "new label",
    size: 9,
    oninput: ({ target }) => target.setCustomValidity(""),
    onkeydown: (event) => {
      if (event.isComposing || !["Enter", "Escape"].includes(event.key)) return;
      if (event.key === "Escape") before();
      leave();  // of another value than there was, the browser then tells `onchange`
      event.preventDefault();
    },
    onchange: ({ target }) => {
      const { label, wrong } = meant(target.value);
      target.setCustomValidity(wrong || "");
      if (wrong) target.reportValidity();
      else decide(label);
    } });
}

/** What is meant by what is typed: { label } as the data have it, by its class's name too, "" for
 * nothing typed; or what is { wrong }. Where labels are numbers, any that their column can hold. */
function labelReader(overview, spelled) {
  const known = new Set(overview.labels);
  const fits = (text) => overview.largest !== null && NUMBER.test(text) && Math.abs(Number(text)) <= overview.largest;
  return (typed) => {
    const text = known.has(typed) ? typed : typed.trim();
    if (!text || known.has(text) || fits(text)) return { label: text };
    if (spelled.has(text)) return { label: spelled.get(text) };
    if (overview.largest === null) return { wrong: `no training example has the label ${text}` };
    return { wrong: `the labels are numbers, and ${text} is none that fits` };
  };
}

/** Those whose gradients are nearest, read when they are asked for. */
function neighboursOf(overview, entry) {
  const near = h("details", {}, h("summary", {}, "near neighbours"));
  near.addEventListener("toggle", async () => {
    if (!near.open || near.childElementCount > 1) return;
    const found = await trainAt(overview, entry.near.map(([row]) => row));
    near.append(...entry.near.filter(([row]) => found.has(row)).map(([row, cosine]) => h("div", { class: "near" },
      h("span", { class: "num", title: "cosine of the gradients" }, signed(cosine)),
      h("div", {}, labelsOf(found.get(row)), textOf(found.get(row)), placeOf(found.get(row))))));
  });
  return near;
}
