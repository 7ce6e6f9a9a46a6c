// Where the page's data come from: parts in the file itself, or the program that serves it.

const served = document.body.dataset.served;
const parts = new Map();

/** A part of the data by name, read once. */
function part(name) {
  if (!parts.has(name)) {
    const found = served ? fetched(name) : embedded(name);
    parts.set(name, found);
    found.catch(() => parts.delete(name));  // so that it is tried again
  }
  return parts.get(name);
}

async function embedded(name) {
  const element = document.getElementById("data-" + name);
  if (!element) throw new Error("the page has no part " + name);
  const bytes = Uint8Array.from(atob(element.textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

async function fetched(name, body) {
  const request = { headers: { "X-Datainf-Token": served } };
  if (body !== undefined) {
    request.method = "POST";
    request.body = JSON.stringify(body);
    request.headers["Content-Type"] = "application/json";
  }
  const response = await fetch("data/" + name, request);
  const text = await response.text();
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error(`${response.status}: ${text.slice(0, 200)}`);
  }
  if (!response.ok) throw new Error(value.error || String(response.status));
  return value;
}

/** A query by its row: its whole text and its lists. */
async function queryAt(overview, row) {
  const size = overview.sizes.queries;
  return (await part("queries-" + Math.floor(row / size)))[row % size];
}

/** Looks for queries: `find({ text, label, file })` promises { rows, labels, files }: the rows of those
 * that have all of these, of which "" is any text or file and null any label, and what labels and files there are. Of a page's file the
 * queries' whole texts are read at the first call, a part at a time. */
function queryFinder(overview) {
  if (served) return (sought) => fetched("queries", sought);
  let reading = null;
  return async ({ text, label, file }) => {
    reading = reading || queryTexts(overview);
    const { known, labels, files } = await reading;
    const sought = text.toLowerCase(), rows = [];
    known.forEach((one, row) => {
      if (hasThese(one, file, label) && one.text.includes(sought)) rows.push(row);
    });
    return { rows, labels, files };
  };
}

const MANY_TO_CHOOSE = 100;

/** What is sought in the queries of a page's file, of each in its row; and their labels and files. */
async function queryTexts(overview) {
  const known = [], labels = new Set(), files = new Set();
  while (known.length < overview.queries.ids.length) {
    // Not by `part`, which would keep what is read.
    const some = await embedded("queries-" + known.length / overview.sizes.queries);
    for (const one of some) {
      known.push({ text: searchable(one), label: one.label, file: one.file });
      if (one.label !== undefined) labels.add(one.label);
      files.add(one.file);
    }
    await new Promise((done) => setTimeout(done));  // let keys and clicks in between
  }
  const few = (names) => (names.size <= MANY_TO_CHOOSE ? [...names].sort() : []);
  return { known, labels: few(labels), files: few(files) };
}

/** Training examples by their rows: Map row → example. */
async function trainAt(overview, rows) {
  const size = overview.sizes.train;
  const wanted = new Map();
  for (const row of rows) {
    const slot = overview.shown ? slotOf(overview.shown, row) : row;
    if (slot < 0) continue;
    const chunk = Math.floor(slot / size);
    if (!wanted.has(chunk)) wanted.set(chunk, []);
    wanted.get(chunk).push([row, slot % size]);
  }
  const found = new Map();
  await Promise.all([...wanted].map(async ([chunk, places]) => {
    const examples = await part("train-" + chunk);
    for (const [row, place] of places) found.set(row, examples[place]);
  }));
  return found;
}

/** Where a row stands in a sorted list; -1 if it does not. */
function slotOf(rows, row) {
  let low = 0, high = rows.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (rows[middle] === row) return middle;
    if (rows[middle] < row) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

/** Why the scores of a query are so: { row of a training example: parts }. */
async function whyOf(overview, row) {
  if (!overview.why) return {};
  const chunk = await part("why-" + Math.floor(row / overview.sizes.why));
  return chunk[row] || {};
}
