// The map: tiles as one small image, scaled; so it costs the same for ten tiles and for fifty thousand.
const view = { zoom: 1, row: 0, col: 0, unit: 1 }; // what is in the middle, and CSS pixels of a tile

function startMap() {
  const canvas = $("map"), tip = $("tip"), area = DATA.overview;
  const picture = new Image(), cells = document.createElement("canvas");
  const samples = new Map();
  for (const { rank, tile } of DATA.pictures) samples.set(tile, rank);
  const sampled = [];
  for (let i = 0; samples.size && i < COUNT; i += 1) if (samples.has(nameOf(i))) sampled.push([i, samples.get(nameOf(i))]);
  cells.width = WIDE;
  cells.height = HIGH;
  let hovered = -1, width = 1, height = 1;

  const wholeView = () => Object.assign(view, { zoom: 1, row: area.top + area.height / 2, col: area.left + area.width / 2 });
  const toX = (col) => width / 2 + (col - view.col) * view.unit, toY = (row) => height / 2 + (row - view.row) * view.unit;
  const tileUnder = (x, y) => tileAt(Math.floor(view.row + (y - height / 2) / view.unit), Math.floor(view.col + (x - width / 2) / view.unit));

  function paintCells() {
    const column = COLUMNS.get(state.score), scale = scaleOf(state.score), context = cells.getContext("2d");
    const image = context.createImageData(WIDE, HIGH), { data } = image, { values } = column;
    for (let i = 0; i < COUNT; i += 1) {
      const at = 4 * ((ROW[i] - TOP) * WIDE + COL[i] - LEFT), rgb = scale.colour(values[i]);
      data[at] = rgb[0]; data[at + 1] = rgb[1]; data[at + 2] = rgb[2];
      data[at + 3] = kept[i] ? 255 : 40;
    }
    context.putImageData(image, 0, 0);
  }

  function draw() {
    const frame = canvas.parentElement.clientWidth;
    const tall = Math.max(260, Math.min(frame * (area.height / area.width), window.innerHeight * 0.72, 760));
    const { context } = ({ width, height } = prepare(canvas, Math.round(tall)));
    view.unit = view.zoom * Math.min(width / area.width, height / area.height);
    context.clearRect(0, 0, width, height);
    context.imageSmoothingEnabled = true;
    const strength = 1 - $("veil").value / 100;
    if (picture.complete && picture.naturalWidth && strength < 1) {
      context.drawImage(picture, toX(area.left), toY(area.top), area.width * view.unit, area.height * view.unit);
    }
    context.imageSmoothingEnabled = false;
    context.globalAlpha = strength;
    context.drawImage(cells, toX(LEFT), toY(TOP), WIDE * view.unit, HIGH * view.unit);
    context.globalAlpha = 1;
    if (view.unit >= 6) { drawGaps(context); drawUnknown(context); }
    if (TEST && view.unit >= 5 && state.score !== "split") drawScope(context);
    drawSamples(context);
    if (hovered >= 0 && hovered !== state.chosen) outline(context, hovered, 1.5);
    if (state.chosen >= 0) outline(context, state.chosen, 3);
  }
  const drawSoon = onceAFrame(draw);

  /** Rows and columns of the lattice that are in view. */
  function inView() {
    const half = [height, width].map((n) => n / 2 / view.unit);
    return [Math.max(TOP, Math.floor(view.row - half[0])), Math.min(BOTTOM, Math.floor(view.row + half[0])),
      Math.max(LEFT, Math.floor(view.col - half[1])), Math.min(RIGHT, Math.floor(view.col + half[1]))];
  }
  function forTilesInView(act) {
    const [r0, r1, c0, c1] = inView();
    for (let r = r0; r <= r1; r += 1) for (let c = c0; c <= c1; c += 1) if (tileAt(r, c) >= 0) act(tileAt(r, c), r, c);
  }
  function drawGaps(context) {
    const [r0, r1, c0, c1] = inView();
    context.beginPath();
    for (let r = r0; r <= r1 + 1; r += 1) { context.moveTo(toX(c0), toY(r)); context.lineTo(toX(c1 + 1), toY(r)); }
    for (let c = c0; c <= c1 + 1; c += 1) { context.moveTo(toX(c), toY(r0)); context.lineTo(toX(c), toY(r1 + 1)); }
    context.strokeStyle = ink("--panel");
    context.globalAlpha = 0.55;
    context.lineWidth = 1;
    context.stroke();
    context.globalAlpha = 1;
  }
  /** Unknown is told by a stroke as well as by grey. */
  function drawUnknown(context) {
    const { values, names } = COLUMNS.get(state.score);
    context.beginPath();
    forTilesInView((i, r, c) => {
      if (names ? values[i] : !Number.isNaN(values[i])) return;
      context.moveTo(toX(c) + 2, toY(r + 1) - 2);
      context.lineTo(toX(c + 1) - 2, toY(r) + 2);
    });
    context.strokeStyle = ink("--ink");
    context.lineWidth = 1;
    context.stroke();
  }
  /** Outline of the ground that the headline is about. */
  function drawScope(context) {
    context.beginPath();
    const out = (r, c) => { const i = tileAt(r, c); return i < 0 || !inScope(i); };
    const edge = (x0, y0, x1, y1) => { context.moveTo(toX(x0), toY(y0)); context.lineTo(toX(x1), toY(y1)); };
    forTilesInView((i, r, c) => {
      if (!inScope(i)) return;
      if (out(r - 1, c)) edge(c, r, c + 1, r);
      if (out(r + 1, c)) edge(c, r + 1, c + 1, r + 1);
      if (out(r, c - 1)) edge(c, r, c, r + 1);
      if (out(r, c + 1)) edge(c + 1, r, c + 1, r + 1);
    });
    twice(context, 2);
  }
  /** A light line in a dark one is seen on any colour. */
  function twice(context, thickness) {
    context.lineCap = "round";
    context.lineWidth = thickness + 2; context.strokeStyle = "#fff"; context.stroke();
    context.lineWidth = thickness; context.strokeStyle = "#111"; context.stroke();
  }
  function outline(context, i, thickness) {
    const size = Math.max(view.unit, 6), x = toX(COL[i] + 0.5), y = toY(ROW[i] + 0.5);
    context.beginPath();
    context.rect(x - size / 2, y - size / 2, size, size);
    twice(context, thickness);
  }
  function drawSamples(context) {
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const [i, rank] of sampled) {
      const x = toX(COL[i] + 0.5), y = toY(ROW[i] + 0.5), lettered = view.unit >= 15;
      if (x < -9 || y < -9 || x > width + 9 || y > height + 9) continue;
      context.beginPath();
      context.arc(x, y, lettered ? 7 : 2.5, 0, 7);
      context.fillStyle = "#fff";
      context.fill();
      context.lineWidth = 1;
      context.strokeStyle = "#111";
      context.stroke();
      if (lettered) { context.fillStyle = "#111"; context.font = "600 10px system-ui, sans-serif"; context.fillText(rank === "most uncertain" ? "?" : rank[0].toUpperCase(), x, y + 0.5); }
    }
  }

  function legend() {
    const box = $("legend"), scale = scaleOf(state.score);
    box.replaceChildren();
    if (scale.names) {
      scale.names.slice(0, 24).forEach((name, k) => {
        const entry = make("span", name), swatch = make("i");
        swatch.style.background = css(scale.colour(k + 1));
        entry.prepend(swatch);
        box.append(entry);
      });
      if (scale.names.length > 24) box.append(make("span", `and ${scale.names.length - 24} more; colours repeat after ${NAMES.length}`));
      else if (scale.names.length > NAMES.length) box.append(make("span", `colours repeat after ${NAMES.length}`));
    } else {
      const bar = make("span", null, { class: "ramp" }), { good } = scoreOf(state.score);
      bar.style.background = gradient(scale.stops);
      const end = (value, side) => make("span", writeScore(state.score, value) + (good === side ? " (better)" : good ? " (worse)" : ""));
      box.append(end(scale.low, "low"), bar, end(scale.high, "high"));
    }
    const column = COLUMNS.get(state.score), unknown = column.values.some(column.names ? (v) => !v : Number.isNaN);
    if (unknown) box.append(make("span", "╱ grey: unknown"));
    if (TEST && state.score !== "split") box.append(make("span", "▢ double line: held-out test tiles, the ones that the headline is about"));
    if (sampled.length) box.append(make("span", `○ tile with pictures: B best, M median, W worst${sampled.some(([, rank]) => rank === "most uncertain") ? ", ? most uncertain" : ""}`));
    if (filtered()) box.append(make("span", "faint: filtered away below"));
  }

  function showTip(i) {
    if (i < 0) { tip.hidden = true; return; }
    const lines = [nameOf(i), ["category", "split"].map((n) => valueOf(n, i)).filter(Boolean).join(", ")];
    const wanted = new Set([state.score, "gain_db", "psnr_db", "bicubic_psnr_db", "lr_consistency", "valid_fraction"]);
    for (const name of wanted) if (SCORED.includes(name)) lines.push(`${scoreOf(name).label} ${writeScore(name, valueOf(name, i))}`);
    tip.textContent = lines.filter(Boolean).join("\n");
    tip.hidden = false;
    const x = toX(COL[i] + 1) + 8, y = toY(ROW[i]);
    const left = x + tip.offsetWidth > width ? toX(COL[i]) - tip.offsetWidth - 8 : x;
    tip.style.left = `${Math.min(Math.max(4, left), Math.max(4, width - tip.offsetWidth - 4))}px`;
    tip.style.top = `${Math.max(4, Math.min(y, height - tip.offsetHeight - 4))}px`;
  }
  function hover(i) {
    if (i === hovered) return;
    hovered = i;
    showTip(i);
    canvas.style.cursor = i < 0 ? "grab" : "pointer";
    drawSoon();
  }

  function zoomBy(factor, x = width / 2, y = height / 2) {
    const col = view.col + (x - width / 2) / view.unit, row = view.row + (y - height / 2) / view.unit;
    const most = Math.max(1, 160 / (view.unit / view.zoom));
    const zoom = Math.min(most, Math.max(1, view.zoom * factor)), grown = zoom / view.zoom;
    view.zoom = zoom;
    view.col = col - (col - view.col) / grown;
    view.row = row - (row - view.row) / grown;
    if (zoom === 1) wholeView();
    drawSoon();
  }
  function pan(dx, dy) {
    view.col = Math.min(area.left + area.width, Math.max(area.left, view.col - dx / view.unit));
    view.row = Math.min(area.top + area.height, Math.max(area.top, view.row - dy / view.unit));
    drawSoon();
  }
  function bringIntoView(i) {
    const x = toX(COL[i] + 0.5), y = toY(ROW[i] + 0.5);
    if (x < 0 || y < 0 || x > width || y > height) { view.col = COL[i] + 0.5; view.row = ROW[i] + 0.5; }
    drawSoon();
  }

  const fingers = new Map();
  let moved = 0;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
    moved = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId), x = event.offsetX, y = event.offsetY;
    if (!before) { hover(tileUnder(x, y)); return; }
    const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    const dx = x - before[0], dy = y - before[1];
    moved += Math.abs(dx) + Math.abs(dy);
    if (other) zoomBy(Math.hypot(x - other[0], y - other[1]) / Math.max(1, Math.hypot(before[0] - other[0], before[1] - other[1])), other[0], other[1]);
    else if (moved > 4) { hover(-1); pan(dx, dy); }
    fingers.set(event.pointerId, [x, y]);
  });
  const lift = (event) => {
    const alone = fingers.size === 1;
    if (fingers.delete(event.pointerId) && alone && moved <= 4 && event.type === "pointerup") {
      const i = tileUnder(event.offsetX, event.offsetY);
      choose(i);
      if (i >= 0) showTip(i);
    }
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("pointerleave", () => hover(-1));
  canvas.addEventListener("dblclick", (event) => zoomBy(2, event.offsetX, event.offsetY));
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return; // else the page scrolls
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY / 250), event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (step && event.shiftKey) pan(-80 * step[1], -80 * step[0]);
    else if (step) go(step);
    else if (event.key === "+" || event.key === "=") zoomBy(1.5);
    else if (event.key === "-") zoomBy(1 / 1.5);
    else if (event.key === "0") { wholeView(); drawSoon(); }
    else if (event.key === "Escape") showTip(-1);
    else return;
    event.preventDefault();
  });
  /** To the next tile in a direction; holes are stepped over. */
  function go([down, right]) {
    let row = ROW[state.chosen] + down, col = COL[state.chosen] + right;
    while (row >= TOP && row <= BOTTOM && col >= LEFT && col <= RIGHT && tileAt(row, col) < 0) { row += down; col += right; }
    const i = tileAt(row, col);
    if (i >= 0) choose(i);
    bringIntoView(state.chosen);
    requestAnimationFrame(() => showTip(state.chosen));
  }
  canvas.addEventListener("blur", () => showTip(-1));
  $("zoom-in").addEventListener("click", () => zoomBy(1.5));
  $("zoom-out").addEventListener("click", () => zoomBy(1 / 1.5));
  $("zoom-all").addEventListener("click", () => { wholeView(); drawSoon(); });
  $("veil").addEventListener("input", drawSoon);
  const repaint = () => { paintCells(); legend(); drawSoon(); };
  on("score", repaint);
  on("filter", repaint);
  on("chosen", () => bringIntoView(state.chosen));
  on("paper", draw);
  new ResizeObserver(drawSoon).observe(canvas.parentElement);
  picture.onload = drawSoon;
  picture.src = area.image;
  wholeView();
  repaint();
  draw();
}
