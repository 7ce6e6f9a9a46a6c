// Elements from code alone: text from the data is always a text node, never markup.

/** An element: attributes, listeners ("onclick") and children; null children are left out. */
function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "style") {
      for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
    } else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(visible(String(child))));
  }
}

function replace(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

const INVISIBLE = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** Text with the characters shown that would act on the page and not be seen: control characters,
 * and those that turn the direction of what follows. */
function visible(text) {
  return text.replace(INVISIBLE, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
}

/** Text from the data, in its own direction. */
function words(text, attributes) {
  return h("span", { dir: "auto", ...attributes }, text);
}

/** Do what changes the heights of things within an element, and leave the first in view where it is. */
function inPlace(element, things, act) {
  const view = element.closest(".detail, .page");
  const top = view && view.scrollTop ? view.getBoundingClientRect().top : Infinity;
  const first = [...element.querySelectorAll(things)].find((one) => one.getBoundingClientRect().bottom > top);
  const before = first && first.getBoundingClientRect().top;
  act();
  if (first) view.scrollTop += first.getBoundingClientRect().top - before;
}

function button(label, onclick, attributes) {
  return h("button", { type: "button", onclick, ...attributes }, label);
}

function option(value, label, chosen) {
  return h("option", { value, selected: value === chosen }, label);
}

/** What is chosen among; after a choice by a pointer the page's keys act again. */
function select(label, options, chosen, onchange) {
  let byPointer = false;
  const chose = ({ target }) => {
    if (byPointer) target.blur();
    onchange(target.value);
  };
  return h("label", { class: "select" }, h("span", {}, label),
    h("select", { onpointerdown: () => { byPointer = true; }, onkeydown: () => { byPointer = false; }, onchange: chose },
      options.map(([value, text]) => option(value, text, chosen))));
}

function download(name, text, kind) {
  const url = URL.createObjectURL(new Blob([text], { type: kind || "application/json" }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
