// Numbers as people read them.

const whole = new Intl.NumberFormat("en");
const three = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** 11,173 B, 54.1 kB or 6.66 MB; 1 kB is 1,000 bytes. */
export function bytes(count) {
  if (count < 1e5) return `${whole.format(count)} B`;
  return count < 1e6 ? `${three.format(count / 1e3)} kB` : `${three.format(count / 1e6)} MB`;
}

/** Each byte counts: 11,173 bytes. */
export function exactBytes(count) {
  return `${whole.format(count)} bytes`;
}

/** 0.21 ms, 34 ms or 1.2 s. */
export function time(milliseconds) {
  if (milliseconds < 1) return `${milliseconds.toFixed(2)} ms`;
  if (milliseconds < 1000) return `${three.format(Number(milliseconds.toPrecision(milliseconds < 10 ? 2 : 3)))} ms`;
  return `${three.format(milliseconds / 1000)} s`;
}

/** How many times smaller or faster; "23x". */
export function times(ratio) {
  return `${ratio < 10 ? ratio.toFixed(1) : whole.format(Math.round(ratio))}x`;
}

/** 84 %, 3.2 % or 99.9 %, which no softmax exceeds: certain it never is. */
export function percent(part) {
  const tenths = Math.min(Math.round(part * 1000), 999) / 10;
  return `${tenths.toFixed(tenths < 10 || tenths > 99 ? 1 : 0)} %`;
}

/** Fetching the model: 40 % of 6.71 MB. In tens, so that a screen reader does not say each of them. */
export function fetching(what, loaded, total) {
  return `Fetching ${what}: ${Math.min(Math.floor((10 * loaded) / total) * 10, 100)} % of ${bytes(total)}`;
}

/** The middle one, or the mean of the middle two. */
export function median(values) {
  const sorted = [...values].sort((left, right) => left - right);
  const middle = sorted.length / 2;
  return (sorted[Math.ceil(middle) - 1] + sorted[Math.floor(middle)]) / 2;
}
