// Training examples in an order, a page at a time: of the few that are in the file, or of all that a
// program serves. `page(wanted, start)` promises { total, of, entries: [{ row, score, rank, example }] },
// `total` of which have what is sought, of `of`; `why(rows)`, if there is one, what their cards lack.

const PAGE = 25;

/** `whose`: { query: row } or { asked: number }, or {} for the means over all queries. */
function servedOrder(overview, whose) {
  return {
    page: (wanted, start) => fetched("list", { ...whose, ...wanted, start, count: PAGE }),
    why: overview.why && Object.keys(whose).length
      ? (rows) => fetched("why", { ...whose, rows }) : null,
  };
}

/** An order that asks why only for a query that stays open for a moment: a program takes its time for that. */
function unhurried(order, open) {
  const { page, why } = order;
  return { page, why: why && (async (rows) => { await aMoment(); return open() ? why(rows) : {}; }) };
}

/** Both ends of a query's order as they are in the file. */
async function embeddedOrder(overview, query, why) {
  const examples = await trainAt(overview, [...query.helpful, ...query.harmful].map(([row]) => row));
  const entries = ["helpful", "harmful"].flatMap((end) => query[end].map(([row, score], rank) =>
    ({ row, score, rank, example: examples.get(row), why: why[row] })));
  return orderOf(entries);
}

/** What matters to many queries, as it is in the file. */
async function embeddedMeans(overview) {
  const examples = await trainAt(overview, overview.many.map(({ row }) => row));
  return orderOf(overview.many.map((entry) => ({ ...entry, score: entry.mean, example: examples.get(entry.row) })));
}

function orderOf(entries) {
  const values = {
    score: (e) => e.score, row: (e) => e.row, helps: (e) => e.helps, harms: (e) => e.harms,
    loss: (e) => e.example.loss,
  };
  return {
    page: async ({ end, order, descending, text, file, label }, start) => {
      const sought = text.toLowerCase(), value = values[order];
      const own = entries.filter((e) => e.example && (end === "both" || (end === "helpful") === (e.score > 0)));
      const found = own.filter(({ example }) => hasThese(example, file, label)
        && (!sought || searchable(example).includes(sought)));
      found.sort((a, b) => (unknown(value(a)) - unknown(value(b)))
        || (descending ? -1 : 1) * (value(a) - value(b)) || a.row - b.row);
      return { total: found.length, of: own.length, entries: found.slice(start, start + 4 * PAGE) };
    },
  };
}

/** What is not known comes last, whichever way. */
function unknown(value) {
  return value === null || value === undefined ? 1 : 0;
}

/** Whether an example is of a file, where "" is any, and has a label, where null is any. */
function hasThese(example, file, label) {
  return (!file || example.file === file) && (label === null || example.label === label);
}

/** What a search looks through. */
function searchable(example) {
  const called = example.answer && example.answer.given;
  return [example.id, example.where, example.label, called, ...(example.parts || []).map(([, text]) => text)]
    .join("\n").toLowerCase();
}
