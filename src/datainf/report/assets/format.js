// Numbers as people read them.

/** Three significant digits; an exponent where that would be long. */
function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size >= 1e5 || size < 1e-3) return value.toExponential(2);
  return size >= 999.5 ? value.toFixed(0) : value.toPrecision(3);
}

function signed(value) {
  return (value > 0 ? "+" : "") + number(value).replace("-", "−");
}

function count(n, one, many) {
  return `${n.toLocaleString("en")} ${n === 1 ? one : many || one + "s"}`;
}

/** Cut to tenths, so that what is not all is never 100 %. */
function tenths(share) {
  return (Math.floor(1000 * share) / 10).toFixed(1) + " %";
}

function percent(share) {
  const value = 100 * share;
  if (value > 99 && value < 100) return tenths(share);
  return (value >= 10 || value === 0 ? value.toFixed(0) : value.toFixed(1)) + " %";
}
