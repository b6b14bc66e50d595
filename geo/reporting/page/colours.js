// Colours of scores: ordered in lightness, safe for colour-blind readers.
const VIRIDIS = [[68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142], [31, 158, 137], [53, 183, 121], [109, 205, 89], [180, 222, 44], [253, 231, 37]];
const ORANGE_BLUE = [[127, 59, 8], [179, 88, 6], [224, 130, 20], [253, 184, 99], [240, 236, 226], [146, 197, 222], [67, 147, 195], [33, 102, 172], [5, 48, 97]];
const NAMES = [[0, 114, 178], [230, 159, 0], [0, 158, 115], [204, 121, 167], [86, 180, 233], [213, 94, 0], [240, 228, 66], [127, 127, 127]];
const UNKNOWN = [128, 128, 128];

function ramp(stops, share) {
  const x = Math.min(1, Math.max(0, share)) * (stops.length - 1), i = Math.min(stops.length - 2, Math.floor(x));
  return stops[i].map((v, k) => Math.round(v + (stops[i + 1][k] - v) * (x - i)));
}
const css = (rgb) => `rgb(${rgb.join(",")})`;
const gradient = (stops) => `linear-gradient(90deg, ${stops.map(css).join(",")})`;

/** How a column is coloured: `colour(value)` gives [r, g, b]; values as the column holds them. */
const scales = new Map();
function scaleOf(name) {
  if (!scales.has(name)) scales.set(name, makeScale(COLUMNS.get(name)));
  return scales.get(name);
}
function makeScale(column) {
  if (column.names) {
    const colours = column.names.map((_, k) => NAMES[k % NAMES.length]);
    return { names: column.names, colour: (code) => colours[code - 1] ?? UNKNOWN };
  }
  const values = sortedValues(column.name), diverging = Boolean(scoreOf(column.name).zero);
  let low = quantile(values, 0.02) ?? 0, high = quantile(values, 0.98) ?? 1;
  if (diverging) { high = Math.max(Math.abs(low), Math.abs(high), 1e-6); low = -high; }
  const stops = diverging ? ORANGE_BLUE : VIRIDIS, steps = 255;
  const table = Array.from({ length: steps + 1 }, (_, k) => ramp(stops, k / steps));
  const span = Math.max(high - low, 1e-12);
  return {
    low, high, stops, diverging,
    colour: (value) => (Number.isNaN(value) ? UNKNOWN : table[Math.round(Math.min(1, Math.max(0, (value - low) / span)) * steps)]),
  };
}

// Canvas knows no style sheet: its inks come from the page's, and from the light ones on paper.
let onPaper = false;
const LIGHT = { "--ink": "#1b2126", "--quiet": "#56616a", "--line": "#d5d9db", "--panel": "#ffffff", "--accent": "#0b6a94" };
const ink = (name) => (onPaper ? LIGHT[name] : getComputedStyle(document.documentElement).getPropertyValue(name).trim());
