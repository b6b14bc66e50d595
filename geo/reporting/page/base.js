// What every part uses: elements, texts of numbers, events.
const $ = (id) => document.getElementById(id);

/** A new element; whatever is shown goes in as text. */
function make(tag, text, attributes = {}) {
  const element = document.createElement(tag);
  if (text !== undefined && text !== null) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

const MINUS = "−";
function fixed(value, digits = 2, sign = false) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : `${MINUS}∞`;
  const text = Math.abs(value).toFixed(digits);
  if (Number(text) === 0) return text;
  return (value < 0 ? MINUS : sign ? "+" : "") + text;
}
const percent = (share, digits = 0) => (share === null || share === undefined ? "–" : `${fixed(share * 100, digits)} %`);
const counted = (n, what = "tile") => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;

/** Digits after the point that tell values of this spread apart. */
const digitsFor = (spread) => Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(Math.max(spread, 1e-9)))));

/** Round numbers between two limits, at most about `wanted` of them. */
function ticksOf(low, high, wanted) {
  const step = roundUp(Math.max(high - low, 1e-9) / wanted), ticks = [];
  for (let i = Math.ceil(low / step - 1e-6); i * step <= high + step * 1e-6; i += 1) ticks.push(i * step);
  return { ticks, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}
function roundUp(raw) {
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * [1, 2, 5, 10].find((f) => f * power >= raw * 0.999);
}

// Parts of the page hear of changes by name: "chosen", "score", "filter", "paper".
const heard = {};
const on = (name, act) => (heard[name] ??= []).push(act);
const tell = (name) => (heard[name] ?? []).forEach((act) => act());

/** Act once a frame, however often it is asked for. */
function onceAFrame(act) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; act(); });
  };
}

const DATA = JSON.parse($("data").textContent);
$("data").textContent = ""; // megabytes that nobody needs twice
const SUMMARY = DATA.summary;
