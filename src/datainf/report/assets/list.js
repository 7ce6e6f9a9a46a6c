// A long list of which only what is on the screen is there.

const ROW_HEIGHT = 64;

/** A scrolling list. `draw(index)` makes the element of an item; `choose(index)` is told of clicks. */
function virtualList(label, draw, choose) {
  const inside = h("div", { class: "list-inside" });
  const outside = h("div", { class: "list", tabindex: 0, role: "listbox", "aria-label": label }, inside);
  const named = (index) => `${label}-row-${index}`;
  let items = [];
  let chosen = -1;
  let height = 0;
  let unrevealed = false;

  function render() {
    const first = Math.max(0, Math.floor(outside.scrollTop / ROW_HEIGHT) - 4);
    const last = Math.min(items.length, first + Math.ceil((outside.clientHeight || 800) / ROW_HEIGHT) + 8);
    inside.style.setProperty("height", items.length * ROW_HEIGHT + "px");
    const shown = [];
    for (let place = first; place < last; place++) {
      const index = items[place];
      const element = draw(index);
      element.classList.add("list-row");
      element.style.setProperty("top", place * ROW_HEIGHT + "px");
      element.id = named(index);
      element.setAttribute("role", "option");
      element.setAttribute("aria-setsize", items.length);
      element.setAttribute("aria-posinset", place + 1);
      element.setAttribute("aria-selected", String(index === chosen));
      element.addEventListener("click", () => choose(index));
      shown.push(element);
    }
    inside.replaceChildren(...(items.length ? shown : [h("p", { class: "empty" }, "None of these match.")]));
    if (shown.some(({ id }) => id === named(chosen))) outside.setAttribute("aria-activedescendant", named(chosen));
    else outside.removeAttribute("aria-activedescendant");
  }

  /** Scroll to what is chosen, if it is not in view; a list that is hidden does not scroll, and does so later. */
  function reveal() {
    unrevealed = !outside.clientHeight;
    const place = items.indexOf(chosen), top = place * ROW_HEIGHT;
    if (unrevealed || place < 0) return;
    if (top < outside.scrollTop) outside.scrollTop = top;
    else if (top + ROW_HEIGHT > outside.scrollTop + outside.clientHeight) {
      outside.scrollTop = top + ROW_HEIGHT - outside.clientHeight;
    }
  }

  let waiting = false;
  outside.addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; render(); });
  });
  new ResizeObserver(() => {
    height = outside.clientHeight;
    render();
    if (height && unrevealed) reveal();
  }).observe(outside);

  return {
    element: outside,
    show(indices) { items = indices; outside.scrollTop = 0; render(); },
    select(index) {
      chosen = index;
      reveal();
      render();
    },
    step(by) {
      if (!items.length) return null;
      const place = items.indexOf(chosen);
      return items[Math.min(items.length - 1, Math.max(0, (place < 0 ? 0 : place + by)))];
    },
  };
}

/** A button for the next page of a list, that is pressed when it is scrolled to. */
function nextButton(load) {
  let busy = false, missed = false;
  async function press() {
    missed = busy;
    if (busy) return;
    busy = true;
    try { await load(); } finally { busy = false; }
    if (missed) look();  // another list was put in meanwhile, and it is in view again
  }
  const element = button("", press, { class: "next", hidden: true });
  const seen = new IntersectionObserver((all) => { if (all.some((one) => one.isIntersecting)) press(); });
  function look() {
    seen.unobserve(element);  // observed anew, it is told of again if it is still in view
    if (!element.hidden) setTimeout(() => seen.observe(element));
  }

  return {
    element,
    tell(left) {
      element.hidden = !left;
      element.textContent = `${left.toLocaleString("en")} more`;
      look();
    },
  };
}

/** `act` on what is typed: where a program looks for it, when no more is typed for a moment. What is
 * still to come can be `drop`ped. */
function afterTyping(act) {
  let timer = 0;
  const drop = () => clearTimeout(timer);
  const typed = (value) => {
    drop();
    if (served) timer = setTimeout(() => act(value), 250);
    else act(value);
  };
  return Object.assign(typed, { drop });
}

/** Waits for as long as a person who steps through a list stays no longer at each. */
function aMoment() {
  return new Promise((done) => setTimeout(done, 300));
}
