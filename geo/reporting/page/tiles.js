// Tiles as columns, which of them are kept by the filter, and which one is chosen.
const COUNT = DATA.tiles.count;
const ARRAYS = { f4: Float32Array, i4: Int32Array, u1: Uint8Array, u2: Uint16Array, u4: Uint32Array };

function decode(text, kind) {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i += 1) bytes[i] = raw.charCodeAt(i);
  return new ARRAYS[kind](bytes.buffer);
}

/** A column of numbers (null: NaN) or of names (codes plus one, null: 0), decoded when first used. */
class Column {
  constructor(entry) {
    this.name = entry.name;
    this.names = entry.names ?? null;
    this.entry = entry;
  }
  get values() {
    const { data, kind, constant } = this.entry;
    const values = data === undefined ? new ARRAYS[kind](COUNT).fill(constant) : decode(data, kind);
    Object.defineProperty(this, "values", { value: values });
    return values;
  }
  get(i) {
    const value = this.values[i];
    if (this.names) return value ? this.names[value - 1] : null;
    return Number.isNaN(value) ? null : value;
  }
}
const COLUMNS = new Map(DATA.tiles.columns.map((entry) => [entry.name, new Column(entry)]));
const ROW = decode(DATA.tiles.row, "i4"), COL = decode(DATA.tiles.col, "i4");
const nameOf = (i) => (DATA.tiles.tiles ? DATA.tiles.tiles[i] : `r${ROW[i]}_c${COL[i]}`);
const valueOf = (name, i) => COLUMNS.get(name)?.get(i) ?? null;
const first = (n) => (n === "gain_db" ? 0 : 1);
const SCORED = [...COLUMNS.keys()].filter((n) => !COLUMNS.get(n).names).sort((a, b) => first(a) - first(b));
const NAMED = [...COLUMNS.keys()].filter((n) => COLUMNS.get(n).names);
const firstKnown = (...names) => names.find((n) => COLUMNS.has(n)) ?? SCORED[0] ?? NAMED[0];

// Where a tile stands: rows and columns of the lattice, counted from the first.
const extent = (values) => values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
const [TOP, BOTTOM] = extent(ROW), [LEFT, RIGHT] = extent(COL);
const HIGH = BOTTOM - TOP + 1, WIDE = RIGHT - LEFT + 1;
const GRID = new Int32Array(HIGH * WIDE).fill(-1);
for (let i = 0; i < COUNT; i += 1) GRID[(ROW[i] - TOP) * WIDE + COL[i] - LEFT] = i;
const tileAt = (row, col) =>
  (row < TOP || row > BOTTOM || col < LEFT || col > RIGHT ? -1 : GRID[(row - TOP) * WIDE + col - LEFT]);

// Tiles that the headline is about.
const TEST = SUMMARY.scope === "test" ? COLUMNS.get("split") : null;
const TEST_CODE = TEST ? TEST.names.indexOf("test") + 1 : 0;
const inScope = (i) => !TEST || TEST.values[i] === TEST_CODE;

const state = { chosen: -1, score: firstKnown("gain_db", "psnr_db", "lr_consistency") };
const filter = { text: "", names: {}, losers: false, range: null };
const kept = new Uint8Array(COUNT).fill(1);
let keptCount = COUNT;

function choose(i) {
  if (i === state.chosen || i < 0) return;
  state.chosen = i;
  tell("chosen");
}
function setScore(name) {
  state.score = name;
  tell("score");
}

/** Change what is filtered by, and mark the tiles that pass. */
function setFilter(changes) {
  Object.assign(filter, changes);
  const text = filter.text.trim().toLowerCase();
  const hit = (name) => name.toLowerCase().includes(text);
  // Names are few and tiles many: look through the names once, then at codes.
  const found = text ? NAMED.map((n) => COLUMNS.get(n)).map((c) => [c.values, [false, ...c.names.map(hit)]]).filter(([, hits]) => hits.includes(true)) : [];
  const wanted = Object.entries(filter.names).map(([n, name]) => [COLUMNS.get(n).values, COLUMNS.get(n).names.indexOf(name) + 1]);
  const gain = filter.losers ? COLUMNS.get("gain_db").values : null;
  const range = filter.range, ranged = range ? COLUMNS.get(range.name).values : null;
  keptCount = 0;
  for (let i = 0; i < COUNT; i += 1) {
    let pass = (!gain || gain[i] < 0) && (!ranged || (ranged[i] >= range.low && ranged[i] < range.high));
    for (let k = 0; pass && k < wanted.length; k += 1) pass = wanted[k][0][i] === wanted[k][1];
    if (pass && text) pass = found.some(([values, hits]) => hits[values[i]]) || hit(nameOf(i));
    kept[i] = pass ? 1 : 0;
    keptCount += kept[i];
  }
  tell("filter");
}
const filtered = () => Boolean(filter.text.trim() || filter.losers || filter.range || Object.keys(filter.names).length);

/** Known finite values of a column in rising order; of the headline's tiles, or of all. */
const sorted = new Map();
function sortedValues(name, scoped = false) {
  const key = `${name} ${scoped}`;
  if (!sorted.has(key)) sorted.set(key, COLUMNS.get(name).values.filter((v, i) => Number.isFinite(v) && (!scoped || inScope(i))).sort());
  return sorted.get(key);
}
const quantile = (values, q) => (values.length ? values[Math.round(q * (values.length - 1))] : null);
