// A training example as a card: its score, and what each of its tokens had to do with that.

/** A training example with its score; `tell` is told why the score is so, {} where that is not known. */
function card(overview, state, { row, score, rank, example, why }, largest) {
  const body = h("div", {}), tensors = h("div", {}), part = h("p", { class: "note", role: "status" });

  function draw() {
    const streams = (why && why.read) || example.streams;
    const coloured = state.heat && why && why.streams && streams;
    replace(body, coloured ? heatMap(streams, why) : textOf(example),
      state.heat && overview.heat && !coloured ? uncoloured(why) : null);
    replace(part);
  }

  function tell(found) {
    why = found;
    if (state.heat) draw();
    if (why && why.tensors) replace(tensors, tensorsOf(overview, why));
  }

  const element = h("article", { class: "card", "data-row": row, tabindex: 0,
    onclick: (event) => pointAt(event.target.closest(".token")),
    onkeydown: (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by || event.target !== element || event.ctrlKey || event.metaKey || event.altKey) return;
      const tokens = [...body.querySelectorAll(".token")];
      const place = tokens.indexOf(body.querySelector(".pointed"));
      pointAt(tokens[Math.min(tokens.length - 1, Math.max(0, place + by))]);
      event.preventDefault();
    } },
  h("header", {}, h("span", { class: "rank" }, rank + 1),
    h("strong", { class: "score" }, signed(score)), bar(score, Math.abs(score) / largest),
    dropButton(state.decisions, { row, example })),
  labelsOf(example), body, part, h("footer", {}, placeOf(example), tensors));

  /** Say a token's part in the score. */
  function pointAt(token) {
    if (!token) return;
    body.querySelector(".pointed")?.classList.remove("pointed");
    token.classList.add("pointed");
    token.scrollIntoView({ block: "nearest" });
    replace(part, h("code", {}, JSON.stringify(token.textContent)), ` ${token.title} of ${signed(score)}`);
  }

  draw();
  if (why) tell(why);
  return { draw, tell, element };
}

/** Why a card has no colours; nothing as long as that is being asked. */
function uncoloured(why) {
  if (served && !why) return null;
  return h("p", { class: "note" }, served ? "No colours: its tokens' parts cannot be told, or do not sum to its score."
    : "No colours: not read again for its tokens (datainf report --tokens all), or left out, as the overview says.");
}
