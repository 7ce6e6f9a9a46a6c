// An example as a person reads it: its texts, its picture, its label, and what each token did.

const LONG = 700;

/** The name, place and loss of an example. */
function placeOf(example) {
  return h("span", { class: "place" },
    example.id === undefined ? null : h("code", { title: "id" }, example.id),
    example.where === undefined ? null : example.href && !served
      ? h("a", { href: example.href, title: "open the file", rel: "noreferrer" }, example.where)
      : h("span", {}, example.where),
    h("span", { title: "its loss under the model as it is in the end" }, "loss " + number(example.loss)),
    example.skipped === undefined ? null : h("span", { class: "skipped", title: example.skipped },
      "skipped: " + example.skipped));
}

/** A label as the data have it, and what the model calls it. */
function labelText(overview, label) {
  const name = Object.hasOwn(overview.names, label) ? overview.names[label] : label || "none";
  return name === label || !label ? name : `${label} · ${name}`;
}

/** A choice among labels; `choose` is told which as the data have it, of any label null. */
function labelSelect(overview, chosen, choose) {
  const options = overview.labels.map((label, place) => [String(place), labelText(overview, label)]);
  return select("label", [["", "all"], ...options], String(overview.labels.indexOf(chosen)),
    (place) => choose(place === "" ? null : overview.labels[place]));
}

/** Label given by the data, and the one that the model gives; of a pair which the model prefers. */
function labelsOf(example) {
  const answer = example.answer;
  if (answer && answer.given === undefined && example.label === undefined) {
    return h("div", { class: "labels" }, h("span", { class: "label" + rightOrWrong(answer), title: PREFERS },
      "model ", words(answer.text, { class: "value" })));
  }
  if (answer && answer.agrees !== null && answer.agrees !== undefined) {
    const sure = answer.probability === null || answer.probability === undefined
      ? "" : ` (${percent(answer.probability)})`;
    return h("div", { class: "labels" },
      h("span", { class: "label" }, "label ", words(answer.given, { class: "value" })),
      h("span", { class: "label" + rightOrWrong(answer) },
        "model says ", words(answer.text, { class: "value" }), sure));
  }
  if (example.label !== null && example.label !== undefined) {
    return h("div", { class: "labels" },
      h("span", { class: "label" }, "label ", words(example.label || "none", { class: "value" })),
      answer && h("span", { class: "label" }, "model says ", words(answer.text, { class: "value" })));
  }
  return null;
}

const PREFERS = "beside its reference: β times the difference of the two completions' log-ratios";

function rightOrWrong(answer) {
  return answer.agrees === undefined ? "" : answer.agrees ? " right" : " wrong";
}

/** A text that is cut where it is long, with a button for the rest. */
function longText(text, more) {
  const body = h("span", { dir: "auto" });
  const whole = () => replace(body, text, more ? h("em", { class: "cut" }, ` … ${more}`) : null);
  if (text.length <= LONG + 100) {
    whole();
    return body;
  }
  const short = () => replace(body, text.slice(0, LONG), "… ",
    button(`${more ? "the first" : "all"} ${text.length.toLocaleString("en")} characters`, whole, { class: "more" }));
  short();
  return body;
}

/** A picture; of a tiny one each pixel is seen. */
function pictureElement(attributes) {
  return h("img", { ...attributes,
    onload: (event) => event.target.classList.toggle("pixels", event.target.naturalWidth <= 32) });
}

/** The parts of an example (prompt, completion, …) one below the other. */
function textOf(example) {
  const own = example.parts || [];
  const picture = example.image
    ? pictureElement({ src: example.image, alt: "image " + example.id, class: "picture", loading: "lazy" }) : null;
  return h("div", { class: "text" }, picture, own.map(([name, text, more]) =>
    h("div", { class: "part" },
      own.length > 1 ? h("span", { class: "part-name" }, name) : null,
      longText(text, more))));
}

/** Tokens over a colour for each: what it added to the score, or took from it. */
function heatMap(streams, why) {
  const largest = Math.max(1e-30, ...why.streams.flat().map(Math.abs));
  const drawn = streams.map(([name, tokens, supervised], place) => {
    const values = why.streams[place] || [];
    const spans = tokens.map((token, t) => {
      const value = values[t] || 0;
      const share = Math.abs(value) / largest;
      return h("span", {
        class: "token" + (value > 0 ? " helps" : value < 0 ? " harms" : "")
          + (supervised && !supervised[t] ? " unlearned" : ""),
        style: { "--share": share.toFixed(3) },
        title: signed(value * why.unit),
      }, token);
    });
    const [rest, beyond] = why.beyond ? why.beyond[place] : [0, 0];
    return h("div", { class: "part heat" },
      streams.length > 1 ? h("span", { class: "part-name" }, name) : null,
      h("span", { dir: "auto" }, spans, rest ? h("em", { class: "cut" },
        ` … ${signed(beyond * why.unit)} of the score lies in the ${count(rest, "token")} after these`) : null));
  });
  const elsewhere = why.elsewhere * why.unit;
  return h("div", { class: "text" }, drawn,
    Math.abs(why.elsewhere) > 0.005 * largest
      ? h("p", { class: "note" }, `${signed(elsewhere)} of the score lies at none of these tokens:`
        + " in heads, pooled outputs, prompts that the adapter learned.")
      : null);
}

/** Shares of the tensors in one score, the largest first, and what the others have together. */
function tensorsOf(overview, why) {
  const entries = why.tensors.map(([index, value]) => [...overview.tensors[index], value]);
  if (why.other_tensors) {
    const [others, value] = why.other_tensors;
    entries.push([count(others, "smaller tensor"), `the other ${others.toLocaleString("en")}`, value]);
  }
  const most = Math.max(1e-30, ...entries.map(([, , value]) => Math.abs(value)));
  return h("details", { class: "tensors" }, h("summary", {}, "by tensor"),
    h("div", { class: "bars" }, entries.map(([title, name, value]) =>
      h("div", { class: "bar-row", title },
        h("span", { class: "bar-name" }, name),
        bar(value * why.tensor_unit, Math.abs(value) / most),
        h("span", { class: "bar-value" }, signed(value * why.tensor_unit))))));
}

/** A bar to the right for what helps, in another colour for what harms. */
function bar(value, share) {
  return h("span", { class: "bar " + (value >= 0 ? "helps" : "harms") },
    h("span", { style: { width: (100 * Math.min(1, share)).toFixed(1) + "%" } }));
}
